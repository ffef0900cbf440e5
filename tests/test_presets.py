"""Presets, and what a model's configuration refuses."""

import json
from dataclasses import replace
from typing import Any

import pytest

from istvt.errors import UsageError
from istvt.presets import (
    EDGE,
    MESONET,
    PAPER,
    PRESETS,
    TINY,
    CropRecipe,
    ModelConfig,
    ModelPreset,
    Sampling,
    check_preset,
    preset_named,
)

MIN_IMAGE_SIZE = ModelPreset.min_image_size


def config_dict() -> dict[str, Any]:
    return ModelConfig(PAPER, CropRecipe(300)).to_dict()


def test_paper_preset_has_the_papers_sizes() -> None:
    assert (PAPER.grid_size, PAPER.num_patches, PAPER.inner_dim) == (19, 361, 512)
    assert (PAPER.num_frames, PAPER.depth, PAPER.embed_dim) == (6, 12, 728)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_presets_are_found_by_name_and_are_valid(preset: ModelPreset) -> None:
    assert preset_named(preset.name) is preset
    check_preset(preset)


def test_names_are_unique() -> None:
    assert len({preset.name for preset in PRESETS}) == len(PRESETS) == 4


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'papper': choose one of paper, edge, tiny, mesonet"):
        preset_named("papper")


@pytest.mark.parametrize(
    ("image_size", "grid"),
    [(7, 1), (16, 1), (17, 1), (18, 1), (32, 2), (96, 6), (224, 14), (300, 19)],
)
def test_grid_size(image_size: int, grid: int) -> None:
    assert replace(TINY, image_size=image_size).grid_size == grid


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "image_size",
            MIN_IMAGE_SIZE - 1,
            "image_size is 6 px: the encoder needs at least 7 px",
        ),
        ("num_frames", 1, "num_frames is 1: a window needs at least 2 frames"),
        ("embed_dim", 0, "embed_dim is 0: it must be at least 1"),
        ("depth", 0, "depth is 0: it must be at least 1"),
        ("num_heads", -1, "num_heads is -1: it must be at least 1"),
        ("head_dim", 0, "head_dim is 0: it must be at least 1"),
        ("mlp_ratio", 0, "mlp_ratio is 0: it must be at least 1"),
        ("depth", 2.5, "depth is 2.5: it must be a whole number"),
        ("image_size", "300", "image_size is '300': it must be a whole number"),
        ("encoder_widths", (32, 64, 128), "four whole numbers"),
        ("encoder_widths", (32, 64, 128, 0), "four whole numbers"),
    ],
)
def test_impossible_presets_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_preset(replace(EDGE, **{field: value}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frame_step": None, "sample_fps": None}, "either frame_step or sample_fps"),
        ({"frame_step": 1, "sample_fps": 5.0}, "not both"),
        ({"frame_step": 0}, "frame_step is 0"),
        ({"frame_step": None, "sample_fps": 0.0}, "sample_fps is 0.0"),
        ({"frame_step": None, "sample_fps": 1001.0}, "sample_fps is 1001.0"),
        ({"frame_step": None, "sample_fps": float("nan")}, "sample_fps is nan"),
    ],
)
def test_impossible_sampling_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sampling(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size_px": 0}, "size_px is 0"),
        ({"size_px": 96, "scale": 0.0}, "scale is 0.0"),
        ({"size_px": 96, "scale": float("nan")}, "scale is nan"),
        ({"size_px": 96, "scale": float("inf")}, "scale is inf"),
        ({"size_px": 96, "min_face_px": 11}, "min_face_px is 11: it must be at least 12"),
    ],
)
def test_impossible_crops_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CropRecipe(**fields)


def test_crop_must_have_the_models_size() -> None:
    with pytest.raises(UsageError, match="the crop is 224 px, the model takes 300 px"):
        ModelConfig(PAPER, CropRecipe(224))


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(PAPER, CropRecipe(300)),
        ModelConfig(
            TINY, CropRecipe(96, scale=1.3, align=False, min_face_px=60), Sampling(None, 12.5)
        ),
        ModelConfig(replace(EDGE, num_frames=4), CropRecipe(224), Sampling(frame_step=3)),
        ModelConfig(MESONET, CropRecipe(256)),
    ],
)
def test_config_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("values", [None, [], "paper", {}, {"preset": 3}])
def test_what_is_no_config_is_refused(values: Any) -> None:
    with pytest.raises(UsageError, match="not a model configuration"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("preset", "width", 3, "width"),
        ("preset", "depth", "12", "depth is '12'"),
        ("preset", "num_frames", 1, "num_frames is 1"),
        ("preset", "encoder_widths", [1, 2], "encoder_widths"),
        ("preset", "image_size", 224, "the crop is 300 px, the model takes 224 px"),
        ("crop", "scale", "big", "not a model configuration"),
        ("sampling", "frame_step", 0, "frame_step is 0"),
    ],
)
def test_config_with_a_wrong_field_is_refused(
    part: str, field: str, value: Any, message: str
) -> None:
    values = config_dict()
    values[part][field] = value
    with pytest.raises(UsageError, match=message):
        ModelConfig.from_dict(values)


def test_a_config_of_before_there_was_a_second_architecture_is_istvts() -> None:
    values = config_dict()
    assert values.pop("architecture") == "istvt"
    assert ModelConfig.from_dict(values) == ModelConfig(PAPER, CropRecipe(300))
    meso = ModelConfig(MESONET, CropRecipe(256)).to_dict()
    del meso["architecture"]
    with pytest.raises(UsageError, match="encoder_widths"):
        ModelConfig.from_dict(meso)


@pytest.mark.parametrize("architecture", ["xception", "", None, 3])
def test_an_unknown_architecture_names_the_known_ones(architecture: Any) -> None:
    message = rf"architecture is {architecture!r}: this istvt knows istvt, mesonet"
    with pytest.raises(UsageError, match=message):
        ModelConfig.from_dict({**config_dict(), "architecture": architecture})


def test_the_spec_holds_the_shape_of_the_features() -> None:
    assert PAPER.spec.feature_shape == (361, 728)
    assert PAPER.spec.feature_size == 361 * 728
    assert MESONET.spec.feature_shape == (16,)
    assert ModelConfig(MESONET, CropRecipe(256)).spec.architecture == "mesonet"


@pytest.mark.parametrize(("part", "field"), [("preset", "depth"), ("crop", "size_px")])
def test_config_without_a_field_is_refused(part: str, field: str) -> None:
    values = config_dict()
    del values[part][field]
    with pytest.raises(UsageError, match=field):
        ModelConfig.from_dict(values)
