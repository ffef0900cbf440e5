"""The model against the slow reference, its counts, its two halves and its refusals."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from istvt.errors import UsageError
from istvt.models.istvt.model import ISTVT
from istvt.models.istvt.weights import from_authors
from istvt.presets import ISTVT_PRESETS, PAPER, ModelPreset
from tests.models.istvt import reference
from tests.models.istvt.authors import authors_shapes, random_state
from tests.models.istvt.small import SMALL, random_model, random_pixels, random_windows

MIN_IMAGE_SIZE = ModelPreset.min_image_size

SHAPES = [
    # num_frames, image_size, batch, num_heads, head_dim, depth
    (2, 32, 1, 1, 8, 1),
    (3, 48, 3, 3, 8, 2),
    (6, 75, 1, 2, 5, 2),  # a grid of 5
    (6, 33, 3, 4, 6, 3),
    (2, MIN_IMAGE_SIZE, 3, 2, 8, 2),  # a grid of 1
    (9, 17, 1, 5, 4, 1),
]


def of_shape(shape: tuple[int, ...]) -> tuple[ModelPreset, int]:
    frames, size, batch, heads, head_dim, depth = shape
    preset = replace(SMALL, num_frames=frames, image_size=size, depth=depth)
    return replace(preset, num_heads=heads, head_dim=head_dim), batch


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-5)])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_reference(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    preset, batch = of_shape(shape)
    state = random_state(authors_shapes(preset), seed=sum(shape))
    pixels = random_pixels(preset, batch=batch, seed=1)
    model = ISTVT(preset)
    model.load_state_dict(from_authors(state, preset).state_dict, strict=True)
    with torch.no_grad():
        given = model.to(dtype).eval()(torch.from_numpy(pixels)).numpy()
    arrays = {name: tensor.double().numpy() for name, tensor in state.items()}
    expected = reference.logits(arrays, pixels, num_heads=preset.num_heads)
    assert given.shape == (batch,)
    np.testing.assert_allclose(given, expected, rtol=0, atol=tolerance)


def test_reference_distinguishes_windows() -> None:
    state = random_state(authors_shapes(SMALL), seed=0)
    arrays = {name: tensor.double().numpy() for name, tensor in state.items()}
    scores = reference.logits(arrays, random_pixels(SMALL, batch=3), num_heads=3)
    assert np.ptp(scores) > 0.01


def test_paper_has_89_5_million_parameters() -> None:
    with torch.device("meta"):
        parameters = sum(p.numel() for p in ISTVT(PAPER).parameters())
    assert parameters == 89_467_761
    assert round(parameters / 1e6, 1) == 89.5


def test_cost_of_the_paper_preset() -> None:
    with torch.device("meta"), torch.no_grad():
        model = ISTVT(PAPER).eval()
        encoder, _ = gmacs(lambda: model.encode(torch.empty(1, 300, 300, 3)))
        features = torch.empty(1, 6, 361, 728)
        window, products = gmacs(lambda: model.score(features, last_block_in_full=True))
        short, _ = gmacs(lambda: model.score(features))
    assert encoder == pytest.approx(2.69, abs=0.005)
    assert 6 * encoder + window == pytest.approx(247, abs=0.5)
    # The paper's 236.1 are layers alone; what it counts beside products is not stated.
    assert 6 * encoder + window - products == pytest.approx(236.1, rel=0.002)
    assert short / window == pytest.approx(0.927, abs=0.005)


def gmacs(run: Callable[[], Tensor]) -> tuple[float, float]:
    """Multiply-adds of all operators, and of the attention products alone, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        run()
    counts = counter.get_flop_counts()["Global"]
    products = sum(n for op, n in counts.items() if "bmm" in str(op) or "attention" in str(op))
    return sum(counts.values()) / 2e9, products / 2e9


