"""Can `tiny` learn self-blends, and does it learn nothing where there is nothing to learn?

    python experiments/synthetic.py out/ --budget-s 600
    python experiments/synthetic.py out/ --budget-s 600 --shuffle-labels

Makes talking heads of one portrait with fakes of one blending recipe, trains on them, and scores
held-out clips whose fakes come from another recipe. With shuffled labels the AUC must lie near 0.5.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from istvt.data.dataset import DataRequest
from istvt.data.synthetic.blend import SelfBlend
from istvt.data.synthetic.generate import (
    DEFAULT_BLEND,
    DatasetSize,
    SplitSize,
    find_portraits,
    make_dataset,
)
from istvt.evaluation.evaluate import evaluate
from istvt.evaluation.report import format_summary
from istvt.evaluation.summary import summarise
from istvt.faces.mtcnn import MtcnnDetector
from istvt.models.load import load_run
from istvt.presets import TINY, CropRecipe, ModelConfig
from istvt.training.fit import Training, fit
from istvt.training.run.recipe import DEMO_RECIPE

SIZE = DatasetSize(SplitSize(96, 10), SplitSize(16, 10), SplitSize(1, 10))
HELD_OUT_SIZE = DatasetSize(SplitSize(1, 10), SplitSize(1, 10), SplitSize(40, 24))
# Other colours, softer or sharper edges, another tremble and other shifts than in training.
HELD_OUT_BLEND = SelfBlend(
    gain=0.22,
    offset=8.0,
    saturation=0.5,
    min_downscale=0.25,
    max_downscale=0.5,
    sharpen=1.6,
    move=0.03,
    resize=0.07,
    elastic=0.14,
    min_feather=0.05,
    max_feather=0.22,
    ratios=(0.6, 0.9),
    jitter=0.02,
    inner_jitter=1.0,
)


def main() -> None:
    arguments = _parse()
    detector = MtcnnDetector()
    portraits = find_portraits(arguments.portraits, detect=detector.detect)
    data, held_out = arguments.out / "data", arguments.out / "held_out"
    if not data.exists():
        make_dataset(data, portraits, size=SIZE, blend=DEFAULT_BLEND, seed=1)
        make_dataset(held_out, portraits, size=HELD_OUT_SIZE, blend=HELD_OUT_BLEND, seed=2)
    run = arguments.out / f"{'shuffled' if arguments.shuffle_labels else 'run'}-{arguments.seed}"
    shutil.rmtree(run, ignore_errors=True)
    config = ModelConfig(TINY, CropRecipe(TINY.image_size))
    recipe = replace(
        DEMO_RECIPE,
        budget_s=arguments.budget_s,
        shuffle_labels=arguments.shuffle_labels,
        seed=arguments.seed,
    )
    fitted = fit(
        DataRequest(data),
        run,
        Training(config, recipe),
        on_epoch=lambda epoch: print(_line(epoch), flush=True),
    )
    print(f"validation AUC of the last epoch: {fitted.epochs[-1].val_windows.auc:.3f}")
    aucs = [epoch.val_windows.auc for epoch in fitted.epochs]
    print(f"mean and standard deviation over epochs: {np.mean(aucs):.3f}, {np.std(aucs):.3f}")
    model, config = load_run(run)
    for name, folder in (("same recipe", data), ("held-out recipe", held_out)):
        split = "val" if folder == data else "test"
        found, _ = evaluate(DataRequest(folder), model, config, split=split)
        print(f"{name}, {split}:\n{format_summary(found, summarise(found))}")


def _line(epoch: object) -> str:
    return f"epoch {epoch.epoch}: loss {epoch.train_loss:.3f}, AUC {epoch.val_windows.auc:.3f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", type=Path, help="folder; default: one astronaut")
    parser.add_argument("--budget-s", type=float, default=600.0)
    parser.add_argument("--shuffle-labels", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
