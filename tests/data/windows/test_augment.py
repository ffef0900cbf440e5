from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from istvt.data.windows.augment import (
    MILD_AUGMENTATION,
    NO_AUGMENTATION,
    PAPER_AUGMENTATION,
    Augmentation,
    WindowChange,
    apply_change,
    apply_to_masks,
    draw_change,
)
from istvt.errors import UsageError

CERTAIN = replace(
    PAPER_AUGMENTATION,
    **dict.fromkeys(
        ("flip", "rotate", "blur", "downscale", "noise", "jpeg", "h264", "cut_out"), 1.0
    ),
)
CUT = ((0.25, 0.5, 0.5, 0.75),)
CHANGES = {
    "flip": WindowChange(flip=True),
    "rotation": WindowChange(angle_deg=10.0),
    "contrast": WindowChange(gain=1.2),
    "brightness": WindowChange(offset=12.0),
    "saturation": WindowChange(saturation=0.7),
    "blur": WindowChange(blur=0.02),
    "downscale": WindowChange(scale=0.5),
    "noise": WindowChange(noise=5.0),
    "jpeg": WindowChange(quality=50),
    "h264": WindowChange(crf=30),
    "cut_out": WindowChange(cut_outs=CUT),
}
STILL_KEEPING = [name for name in CHANGES if name not in ("noise", "h264")]