@pytest.mark.parametrize("shape", SHAPES)
def test_last_block_shortcut_is_exact(shape: tuple[int, ...]) -> None:
    preset, batch = of_shape(shape)
    model = random_model(preset)
    with torch.no_grad():
        features = model.encode(random_windows(preset, batch=batch).flatten(0, 1))
        features = features.unflatten(0, (batch, preset.num_frames))
        short = model.score(features)
        full = model.score(features, last_block_in_full=True)
    torch.testing.assert_close(short, full, rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", ISTVT_PRESETS, ids=lambda preset: preset.name)
def test_last_block_shortcut_at_the_presets_widths(preset: ModelPreset) -> None:
    preset = replace(preset, depth=2, image_size=48)
    torch.manual_seed(0)
    model = ISTVT(preset).eval()
    features = torch.randn(2, preset.num_frames, preset.num_patches, preset.embed_dim)
    with torch.no_grad():
        short, full = model.score(features), model.score(features, last_block_in_full=True)
    torch.testing.assert_close(short, full, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def preset() -> ModelPreset:
    return SMALL


@pytest.fixture(scope="module")
def model(preset: ModelPreset) -> ISTVT:
    return random_model(preset)


@torch.no_grad()
def test_encode_and_score_make_forward(model: ISTVT, preset: ModelPreset) -> None:
    windows = random_windows(preset, batch=2)
    features = [model.encode(window) for window in windows]
    torch.testing.assert_close(model.score(torch.stack(features)), model(windows))


@torch.no_grad()
def test_frames_can_be_encoded_one_by_one(model: ISTVT, preset: ModelPreset) -> None:
    faces = random_windows(preset, batch=1)[0]
    one_by_one = torch.cat([model.encode(face[None]) for face in faces])
    torch.testing.assert_close(one_by_one, model.encode(faces), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_uint8_and_float_pixels_agree(model: ISTVT, preset: ModelPreset) -> None:
    windows = random_windows(preset, batch=2)
    assert torch.equal(model(windows), model(windows.float()))


@torch.no_grad()
def test_shuffled_batch_gives_shuffled_logits(model: ISTVT, preset: ModelPreset) -> None:
    windows, order = random_windows(preset, batch=4), torch.tensor([2, 0, 3, 1])
    logits = model(windows)
    assert logits.std() > 0.01
    torch.testing.assert_close(model(windows[order]), logits[order], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_windows_of_a_batch_do_not_touch_each_other(model: ISTVT, preset: ModelPreset) -> None:
    windows = random_windows(preset, batch=3)
    before = model(windows)
    changed = windows.clone()
    changed[1] = 255 - changed[1]
    after = model(changed)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=1e-5, atol=1e-5)
    assert (after[1] - before[1]).abs() > 1e-3


@torch.no_grad()
def test_order_of_the_frames_matters(model: ISTVT, preset: ModelPreset) -> None:
    windows = random_windows(preset, batch=1)
    assert (model(windows) - model(windows.flip(1))).abs() > 1e-3


@torch.no_grad()
def test_keeps_nothing_between_calls() -> None:
    model = random_model(SMALL)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = [dict(vars(module)) for module in model.modules()]
    windows = random_windows(SMALL, batch=2)
    first = model(windows)
    model(random_windows(SMALL, batch=3, seed=9))
    assert torch.equal(model(windows), first)
    for module, before in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == before.keys()
        assert all(vars(module)[name] is value for name, value in before.items())
    assert all(torch.equal(tensors[name], x) for name, x in model.state_dict().items())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradient_reaches_every_parameter(preset: ModelPreset, mode: str) -> None:
    model = random_model(preset).train(mode == "train")
    model(random_windows(preset, batch=3)).square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_gradients_of_the_shortcut_are_those_of_the_whole() -> None:
    model = random_model(SMALL).double()
    faces = random_windows(SMALL, batch=2).flatten(0, 1)
    gradients = []
    for in_full in (False, True):
        features = model.encode(faces).unflatten(0, (2, SMALL.num_frames))
        logits = model.score(features, last_block_in_full=in_full)
        gradients.append(torch.autograd.grad(logits.sum(), list(model.parameters())))
    for name, short, full in zip(dict(model.named_parameters()), *gradients, strict=True):
        torch.testing.assert_close(short, full, rtol=1e-7, atol=1e-9, msg=name)


@torch.no_grad()
def test_takes_an_empty_batch(model: ISTVT, preset: ModelPreset) -> None:
    assert model(random_windows(preset, batch=0)).shape == (0,)


@pytest.mark.parametrize(
    "shape",
    [(3, 48, 48, 3), (2, 2, 48, 48, 3), (2, 4, 48, 48, 3), (2, 3, 40, 48, 3), (2, 3, 3, 48, 48)],
    ids=["four axes", "too few frames", "too many frames", "crop not square", "channels first"],
)
def test_windows_of_another_shape_are_refused(model: ISTVT, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        model(torch.zeros(shape, dtype=torch.uint8))
    assert f"windows have shape {shape}" in str(caught.value)
    assert "preset 'small' takes (n, 3, 48, 48, 3)" in str(caught.value)


@pytest.mark.parametrize("shape", [(48, 48, 3), (1, 49, 49, 3), (1, 48, 48, 4)])
def test_faces_of_another_shape_are_refused(model: ISTVT, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        model.encode(torch.zeros(shape, dtype=torch.uint8))
    assert f"faces have shape {shape}" in str(caught.value)
    assert "(n, 48, 48, 3)" in str(caught.value)


@pytest.mark.parametrize("shape", [(3, 9, 20), (1, 2, 9, 20), (1, 3, 10, 20), (1, 3, 9, 21)])
def test_features_of_another_shape_are_refused(model: ISTVT, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        model.score(torch.zeros(shape))
    assert f"features have shape {shape}" in str(caught.value)
    assert "(n, 3, 9, 20)" in str(caught.value)


def test_a_window_of_one_frame_is_refused() -> None:
    with pytest.raises(UsageError, match=r"num_frames is 1: .* at least 2"):
        ISTVT(replace(SMALL, num_frames=1))


@torch.no_grad()
def test_smallest_image_is_the_smallest_that_the_encoder_takes() -> None:
    smallest = random_model(replace(SMALL, image_size=MIN_IMAGE_SIZE))
    assert smallest.encode(torch.zeros(1, MIN_IMAGE_SIZE, MIN_IMAGE_SIZE, 3)).shape == (1, 1, 20)
    below = torch.zeros(1, 3, MIN_IMAGE_SIZE - 1, MIN_IMAGE_SIZE - 1)
    with pytest.raises(RuntimeError, match=r"(?i)kernel size|too small"):
        smallest.encoder(below)
    with pytest.raises(UsageError, match=rf"image_size is 6 px: .* at least {MIN_IMAGE_SIZE} px"):
        ISTVT(replace(SMALL, image_size=MIN_IMAGE_SIZE - 1))
