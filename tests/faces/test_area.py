import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from istvt.faces.area import AreaTable


def averaged_by_torch(image, size):
    return interpolate(
        torch.as_tensor(image).permute(2, 0, 1)[None].float(), size=size, mode="area"
    ).numpy()


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    seed=st.integers(0, 99),
)
def test_resized_is_adaptive_average_pooling(shape, size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    found = AreaTable(image).resized(*size)
    np.testing.assert_allclose(found, averaged_by_torch(image, size), atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    box=st.tuples(*[st.integers(0, 39)] * 2, *[st.integers(1, 40)] * 2),
    size=st.sampled_from([24, 48, 5]),
)
def test_cut_is_adaptive_average_pooling_of_the_part(box, size):
    image = np.random.default_rng(0).integers(0, 256, (41, 53, 3), np.uint8)
    left, top = box[0], box[1]
    right, bottom = min(left + box[2], 53), min(top + box[3], 41)
    boxes = np.array([[0, 0, 53, 41], [left, top, right, bottom]])
    found = AreaTable(image).cut(boxes, size)
    wanted = averaged_by_torch(image[top:bottom, left:right], (size, size))
    np.testing.assert_allclose(found[1:], wanted, atol=1e-3)


def test_sums_beyond_32_bits_do_not_matter():
    image = np.full((3000, 3000, 3), 255, np.uint8)  # sums to 2.3e9
    np.testing.assert_allclose(AreaTable(image).resized(30, 40), 255, rtol=1e-6)
