"""Train the small preset on `{train,val}/{real,fake}/*.mp4`, then measure it.

python examples/04_train_on_a_folder.py data/ runs/mine 60
"""

import sys
from dataclasses import replace
from pathlib import Path

import istvt
from istvt.data.dataset import DataRequest
from istvt.presets import TINY, CropRecipe, ModelConfig
from istvt.training.fit import Training
from istvt.training.run.recipe import DEMO_RECIPE


def main(data: str, run: str, seconds: str) -> None:
    request = DataRequest(Path(data))
    config = ModelConfig(TINY, CropRecipe(TINY.image_size))
    recipe = replace(DEMO_RECIPE, budget_s=float(seconds))
    trained = istvt.train(
        request,
        run,
        Training(config, recipe),
        on_epoch=lambda epoch: print(f"epoch {epoch.epoch}: AUC {epoch.val_windows.auc:.3f}"),
    )
    print(f"kept epoch {trained.best.epoch} in {trained.run}")
    report = istvt.evaluate(request, run, split="val", resamples=0)
    print(f"validation AUC by video: {report.found.videos.auc:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
