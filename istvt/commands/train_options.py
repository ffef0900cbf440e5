"""The options of `istvt train`, grouped as its help shows them."""

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from istvt.data.layouts.choose import LayoutOptions

DATA, MODEL, RECIPE, MACHINE = "Data", "Model", "Recipe", "Machine"


class RecipeName(str, Enum):
    """The recipes of `training/recipe.py`."""

    AUTO = "auto"
    PAPER = "paper"
    MODERN = "modern"
    DEMO = "demo"


class SharedName(str, Enum):
    """What is done with people who would be in two splits of Celeb-DF."""

    DROP = "drop"
    KEEP = "keep"


class FakesName(str, Enum):
    """Where the fakes of a training come from."""

    REAL = "real"
    SELF_BLENDED = "self-blended"
    MIXED = "mixed"


class AugmentationName(str, Enum):
    """The presets of `data/augment.py`."""

    NONE = "none"
    MILD = "mild"
    PAPER = "paper"


class BlendName(str, Enum):
    """The presets of `data/blend.py`."""

    PLAIN = "plain"
    SUBTLE = "subtle"


class ScheduleName(str, Enum):
    """What the learning rate does after the warm-up."""

    COSINE = "cosine"
    STEP = "step"
    CONSTANT = "constant"


class MonitorName(str, Enum):
    """What the best epoch is chosen by."""

    AUC = "auc"
    VIDEO_AUC = "video_auc"
    AVERAGE_PRECISION = "average_precision"
    EER = "eer"
    LOSS = "loss"


