"""The authors' and timm's state dicts: all of them used or named, by name and by shape."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from istvt.errors import WeightsError
from istvt.models.istvt.model import ISTVT
from istvt.models.istvt.weights import from_authors, preset_of_authors, xception_from_timm
from istvt.models.istvt.xception import EntryFlow
from istvt.presets import EDGE, ISTVT_PRESETS, PAPER, TINY, ModelPreset
from tests.models.istvt.authors import authors_shapes, constant_state, random_state, xception_shapes
from tests.models.istvt.small import SMALL

TO_QK = "vit.transformer.layers.1.0.fn.to_qk.weight"
TO_V = "vit.transformer.layers.1.0.fn.to_v.weight"


@pytest.fixture
def state() -> dict[str, Tensor]:
    return random_state(authors_shapes(SMALL), seed=0)


def test_authors_layout_has_489_entries_and_all_are_used_or_named() -> None:
    state = constant_state(authors_shapes(PAPER, in_full=True))
    assert len(state) == 489
    imported = from_authors(state, PAPER)
    assert len(imported.used) == 72 + 213  # conv1 ... block3, and the transformer
    assert len(imported.ignored) == 204
    assert sorted(imported.used + imported.ignored) == sorted(state)
    with torch.device("meta"):
        expected = {name: x.shape for name, x in ISTVT(PAPER).state_dict().items()}
    assert {name: x.shape for name, x in imported.state_dict.items()} == expected


def test_ignored_are_the_layers_beyond_block3_and_no_other() -> None:
    imported = from_authors(constant_state(authors_shapes(PAPER, in_full=True)), PAPER)
    layers = {name.split(".")[2] for name in imported.ignored}
    blocks = {f"block{i}" for i in range(4, 13)}
    assert layers == blocks | {"conv3", "bn3", "conv4", "bn4", "last_linear"}
    assert all(name.startswith("xcep.model.") for name in imported.ignored)


def test_queries_and_keys_come_before_values(state: dict[str, Tensor]) -> None:
    merged = from_authors(state, SMALL).state_dict["blocks.1.temporal.qkv.weight"]
    assert torch.equal(merged, torch.cat([state[TO_QK], state[TO_V]]))


def test_prefix_of_data_parallel_is_accepted(state: dict[str, Tensor]) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    plain, given = from_authors(state, SMALL), from_authors(wrapped, SMALL)
    assert given.used == plain.used
    assert all(torch.equal(plain.state_dict[n], x) for n, x in given.state_dict.items())


def test_batch_counters_may_be_missing(state: dict[str, Tensor]) -> None:
    old = {n: x for n, x in state.items() if not n.endswith("num_batches_tracked")}
    imported = from_authors(old, SMALL)
    assert sorted(imported.used) == sorted(old)
    assert imported.state_dict["encoder.bn1.num_batches_tracked"] == 0
    assert from_authors(state, SMALL).state_dict["encoder.bn1.num_batches_tracked"] == 7
    ISTVT(SMALL).load_state_dict(imported.state_dict, strict=True)


@pytest.mark.parametrize("name", ["xcep.model.conv1.weight", "vit.space_token", TO_QK, TO_V])
def test_missing_tensor_is_named(state: dict[str, Tensor], name: str) -> None:
    del state[name]
    with pytest.raises(WeightsError) as caught:
        from_authors(state, SMALL)
    assert str(caught.value) == f"the weights do not fit preset 'small': 1 missing: {name}"


@pytest.mark.parametrize(
    "name", ["vit.extra", "xcep.model.block13.rep.0.weight", "fc.weight", "xcep.model.conv5.weight"]
)
def test_unknown_tensor_is_named(state: dict[str, Tensor], name: str) -> None:
    state[name] = torch.zeros(1)
    with pytest.raises(WeightsError, match=f"1 unknown: {name}"):
        from_authors(state, SMALL)


def test_tensor_of_another_shape_is_named(state: dict[str, Tensor]) -> None:
    state["vit.pos_embedding"] = torch.zeros(1, 8, 10, 20)
    with pytest.raises(WeightsError) as caught:
        from_authors(state, SMALL)
    expected = "1 of another shape: vit.pos_embedding (1, 8, 10, 20) instead of (1, 3, 10, 20)"
    assert expected in str(caught.value)


def test_swapped_query_and_value_widths_are_refused(state: dict[str, Tensor]) -> None:
    state[TO_QK], state[TO_V] = state[TO_V], state[TO_QK]
    with pytest.raises(WeightsError, match="2 of another shape"):
        from_authors(state, SMALL)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensor_that_is_not_finite_is_named(state: dict[str, Tensor], value: float) -> None:
    state["vit.space_token"][0, 0, 3] = value
    with pytest.raises(WeightsError, match=r"1 not finite: vit\.space_token"):
        from_authors(state, SMALL)


def test_all_kinds_of_fault_are_told_at_once_and_long_lists_are_cut(
    state: dict[str, Tensor],
) -> None:
    deeper = replace(SMALL, depth=4, num_frames=2)
    state["vit.extra"] = torch.zeros(1)
    with pytest.raises(WeightsError) as caught:
        from_authors(state, deeper)
    for part in ("34 missing: ", " and 22 more", "1 unknown: vit.extra", "1 of another shape: "):
        assert part in str(caught.value)


@pytest.mark.parametrize("preset", ISTVT_PRESETS, ids=lambda preset: preset.name)
def test_preset_is_read_off_the_shapes(preset: ModelPreset) -> None:
    state = constant_state(authors_shapes(preset))
    assert preset_of_authors(state) is preset
    assert preset_of_authors({f"module.{n}": x for n, x in state.items()}) is preset


def test_size_that_is_no_preset_is_described() -> None:
    state = constant_state(authors_shapes(replace(PAPER, num_frames=8, depth=4)))
    with pytest.raises(WeightsError, match="8 frames of 361 patches, width 728 and 4 blocks"):
        preset_of_authors(state)


@pytest.mark.parametrize("state", [{}, {"fc.weight": torch.zeros(1)}])
def test_preset_of_other_weights_is_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"no 4-D vit\.pos_embedding"):
        preset_of_authors(state)


def test_timm_layout_has_276_entries_and_all_are_used_or_named() -> None:
    state = constant_state(xception_shapes(PAPER, in_full=True))
    assert len(state) == 276
    imported = xception_from_timm(state)
    assert sorted(imported.used + imported.ignored) == sorted(state)
    assert len(imported.used) == 72
    EntryFlow(EDGE).load_state_dict(imported.state_dict, strict=True)


def test_timm_weights_keep_their_values() -> None:
    state = random_state(xception_shapes(SMALL, in_full=False), seed=0)
    imported = xception_from_timm(state, SMALL)
    assert all(torch.equal(imported.state_dict[name], x) for name, x in state.items())


def test_imagenet_weights_do_not_fit_a_narrow_encoder() -> None:
    state = constant_state(xception_shapes(PAPER, in_full=True))
    shaped = 72 - 11  # all but the batch counters
    with pytest.raises(WeightsError, match=rf"preset 'tiny': {shaped} of another shape: conv1\."):
        xception_from_timm(state, TINY)