def picture(side_px, seed=0):
    """Smooth colours, as a codec expects them, with an edge."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, (side_px, side_px, 3)), (0, 0), side_px / 12)
    smooth = np.clip((smooth - 127) * 6 + 127, 30, 220)
    smooth[side_px // 3 : side_px // 2, side_px // 4 : side_px // 2] = (200, 60, 40)
    return smooth.astype(np.uint8)


@pytest.fixture
def still():
    return np.repeat(picture(40)[None], 6, axis=0)


@pytest.fixture
def moving():
    """Every frame is a grey level darker and one pixel further right."""
    return np.stack([np.roll(picture(40), i, axis=1) - np.uint8(i) for i in range(6)])


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_changes_the_window_and_keeps_its_form(moving, name):
    before = moving.copy()
    changed = apply_change(moving, CHANGES[name])
    np.testing.assert_array_equal(moving, before)
    assert changed.shape == moving.shape
    assert changed.dtype == np.uint8
    assert changed.flags.c_contiguous
    assert not np.shares_memory(changed, moving)
    assert (changed != moving).any()


@pytest.mark.parametrize("name", STILL_KEEPING)
def test_a_still_window_stays_still(still, name):
    changed = apply_change(still, CHANGES[name])
    assert (changed == changed[0]).all()


def test_no_change_is_none(moving):
    np.testing.assert_array_equal(apply_change(moving, WindowChange()), moving)
    for seed in range(5):
        assert draw_change(NO_AUGMENTATION, np.random.default_rng(seed)).noise is None
        same = apply_change(moving, draw_change(NO_AUGMENTATION, np.random.default_rng(seed)))
        np.testing.assert_array_equal(same, moving)


def test_noise_is_as_strong_in_every_frame_but_never_the_same(still):
    flat = np.full_like(still, 128)
    noise = apply_change(flat, WindowChange(noise=5.0, noise_seed=1)).astype(int) - 128
    assert noise.std(axis=(1, 2, 3)) == pytest.approx(5.0, rel=0.05)
    assert np.abs(noise.mean(axis=(1, 2, 3))).max() < 0.3
    assert np.abs(np.corrcoef(noise.reshape(6, -1)) - np.eye(6)).max() < 0.08


@pytest.mark.parametrize("side_px", [33, 40, 96])
@pytest.mark.parametrize("name", ["noise", "h264", "jpeg"])
def test_the_same_change_of_the_same_window_is_the_same(name, side_px):
    window = np.stack([picture(side_px, seed) for seed in range(4)])
    first, second = (apply_change(window, CHANGES[name]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("side_px", [33, 40, 96])
def test_h264_gives_the_frames_back_in_order_and_a_low_quality_shows(side_px):
    window = np.stack([np.roll(picture(side_px), 3 * i, axis=1) for i in range(6)]).astype(int)
    fine, coarse = (
        apply_change(window.astype(np.uint8), WindowChange(crf=crf)) for crf in (12, 40)
    )
    for frame, found in zip(window, fine, strict=True):
        errors = [np.abs(found - other).mean() for other in window]
        assert np.abs(found - frame).mean() == min(errors)
    lost, lost_more = (np.abs((x - window).mean(axis=-1)).mean() for x in (fine, coarse))
    assert lost < 3  # grey levels of brightness; colour has half the resolution at any quality
    assert 1.5 * lost < lost_more < 20


def test_jpeg_keeps_the_colours_in_order():
    red = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    for change in (WindowChange(quality=90), WindowChange(crf=20)):
        assert np.abs(apply_change(red, change).astype(int) - red).max() < 6


def test_saturation_goes_to_grey_and_keeps_it(still):
    grey = apply_change(still, WindowChange(saturation=0.0))
    assert np.ptp(grey, axis=-1).max() <= 1
    np.testing.assert_allclose(grey.mean(), still.mean(), atol=0.5)
    again = apply_change(grey, WindowChange(saturation=1.7))
    assert np.abs(again.astype(int) - grey).max() <= 1


def test_contrast_and_brightness_are_what_they_say(still):
    changed = apply_change(still, WindowChange(gain=1.1, offset=-7.0))
    expected = (still - 127.5) * 1.1 + 127.5 - 7
    assert np.abs(changed - np.clip(expected, 0, 255)).max() <= 0.51
    with_colour = apply_change(still, WindowChange(gain=1.1, offset=-7.0, saturation=1.0 + 1e-9))
    assert np.abs(changed.astype(int) - with_colour).max() <= 1


def test_rotation_leaves_no_black_corners_and_keeps_the_middle():
    bright = np.full((2, 41, 41, 3), 200, np.uint8)
    bright[:, 20, 20] = 0
    turned = apply_change(bright, WindowChange(angle_deg=15.0))
    assert turned[:, 20, 20].max() < 20
    turned[:, 18:23, 18:23] = 200
    assert turned.min() == 200


@pytest.mark.parametrize("name", CHANGES)
def test_masks_move_with_their_crops(name):
    """A white disc painted into crops and masks is in the same place afterwards."""
    masks = np.zeros((3, 64, 64), np.float32)
    for number, mask in enumerate(masks):
        cv2.circle(mask, (14 + 4 * number, 26), 8, 1.0, -1)
    crops = np.repeat((40 + 170 * masks).astype(np.uint8)[..., None], 3, axis=-1)
    moved, seen = apply_to_masks(masks, CHANGES[name]), apply_change(crops, CHANGES[name])
    assert not np.shares_memory(moved, masks)
    assert moved.dtype == np.float32
    assert moved.shape == masks.shape
    shown = seen.mean(axis=-1) > 140  # a cut-out is 128
    both, either = (shown & (moved > 0.5)).sum(), (shown | (moved > 0.5)).sum()
    assert both > 0.85 * either > 100
    assert (np.abs(moved - masks).max() > 0.5) == (name in ("flip", "rotation", "cut_out"))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), side_px=st.integers(16, 50), num_frames=st.integers(1, 4))
def test_whatever_is_drawn_keeps_form_and_is_fixed_by_its_seed(seed, side_px, num_frames):
    window = np.stack([picture(side_px, i) for i in range(num_frames)])
    augmentation = CERTAIN if seed % 2 else PAPER_AUGMENTATION
    first, second = (
        apply_change(window, draw_change(augmentation, np.random.default_rng(seed)))
        for _ in range(2)
    )
    assert first.shape == window.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    change = draw_change(augmentation, np.random.default_rng(seed))
    for left, top, right, bottom in change.cut_outs:
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1


def test_another_strength_leaves_the_other_draws():
    for seed in range(10):
        strong, weak = (
            draw_change(augmentation, np.random.default_rng(seed))
            for augmentation in (CERTAIN, replace(CERTAIN, noise=0.0, max_angle_deg=5.0))
        )
        assert weak.noise is None
        assert weak.angle_deg == pytest.approx(strong.angle_deg / 3)
        assert weak.cut_outs == strong.cut_outs
        assert weak.crf == strong.crf


def test_everything_drawn_lies_in_its_range_and_reaches_it():
    drawn = [draw_change(CERTAIN, np.random.default_rng(seed)) for seed in range(400)]
    ranges = {"angle_deg": (-15, 15), "crf": (23, 40), "quality": (40, 95), "gain": (0.8, 1.2)}
    for name, (least, most) in ranges.items():
        values = [getattr(change, name) for change in drawn]
        room = 0.05 * (most - least)
        assert least <= min(values) < least + room
        assert most - room < max(values) <= most
    assert {len(change.cut_outs) for change in drawn} == {1, 2, 3, 4}
    mild = [draw_change(MILD_AUGMENTATION, np.random.default_rng(seed)) for seed in range(100)]
    unused = ("angle_deg", "blur", "scale", "noise", "crf")
    assert all(getattr(change, name) is None for change in mild for name in unused)
    assert 30 < sum(change.flip for change in mild) < 70


def test_values_out_of_range_are_named():
    numbers = [field.name for field in fields(Augmentation)]
    for name in numbers:
        with pytest.raises(UsageError, match=f"{name} is -1"):
            replace(PAPER_AUGMENTATION, **{name: -1})
    with pytest.raises(UsageError, match="min_crf is 41"):
        Augmentation(min_crf=41)
