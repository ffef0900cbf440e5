import numpy as np
import pytest

from istvt.calibration.clips import MAX_WINDOWS, windows_from_clips
from istvt.errors import DataError
from istvt.presets import TINY
from istvt.video.writer import VideoWriter
from tests.random_models import config_of


def test_windows_come_from_all_clips(media, tmp_path):
    for name in ("one_face_480x480.mp4", "head_turn_a.gif"):
        (tmp_path / name).write_bytes((media / name).read_bytes())
    windows = windows_from_clips(tmp_path, config_of(TINY))
    assert windows.faces.shape == (MAX_WINDOWS, 6, 96, 96, 3)
    assert windows.faces.dtype == np.uint8
    assert "2 clips" in windows.origin
    means = windows.faces.reshape(MAX_WINDOWS, -1).mean(axis=1)
    assert np.ptp(means) > 5, "both people should be in it"


def test_what_cannot_calibrate_is_told(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        windows_from_clips(tmp_path / "lost", config_of(TINY))
    with pytest.raises(DataError, match="holds no video"):
        windows_from_clips(tmp_path, config_of(TINY))
    with VideoWriter(tmp_path / "grey.mp4", fps=25, size_wh=(96, 96)) as writer:
        for _ in range(10):
            writer.write(np.full((96, 96, 3), 90, np.uint8))
    with pytest.raises(DataError, match=r"no clip of .* shows a face over 6 sampled frames"):
        windows_from_clips(tmp_path, config_of(TINY))
