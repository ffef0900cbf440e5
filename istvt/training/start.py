"""A fresh model in, the same model with weights to start from out."""

from pathlib import Path

from istvt.errors import WeightsError
from istvt.model.istvt import ISTVT
from istvt.runs import load_run

IMAGENET = "imagenet"


def load_start(model: ISTVT, start: str) -> None:
    """Fill a model before its training begins, in place.

    Args:
        model: with random weights.
        start: `imagenet` for the encoder's weights from timm, or the folder of a run of the same
            preset, as `istvt train` and `istvt import-weights` write them.

    Raises:
        ModelNotFoundError: the folder holds no run.
        WeightsError: the run's model has another shape.
        RuntimeEnvironmentError: timm is missing or cannot fetch the weights.
    """
    if start == IMAGENET:
        from istvt.training.import_weights import load_xception_imagenet

        load_xception_imagenet(model)
        return
    known, config = load_run(Path(start))
    if config.preset != model.preset:
        raise WeightsError(
            f"{start} holds a model of preset {config.preset.name!r} "
            f"({config.preset.image_size} px, {config.preset.depth} blocks); to start "
            f"{model.preset.name!r} from it, both must have the same shape"
        )
    model.load_state_dict(known.state_dict(), strict=True)
