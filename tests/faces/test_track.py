from collections import defaultdict

import numpy as np
import pytest

from istvt.errors import UsageError
from istvt.faces.track import FaceTracker, TrackRules
from istvt.records import Face, Frame
from istvt.video.cuts import CutDetector

BLANK = np.zeros((200, 400, 3), np.uint8)


def face_at(x, y, *, size=40, confidence=0.999):
    box = np.array([x, y, x + size, y + size], np.float32)
    return Face(box, np.full((5, 2), x, np.float32), confidence)


class ScriptedDetector:
    """Sees what it is told is there; counts how often it is asked."""

    def __init__(self):
        self.there = []
        self.hidden_from_search = False
        self.hidden_from_refine = False
        self.searches = 0

    def detect(self, image):
        self.searches += 1
        return [] if self.hidden_from_search else list(self.there)

    def refine(self, image, boxes_xyxy):
        return [self._nearest(box) for box in boxes_xyxy]

    def _nearest(self, box):
        if self.hidden_from_refine:
            return None
        near = [face for face in self.there if np.abs(face.box_xyxy - box).max() < 20]
        return near[0] if near else None


@pytest.fixture
def scripted():
    return ScriptedDetector()


def run(tracker, count, *, start=0, period_s=0.04):
    """The ids shown in each of the next frames."""
    frames = (Frame(BLANK, i, i * period_s, "test") for i in range(start, start + count))
    return [[tracked.track_id for tracked in tracker.update(frame)] for frame in frames]


def test_certain_face_is_shown_at_once_and_keeps_its_id(scripted):
    tracker = FaceTracker(scripted, detect_every=5)
    scripted.there = [face_at(50, 50)]
    (first,) = tracker.update(Frame(BLANK, 0, 0.0, "test"))
    assert first.track_id == 0
    for index in range(1, 20):
        scripted.there = [face_at(50 + 5 * index, 50)]
        (tracked,) = tracker.update(Frame(BLANK, index, index / 25, "test"))
        assert tracked.track_id == 0
        assert tracked.face is scripted.there[0]
    assert tracker.ids == {0}


def test_likely_face_is_shown_after_three_sightings(scripted):
    tracker = FaceTracker(scripted)
    scripted.there = [face_at(50, 50, confidence=0.98)]
    assert run(tracker, 5) == [[], [], [0], [0], [0]]


def test_flickering_and_weak_faces_are_never_shown(scripted):
    tracker = FaceTracker(scripted, detect_every=1)
    for index in range(12):
        scripted.there = [face_at(300, 50, confidence=0.95)]
        scripted.there += [face_at(50, 50, confidence=0.98)] if index % 3 else []
        assert run(tracker, 1, start=index) == [[]]
    assert tracker.ids == set()


def test_whole_picture_is_searched_every_kth_time_only(scripted):
    scripted.there = [face_at(50, 50)]
    run(FaceTracker(scripted, detect_every=4), 13)
    assert scripted.searches == 4


def test_a_face_lost_is_searched_on_the_same_frame(scripted):
    tracker = FaceTracker(scripted, detect_every=10)
    scripted.there = [face_at(50, 50)]
    run(tracker, 3)
    scripted.there = [face_at(70, 50)]  # too far for the second look, near enough to be the same
    assert run(tracker, 1, start=3) == [[0]]
    assert scripted.searches == 2


def test_a_turned_head_keeps_its_id_for_ten_frames_and_no_longer(scripted):
    for gap, ids_after in ((10, [0]), (11, [1])):
        tracker = FaceTracker(scripted, detect_every=1)
        scripted.there = [face_at(50, 50)]
        run(tracker, 2)
        scripted.there = []
        assert run(tracker, gap, start=2) == [[]] * gap
        assert tracker.ids == ({0} if gap == 10 else set())
        scripted.there = [face_at(55, 50)]
        assert run(tracker, 1, start=2 + gap) == [ids_after]


def test_what_the_search_does_not_find_is_not_carried_for_ever(scripted):
    tracker = FaceTracker(scripted, detect_every=2, rules=TrackRules(max_unfound=3))
    scripted.there = [face_at(50, 50)]
    run(tracker, 1)
    scripted.hidden_from_search = True
    shown = run(tracker, 12, start=1)
    assert shown == [[0]] * 7 + [[]] * 5


def test_double_tracks_merge_into_the_older(scripted):
    tracker = FaceTracker(scripted, detect_every=1)
    scripted.there = [face_at(50, 50), face_at(85, 50)]
    assert run(tracker, 1) == [[0, 1]]
    scripted.there = [face_at(68, 50)]
    assert run(tracker, 3, start=1) == [[0]] * 3
    assert tracker.ids == {0}


def test_crossing_faces_are_matched_by_the_greatest_overlap(scripted):
    tracker = FaceTracker(scripted, detect_every=1)
    scripted.hidden_from_refine = True
    scripted.there = [face_at(50, 50), face_at(85, 50)]
    assert run(tracker, 1) == [[0, 1]]
    scripted.there = [face_at(80, 50), face_at(60, 50)]
    tracked = tracker.update(Frame(BLANK, 1, 0.04, "test"))
    assert {entry.track_id: entry.face.box_xyxy[0] for entry in tracked} == {0: 60, 1: 80}


