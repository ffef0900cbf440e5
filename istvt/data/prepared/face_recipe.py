"""Describe how to crop faces from videos and store them; a prepared folder keeps this record."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from istvt.errors import UsageError
from istvt.presets import CropRecipe, ModelConfig, Sampling

Codec = Literal["png", "jpeg"]


@dataclass(frozen=True)
class FaceRecipe:
    """Everything that decides which crops a video yields.

    Attributes:
        crop: how to cut a face.
        sampling: which frames to take.
        num_frames: T, the sampled frames of a window.
        max_frames: sampled frames read from each video, from its start; None reads all.
        windows_per_video: keep only the faces of this many evenly spread windows; None keeps all.
        codec: png keeps every value; jpeg, without colour sub-sampling, is smaller.
        quality: of jpeg, 1 to 100.
    """

    crop: CropRecipe
    sampling: Sampling
    num_frames: int
    max_frames: int | None = None
    windows_per_video: int | None = None
    codec: Codec = "png"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.codec not in ("png", "jpeg"):
            raise UsageError(f"codec is {self.codec!r}: choose png or jpeg")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality is {self.quality}: it must be 1 to 100")
        for name in ("num_frames", "max_frames", "windows_per_video"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}: it must be at least 1")

    @classmethod
    def of_model(cls, config: ModelConfig, *, max_frames: int | None = None) -> "FaceRecipe":
        """Return the recipe for training a model of this configuration, with all faces kept."""
        return cls(config.crop, config.sampling, config.preset.num_frames, max_frames=max_frames)

    def differences(self, other: "FaceRecipe") -> str:
        """List the differences, as `crop.size_px 96, not 300`, this recipe's value first."""
        mine, others = _flat(asdict(self)), _flat(asdict(other))
        changed = [name for name in mine if mine[name] != others[name]]
        return ", ".join(f"{name} {mine[name]}, not {others[name]}" for name in changed)

    def to_dict(self) -> dict[str, Any]:
        """Convert to values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "FaceRecipe":
        """Read what `to_dict` wrote.

        Raises:
            UsageError: a field is missing, unknown or out of range.
        """
        try:
            crop, sampling = CropRecipe(**values["crop"]), Sampling(**values["sampling"])
            return cls(**{**values, "crop": crop, "sampling": sampling})
        except (TypeError, KeyError) as error:
            raise UsageError(f"not a recipe of faces: {error!r}") from error


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": content for inner, content in value.items()}
        else:
            flat[name] = value
    return flat
