"""What is timed of a scorer is what the stream does: one face, one window."""

import pytest

from istvt.benchmarks.timing import StreamedFrame, noise_faces
from istvt.presets import TINY
from tests.benchmarks.fakes import FakeClock, FakeScorer


@pytest.mark.parametrize("queues", [False, True])
def test_times_one_face_and_one_window(queues: bool) -> None:
    clock = FakeClock()
    scorer = FakeScorer(clock, encode_s=0.002, score_s=0.03, queues=queues)
    measured = StreamedFrame(scorer, clock=clock)
    measured()  # which also waits for the window that the scorer began with
    time = measured()
    assert time.encoder_s == pytest.approx(0.002)
    assert time.window_s == pytest.approx(0.03)
    assert time.frame_s == pytest.approx(0.032)


def test_the_window_slides_by_one_newly_encoded_face() -> None:
    clock = FakeClock()
    scorer = FakeScorer(clock, encode_s=0.002, score_s=0.03)
    measured = StreamedFrame(scorer, clock=clock)
    measured()
    measured()
    assert scorer.windows == [(1, 2, 3, 4, 5, 6), (2, 3, 4, 5, 6, 7)]
    assert scorer.faces_encoded == TINY.num_frames + 2


def test_faces_fill_one_window() -> None:
    faces = noise_faces(TINY.spec)
    assert faces.shape == (6, 96, 96, 3)
    assert faces.std() > 50
