"""Define what is checked: the model, its windows, and how far a logit may be off.

In half precision 2.5 to 6 times the error of right ways is allowed, and half of that on average:
less than the error of wrong ones (`tests/gpu_check/test_model.py` keeps them). For an engine it is
the only check of values.

How far logits of the 8 windows were off with preset `paper` on a CPU; no GPU was at hand:

| | largest | mean |
| --- | --- | --- |
| right, fp32 in another order | 1.5e-6 | 1.1e-6 |
| right, fp16 | 0.0048 | 0.0030 |
| right, bf16 | 0.040 | 0.016 |
| wrong: spatial attention without the last 10 keys | 0.10 | 0.067 |
| wrong: temporal queries not subtracted | 0.14 | 0.11 |
| wrong: uniform temporal weights | 0.45 | 0.24 |
| wrong: temporal attention without its scale | 0.85 | 0.43 |
| wrong: no self-subtraction | 1.1 | 0.69 |
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from istvt.compute import device_error
from istvt.errors import DeviceMemoryError
from istvt.extras import require
from istvt.presets import ModelPreset, ModelSpec, preset_named
from istvt.records import FloatArray, FloatPrecision, UInt8Array
from istvt.runtime.parity import KERNEL_LIMITS, ParityResult, Tolerance, compare, random_windows

if TYPE_CHECKING:
    from istvt.models.istvt.model import ISTVT

DeviceKind: TypeAlias = Literal["cuda", "cpu"]

NUM_WINDOWS = 8
ALLOWED_FP32: dict[DeviceKind, float] = {"cuda": 1e-3, "cpu": 1e-5}  # factors in TF32 are off more
TORCH_NAMES: dict[FloatPrecision, str] = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}
SETTINGS_VARIABLE = "GPU_CHECK_SETTINGS"  # holds those of a run while its tests are run
build_listeners: list[Callable[[str], None]] = []


class CannotRunError(Exception):
    """This machine lacks what a check needs; says what."""


@dataclass(frozen=True)
class Settings:
    """What all checks of one run share.

    Attributes:
        device: `cuda`, or `cpu` where the run only rehearses the checks.
        preset_name: of the model.
        work: a folder for files that later checks read.
        seconds: of measuring, for each figure.
    """

    device: DeviceKind
    preset_name: str
    work: str
    seconds: float = 1.0

    @property
    def half(self) -> FloatPrecision:
        """The number format of latencies: CPUs are too slow in fp16 to rehearse in it."""
        return "fp16" if self.device == "cuda" else "bf16"

    @property
    def preset(self) -> ModelPreset:
        """The model's sizes."""
        preset = preset_named(self.preset_name)
        if not isinstance(preset, ModelPreset):
            raise CannotRunError(f"{self.preset_name} is no preset of ISTVT")
        return preset


@contextmanager
def building(what: str) -> Iterator[None]:
    """Announce what takes minutes: a check that is stopped meanwhile did not fail."""
    for listen in build_listeners:
        listen(what)
    try:
        yield
    finally:
        for listen in build_listeners:
            listen("")


def require_bf16(device: DeviceKind, dtype: str) -> None:
    """Refuse bf16 on a GPU before compute capability 8.0, which has none.

    Raises:
        CannotRunError: the GPU is such a one.
    """
    if dtype != "bf16" or device != "cuda":
        return
    capability = require("torch", extra="gpu").cuda.get_device_capability()
    if capability < (8, 0):
        found = ".".join(map(str, capability))
        raise CannotRunError(f"bf16 needs compute capability 8.0; this GPU has {found}")


def is_out_of_memory(error: BaseException) -> bool:
    """Recognise an allocation that failed, whichever library reports it."""
    return isinstance(error, DeviceMemoryError) or isinstance(
        device_error("", f"{type(error).__name__}: {error}"), DeviceMemoryError
    )


def make_model(preset: ModelPreset, *, seed: int = 0) -> "ISTVT":
    """Build a model with random weights of which none is the default; the same each time.

    Its weights are larger than at the start of a training, as after it, so that windows differ.
    """
    torch = require("torch", extra="gpu")
    from istvt.models.istvt.model import ISTVT

    torch.manual_seed(seed)
    model = ISTVT(preset).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.8, 1.2)
                layer.bias.normal_(0, 0.1)
            elif isinstance(layer, torch.nn.Conv2d):  # PyTorch's own start lets pictures fade
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5)
            elif isinstance(layer, torch.nn.Linear):
                layer.weight.normal_(0, 1.5 * layer.in_features**-0.5)
        for token in model.tokens.parameters():
            token.normal_(0, 0.3)
    return model


def make_windows(
    preset: ModelPreset | ModelSpec, *, count: int = NUM_WINDOWS, seed: int = 0
) -> UInt8Array:
    """Make windows `(count, T, S, S, 3)` as an export does that has none to show."""
    return random_windows(preset, count=count, seed=seed).faces


def reference_logits(settings: Settings) -> FloatArray:
    """Score the windows in fp32 on the CPU; the first call of a run keeps them in `work`."""
    path = Path(settings.work) / "reference.npy"
    if not path.is_file():
        torch = require("torch", extra="gpu")
        model = make_model(settings.preset)
        windows = torch.from_numpy(make_windows(settings.preset))
        with torch.inference_mode():
            np.save(path, np.concatenate([model(window[None]).numpy() for window in windows]))
    logits: FloatArray = np.load(path)
    return logits


def allowed_error(precision: str, device: DeviceKind) -> float:
    """Say by how much a logit may be off."""
    return KERNEL_LIMITS.get(precision, ALLOWED_FP32[device])


def check_logits(expected: FloatArray, found: FloatArray, limit: float) -> ParityResult:
    """Compare logits with the reference.

    At most a third of the distance between the windows is allowed too, so that a model which is
    blind to them fails; half of it on average, for what is wrong is so in every window. Flips are
    reported and do not gate: random weights put windows near logit 0.
    """
    allowed = min(limit, float(np.ptp(expected)) / 3)
    return compare(
        ("fp32 on the CPU", expected),
        ("here", found),
        origin="random pixels",
        tolerance=Tolerance(max_abs_logit=allowed),
    )


def is_right(parity: ParityResult) -> bool:
    """Say whether the largest error is allowed, and half of that on average."""
    allowed = parity.tolerance.max_abs_logit or 0.0
    return parity.max_abs_logit <= allowed and parity.mean_abs_logit <= allowed / 2


def describe_parity(parity: ParityResult) -> str:
    """Say what is wrong with logits; nothing where they are right."""
    if is_right(parity):
        return ""
    worst, mean = parity.max_abs_logit, parity.mean_abs_logit
    allowed = parity.tolerance.max_abs_logit
    return f"logits are off by {worst:.3g}, {mean:.3g} on average; {allowed:.3g} is allowed"