class PrecisionName(str, Enum):
    """Number formats of the forward pass."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


DataArgument = Annotated[
    Path,
    typer.Argument(
        help="A folder that istvt prepare wrote, or videos: FaceForensics++, Celeb-DF, DFDC, "
        "{train,val,test}/{real,fake}/*.mp4, or a CSV of path,label[,split,...]."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option(help="Run folder to write. Default: runs/PRESET-DATE.")
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with the run in --out, with its options; only --epochs, --budget-s, "
        "--patience, --workers and --checkpoint-every-s may change.",
    ),
]
RecipeOption = Annotated[
    RecipeName, typer.Option(help="auto: demo for the preset tiny, paper for the others.")
]
PresetOption = Annotated[
    str | None,
    typer.Option(help="paper, edge or tiny. Default: paper.", rich_help_panel=MODEL),
]
FrameStepOption = Annotated[
    int | None, typer.Option(help="Sample every k-th frame.", rich_help_panel=MODEL)
]
SampleFpsOption = Annotated[
    float | None,
    typer.Option(help="Sample at this rate, in place of --frame-step.", rich_help_panel=MODEL),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        help="First weights: a run's folder, or imagenet (encoder, through timm).",
        rich_help_panel=MODEL,
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        help="auto, ffpp, celebdf, dfdc, folder or csv. Default: auto.", rich_help_panel=DATA
    ),
]
CompressionOption = Annotated[
    str | None,
    typer.Option(help="FaceForensics++: raw, c23 or c40. Default: c23.", rich_help_panel=DATA),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(help="Take only fakes made so; may be repeated.", rich_help_panel=DATA),
]
SharedIdentitiesOption = Annotated[
    SharedName | None,
    typer.Option(
        help="Celeb-DF: drop keeps people apart; keep takes the official test list, as published "
        "figures do, with people of the training. Default: drop.",
        rich_help_panel=DATA,
    ),
]
FakesOption = Annotated[
    FakesName | None,
    typer.Option(
        help="real: those of the data; self-blended: made of real videos while training, which "
        "needs no others; mixed: both. Default: real.",
        rich_help_panel=DATA,
    ),
]
BlendedShareOption = Annotated[
    float | None,
    typer.Option(
        help="Of the fakes of --fakes mixed, so many are self-blended. Default: 0.5.",
        rich_help_panel=DATA,
    ),
]
WindowsPerVideoOption = Annotated[
    int | None,
    typer.Option(help="Windows of each video, an epoch.", rich_help_panel=DATA),
]
MaxFramesOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Sampled frames read of each video. Default: all.", rich_help_panel=DATA
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for the cut faces. Default: DATA/.istvt-cache.", rich_help_panel=DATA
    ),
]
ShuffleLabelsOption = Annotated[
    bool | None,
    typer.Option(
        "--shuffle-labels",
        help="Leak test: train on labels that tell nothing. The validation AUC must come out "
        "near 0.5.",
        rich_help_panel=DATA,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option(help="Passes over the videos.", rich_help_panel=RECIPE)
]
BudgetSOption = Annotated[
    float | None,
    typer.Option(help="Train for so many seconds, in place of epochs.", rich_help_panel=RECIPE),
]
LrOption = Annotated[
    float | None, typer.Option(help="Highest learning rate.", rich_help_panel=RECIPE)
]
ScheduleOption = Annotated[
    ScheduleName | None,
    typer.Option(help="Of the rate, after the warm-up.", rich_help_panel=RECIPE),
]
StepEveryOption = Annotated[
    int | None,
    typer.Option(
        help="--schedule step: epochs until the rate falls to a tenth.", rich_help_panel=RECIPE
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Windows a forward pass of each process, an even number.", rich_help_panel=RECIPE
    ),
]
AccumulateOption = Annotated[
    int | None,
    typer.Option(help="Forward passes that make one step. Default: 1.", rich_help_panel=RECIPE),
]
AugmentationOption = Annotated[
    AugmentationName | None,
    typer.Option(help="Random changes of training windows.", rich_help_panel=RECIPE),
]
BlendOption = Annotated[
    BlendName | None,
    typer.Option(
        help="Self-blended fakes that are plain to see, for a start, or subtle. Default: subtle.",
        rich_help_panel=RECIPE,
    ),
]
LabelSmoothingOption = Annotated[
    float | None,
    typer.Option(help="Move the targets towards 0.5 by this share.", rich_help_panel=RECIPE),
]
EmaDecayOption = Annotated[
    float | None,
    typer.Option(help="Validate and keep a moving average of the weights.", rich_help_panel=RECIPE),
]
MonitorOption = Annotated[
    MonitorName | None,
    typer.Option(help="What the best epoch is chosen by.", rich_help_panel=RECIPE),
]
PatienceOption = Annotated[
    int | None,
    typer.Option(help="End after so many epochs without a better one.", rich_help_panel=RECIPE),
]
SeedOption = Annotated[
    int | None,
    typer.Option(help="Fixes weights, order and augmentation. Default: 0.", rich_help_panel=RECIPE),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, ... Default: a GPU if any.", rich_help_panel=MACHINE),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(help="Of the forward pass. Default: auto.", rich_help_panel=MACHINE),
]
CheckpointActivationsOption = Annotated[
    bool | None,
    typer.Option(
        "--checkpoint-activations",
        help="Less memory for about a third more arithmetic.",
        rich_help_panel=MACHINE,
    ),
]
DeterministicOption = Annotated[
    bool | None,
    typer.Option(
        "--deterministic",
        help="The same bits every time on a GPU; slower.",
        rich_help_panel=MACHINE,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Loader processes of each process. Default: 0.", rich_help_panel=MACHINE),
]
CheckpointEverySOption = Annotated[
    float | None,
    typer.Option(
        help="Seconds between checkpoints inside an epoch. Default: 600.",
        rich_help_panel=MACHINE,
    ),
]


def layout_options(
    before: "LayoutOptions | None" = None,
    *,
    layout: str | None,
    compression: str | None,
    method: list[str] | None,
    shared_identities: SharedName | None,
) -> "LayoutOptions":
    """Take what is given, and for the rest what a resumed run has, else the defaults."""
    from istvt.data.layouts.choose import LayoutOptions

    asked: dict[str, Any] = {
        "layout": layout,
        "compression": compression,
        "methods": tuple(method) if method else None,
        "shared_identities": shared_identities and shared_identities.value,
    }
    given = {name: option for name, option in asked.items() if option is not None}
    return replace(before or LayoutOptions(), **given)
