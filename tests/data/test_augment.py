import numpy as np
import pytest

from istvt.data.augment import Augmentation, augment_window


@pytest.fixture
def still():
    rng = np.random.default_rng(0)
    return np.repeat(rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8), 6, axis=0)


@pytest.mark.parametrize("seed", range(20))
def test_a_still_window_stays_still(still, seed):
    changed = augment_window(still, Augmentation(jpeg=1.0), rng=np.random.default_rng(seed))
    assert changed.shape == still.shape
    assert (changed == changed[0]).all()


def test_each_change_happens_when_asked_for(still):
    nothing = Augmentation(flip=0, gain=0, offset=0, jpeg=0)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(augment_window(still, nothing, rng=rng), still)
    mirrored = augment_window(still, Augmentation(flip=1, gain=0, offset=0, jpeg=0), rng=rng)
    np.testing.assert_array_equal(mirrored, still[:, :, ::-1])
    brighter = [
        augment_window(still, Augmentation(flip=0, gain=0, offset=10, jpeg=0), rng=rng).mean()
        for _ in range(20)
    ]
    assert max(brighter) - min(brighter) > 8
    steep = augment_window(still, Augmentation(flip=0, gain=0.2, offset=0, jpeg=0), rng=rng)
    assert steep.std() != pytest.approx(still.std(), rel=1e-3)


def test_compression_keeps_the_colours_in_order():
    red = np.zeros((2, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    only_jpeg = Augmentation(flip=0, gain=0, offset=0, jpeg=1)
    compressed = augment_window(red, only_jpeg, rng=np.random.default_rng(0))
    assert np.abs(compressed.astype(int) - red).max() < 6