def test_reset_ends_all_and_searches_anew(scripted):
    tracker = FaceTracker(scripted, detect_every=10)
    scripted.there = [face_at(50, 50)]
    run(tracker, 3)
    tracker.reset()
    assert tracker.ids == set()
    assert run(tracker, 2, start=3) == [[1], [1]]
    assert scripted.searches == 2


def test_ids_differ_between_faces_and_the_largest_comes_first(scripted):
    tracker = FaceTracker(scripted)
    scripted.there = [face_at(50, 50), face_at(200, 50, size=90)]
    assert run(tracker, 2) == [[1, 0], [1, 0]]


class WorkClock:
    """A clock that only the detector's work moves."""

    def __init__(self, detector, *, search_s, follow_s):
        self.now_s = 0.0
        self._search, self._refine = detector.detect, detector.refine
        self._times = (search_s, follow_s)
        detector.detect, detector.refine = self.detect, self.refine

    def __call__(self):
        return self.now_s

    def detect(self, image):
        self.now_s += self._times[0]
        return self._search(image)

    def refine(self, image, boxes_xyxy):
        self.now_s += self._times[1]
        return self._refine(image, boxes_xyxy)


@pytest.mark.parametrize(
    ("search_s", "follow_s", "every"),
    [(0.005, 0.001, 1), (0.040, 0.001, 3), (0.100, 0.002, 8), (3.0, 0.001, 12), (0.02, 0.03, 12)],
)
def test_adaptive_k_follows_the_machine(scripted, search_s, follow_s, every):
    clock = WorkClock(scripted, search_s=search_s, follow_s=follow_s)
    tracker = FaceTracker(scripted, detect_every=None, clock=clock)
    scripted.there = [face_at(50, 50)]
    run(tracker, 60)
    scripted.searches = 0
    run(tracker, 24, start=60)
    assert scripted.searches == 24 / every


def test_adaptive_k_measures_the_camera_not_the_frames_it_dropped(scripted):
    clock = WorkClock(scripted, search_s=0.040, follow_s=0.001)
    tracker = FaceTracker(scripted, detect_every=None, clock=clock)
    for index in range(0, 270, 3):
        if index == 180:
            scripted.searches = 0
        tracker.update(Frame(BLANK, index, index * 0.04, "test"))
    assert scripted.searches == 30 / 3


@pytest.mark.parametrize("every", [0, -3])
def test_impossible_k_is_refused(scripted, every):
    with pytest.raises(UsageError, match=f"detect_every is {every}"):
        FaceTracker(scripted, detect_every=every)


def follow(detector, frames, *, detect_every=5):
    """Where each track was seen: id to frame numbers; cuts reset the tracker."""
    tracker, cuts, seen = FaceTracker(detector, detect_every=detect_every), CutDetector(), {}
    seen = defaultdict(list)
    for frame in frames:
        if cuts.is_cut(frame.image):
            tracker.reset()
        for tracked in tracker.update(frame):
            seen[tracked.track_id].append(frame.index)
    return dict(seen)


@pytest.mark.parametrize(
    ("name", "every"),
    [("one_face_480x480.mp4", 12), ("head_turn_a.gif", 1), ("head_turn_b.gif", 5)],
)
def test_one_person_is_one_track_from_start_to_end(detector, frames, name, every):
    pictures = frames(name)
    assert follow(detector, pictures, detect_every=every) == {0: list(range(len(pictures)))}


@pytest.mark.parametrize("every", [2, 12])
def test_two_heads_turning_are_two_tracks(detector, frames, every):
    pictures = frames("head_turn_two_people.gif")
    everywhere = list(range(len(pictures)))
    assert follow(detector, pictures, detect_every=every) == {0: everywhere, 1: everywhere}


def test_two_people_in_one_picture(detector, frames):
    tracked = FaceTracker(detector).update(frames("two_people.jpg")[0])
    assert sorted(entry.track_id for entry in tracked) == [0, 1]


def test_no_track_runs_across_a_cut(detector, frames):
    seen = follow(detector, frames("stage_four_shots_640x360.mp4"))
    shots = [range(0, 20), range(20, 82), range(82, 211), range(211, 275)]
    tracks = [{track_id for track_id, at in seen.items() if at[0] in shot} for shot in shots]
    for track_id, at in seen.items():
        assert sum(at[0] in shot and at[-1] in shot for shot in shots) == 1, track_id
    assert len(tracks[0]) == 2
    (speaker,) = tracks[2]
    assert seen[speaker] == list(shots[2])
    lasting = [track_id for track_id in tracks[3] if len(seen[track_id]) > 50]
    assert len(lasting) == 4


def test_the_carried_face_is_the_same_whatever_k_is(detector, frames):
    pictures = frames("head_turn_a.gif")
    boxes = []
    for every in (1, 5, 12):
        tracker = FaceTracker(detector, detect_every=every)
        boxes.append([tracker.update(frame)[0].face.box_xyxy for frame in pictures])
    np.testing.assert_array_equal(boxes[0], boxes[1])
    np.testing.assert_array_equal(boxes[0], boxes[2])


def test_bottles_are_no_faces(detector, frames):
    pictures = frames("no_face.mp4", 10)
    assert len(pictures) == 119
    assert follow(detector, pictures, detect_every=3) == {}
