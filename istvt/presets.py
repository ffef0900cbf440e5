"""Define the named model sizes, and the crop and sampling stored with a trained model."""

from dataclasses import asdict, dataclass, field, replace
from math import inf, prod
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from istvt.errors import UsageError

Architecture: TypeAlias = Literal["istvt", "mesonet"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


@dataclass(frozen=True)
class ModelSpec:
    """The shapes and names of a model that most of the toolkit needs.

    Attributes:
        name: the preset's.
        image_size: side of a face in px.
        num_frames: T, the number of faces in a window.
        feature_shape: shape of one face's features.
    """

    name: str
    architecture: Architecture
    image_size: int
    num_frames: int
    feature_shape: tuple[int, ...]

    @property
    def feature_size(self) -> int:
        """Count the numbers in one face's features."""
        return prod(self.feature_shape)


@dataclass(frozen=True)
class ModelPreset:
    """All values that determine the shapes of ISTVT.

    Attributes:
        image_size: the crop's side in px.
        num_frames: T, the sampled faces of a window.
        embed_dim: channels of the encoder's output and width of every token.
        encoder_widths: channels after conv1, conv2, block1 and block2; block3 ends at `embed_dim`.
        depth: number of transformer blocks.
        mlp_ratio: width of the feed-forward layer over `embed_dim`.
    """

    name: str
    image_size: int
    num_frames: int
    embed_dim: int
    depth: int
    num_heads: int
    head_dim: int
    mlp_ratio: int = 4
    encoder_widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    architecture: ClassVar[Architecture] = "istvt"
    # conv1 reduces 7 px to 3, conv2 to 1, and the pools keep it: a grid of one patch
    min_image_size: ClassVar[int] = 7
    min_num_frames: ClassVar[int] = 2

    @property
    def spec(self) -> ModelSpec:
        """The model's shapes for the rest of the toolkit; features are patches `(h*w, C)`."""
        shape = (self.num_patches, self.embed_dim)
        return ModelSpec(self.name, self.architecture, self.image_size, self.num_frames, shape)

    @property
    def grid_size(self) -> int:
        """Side of the encoder's output in patches (19 for 300 px)."""
        size = (self.image_size - 3) // 2 + 1  # conv1: 3x3, stride 2, no padding
        size = size - 2  # conv2: 3x3, no padding
        for _ in range(3):  # each block ends in a 3x3 pool of stride 2, padding 1
            size = (size - 1) // 2 + 1
        return size

    @property
    def num_patches(self) -> int:
        """Patches of one frame (361 for 300 px)."""
        return self.grid_size**2

    @property
    def inner_dim(self) -> int:
        """Width of queries, keys and values, all heads together."""
        return self.num_heads * self.head_dim


@dataclass(frozen=True)
class MesoNetPreset:
    """All values that determine the shapes of MesoNet-4.

    Attributes:
        image_size: the crop's side in px.
        num_frames: T, the sampled faces of a window.
        embed_dim: width of the layer before the logit.
    """

    name: str
    image_size: int
    num_frames: int
    embed_dim: int = 16
    architecture: ClassVar[Architecture] = "mesonet"
    min_image_size: ClassVar[int] = 32  # the pools reduce 32 px to one
    min_num_frames: ClassVar[int] = 1

    @property
    def spec(self) -> ModelSpec:
        """The model's shapes for the rest of the toolkit; features are vectors."""
        shape = (self.embed_dim,)
        return ModelSpec(self.name, self.architecture, self.image_size, self.num_frames, shape)


Preset: TypeAlias = ModelPreset | MesoNetPreset


LEAST_FACE_PX = 12  # the receptive field of the face detector's first network


@dataclass(frozen=True)
class CropRecipe:
    """How a face is cropped from a frame, in training and streaming alike.

    Source: Zhao et al., ISTVT, IEEE TIFS 2023: centred on the nose tip, 1.25 times the larger side
    of the face's box, levelled by the eyes.

    Attributes:
        size_px: side of the square crop.
        scale: side of the cut square over the larger side of the face's box.
        align: rotate the face so that the line through the eyes is level.
        min_face_px: side of the smallest face to detect. A smaller one fills too little of the
            crop, and the search below 40 px would take half of MTCNN's time.
    """

    size_px: int
    scale: float = 1.25
    align: bool = True
    min_face_px: int = 40

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise UsageError(f"size_px is {self.size_px}: a crop needs at least 1 px")
        if not 0 < self.scale < inf:
            raise UsageError(f"scale is {self.scale}: it must be above 0 and finite")
        if self.min_face_px < LEAST_FACE_PX:
            raise UsageError(
                f"min_face_px is {self.min_face_px}: it must be at least {LEAST_FACE_PX}"
            )


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are sampled; exactly one of the fields is set.

    Attributes:
        frame_step: sample every k-th frame at the native rate (the paper: 1).
        sample_fps: sample the frames nearest to a clock of this many ticks per second.
    """

    frame_step: int | None = 1
    sample_fps: float | None = None

    def __post_init__(self) -> None:
        if (self.frame_step is None) == (self.sample_fps is None):
            raise UsageError("sampling takes either frame_step or sample_fps, not both")
        if self.frame_step is not None and self.frame_step < 1:
            raise UsageError(f"frame_step is {self.frame_step}: it must be at least 1")
        if self.sample_fps is not None and not 0 < self.sample_fps <= 1000:
            raise UsageError(f"sample_fps is {self.sample_fps}: it must be above 0, at most 1000")


@dataclass(frozen=True)
class ModelConfig:
    """A trained model without its weights; stored in runs and bundles.

    Attributes:
        architecture: the preset's; files from before the second architecture lack it.
    """

    preset: Preset
    crop: CropRecipe
    sampling: Sampling = Sampling()
    architecture: Architecture = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "architecture", self.preset.architecture)
        if self.crop.size_px != self.preset.image_size:
            raise UsageError(
                f"the crop is {self.crop.size_px} px, the model takes {self.preset.image_size} px"
            )

    @property
    def spec(self) -> ModelSpec:
        """The model's shapes and names."""
        return self.preset.spec

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "ModelConfig":
        """Read the output of `to_dict`, also after a round trip through JSON.

        Raises:
            UsageError: the architecture is unknown, or a field is missing, unknown or out of range.
        """
        try:
            config = cls(
                preset=_read_preset(values["preset"], values.get("architecture", "istvt")),
                crop=CropRecipe(**values["crop"]),
                sampling=Sampling(**values["sampling"]),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise UsageError(f"not a model configuration: {error!r}") from error
        check_preset(config.preset)
        return config


def _read_preset(values: dict[str, Any], architecture: object) -> Preset:
    match architecture:
        case "istvt":
            return ModelPreset(**{**values, "encoder_widths": tuple(values["encoder_widths"])})
        case "mesonet":
            return MesoNetPreset(**values)
    raise UsageError(
        f"architecture is {architecture!r}: this istvt knows {', '.join(ARCHITECTURES)}"
    )


# The paper's model: Zhao et al., ISTVT, IEEE TIFS 2023.
PAPER = ModelPreset(
    name="paper", image_size=300, num_frames=6, embed_dim=728, depth=12, num_heads=8, head_dim=64
)
EDGE = replace(PAPER, name="edge", image_size=224, depth=6)
TINY = replace(
    PAPER,
    name="tiny",
    image_size=96,
    embed_dim=192,
    depth=2,
    num_heads=4,
    head_dim=32,
    encoder_widths=(16, 32, 64, 96),
)

# Afchar et al., MesoNet, WIFS 2018: 256 px. It judges single frames; T is our choice, as ISTVT's.
MESONET = MesoNetPreset(name="mesonet", image_size=256, num_frames=6)

ISTVT_PRESETS = (PAPER, EDGE, TINY)
PRESETS: tuple[Preset, ...] = (*ISTVT_PRESETS, MESONET)


def preset_named(name: str) -> Preset:
    """Look up a preset by name.

    Raises:
        UsageError: no preset has this name.
    """
    for preset in PRESETS:
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in PRESETS)
    raise UsageError(f"no preset is called {name!r}: choose one of {known}")


def check_preset(preset: Preset) -> None:
    """Refuse shapes that the model cannot have.

    Raises:
        UsageError: names the field, its value and what it must be.
    """
    sizes = {
        name: value
        for name, value in asdict(preset).items()
        if name not in ("name", "encoder_widths")
    }
    for name, value in sizes.items():
        if type(value) is not int:
            raise UsageError(f"{name} is {value!r}: it must be a whole number")
    if (size := preset.image_size) < (least := preset.min_image_size):
        raise UsageError(f"image_size is {size} px: the encoder needs at least {least} px")
    if (frames := preset.num_frames) < (least := preset.min_num_frames):
        raise UsageError(f"num_frames is {frames}: a window needs at least {least} frames")
    for name, value in sizes.items():
        if value < 1:
            raise UsageError(f"{name} is {value}: it must be at least 1")
    if isinstance(preset, ModelPreset):
        widths = preset.encoder_widths
        if len(widths) != 4 or any(type(width) is not int or width < 1 for width in widths):
            raise UsageError(f"encoder_widths is {widths}: it must be four whole numbers from 1")
