"""Track the faces of one source under lasting ids.

The detector's cheap `refine` carries every track from frame to frame. A search of the whole image
runs at every k-th frame and whenever a track is lost. It finds only new and lost faces. A carried
face therefore does not depend on k, and crops are the same in training and on any device.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from istvt.errors import UsageError
from istvt.faces import boxes as bx
from istvt.faces.cadence import AdaptiveCadence, FixedCadence
from istvt.records import Face, FloatArray, Frame, UInt8Array


class FaceDetector(Protocol):
    """Finds faces in an image, and follows known faces into the next one at low cost."""

    def detect(self, image: UInt8Array) -> list[Face]:
        """Search the whole image `(H, W, 3)` RGB; the largest face comes first."""
        ...

    def refine(self, image: UInt8Array, boxes_xyxy: FloatArray) -> list[Face | None]:
        """Search only where faces are expected.

        Args:
            image: `(H, W, 3)` RGB.
            boxes_xyxy: `(n, 4)` px, where the faces were or should be.

        Returns:
            One entry per box; None if the face is gone.
        """
        ...


DETECT_EVERY = 5


@dataclass(frozen=True)
class TrackRules:
    """When tracks begin, continue and end.

    Attributes:
        certain: confidence at which a found face is shown at once.
        likely: confidence at which a face is shown after `confirm_after` consecutive sightings.
            A face below it never starts a track.
        confirm_after: number of sightings, one per frame.
        max_missed: a track ends after more updates than this without a sighting.
        max_unfound: a track ends after more consecutive searches than this that do not find it.
        least_iou: least overlap of a found face with a track's last box to belong to the track.
        same_iou: overlap at which two tracks count as duplicates.
    """

    certain: float = 0.99
    likely: float = 0.97
    confirm_after: int = 3
    max_missed: int = 10
    max_unfound: int = 6
    least_iou: float = 0.3
    same_iou: float = 0.5


@dataclass(frozen=True)
class TrackedFace:
    """A face in one frame.

    Attributes:
        track_id: follows the person through the shot; a tracker never reuses it.
    """

    track_id: int
    face: Face


@dataclass(eq=False)
class _Track:
    """The state of a track; it has no id until it is confirmed."""

    face: Face
    track_id: int | None = None
    sightings: int = 1
    missed: int = 0
    unfound: int = 0

    def take(self, face: Face | None) -> None:
        """Record the face seen in this frame, or None."""
        if face is None:
            self.sightings, self.missed = 0, self.missed + 1
        else:
            self.face, self.sightings, self.missed = face, self.sightings + 1, 0


class FaceTracker:
    """Follows the faces of one source; call `reset` at cuts.

    Args:
        detector: finds and follows faces.
        detect_every: search the whole image at every k-th update. None adapts k, 1 to 12, to what
            the machine sustains. Use it for live sources, which are not repeatable anyway.
        rules: when tracks begin and end.
        clock: seconds, for the adaptive k.
    """

    def __init__(
        self,
        detector: FaceDetector,
        *,
        detect_every: int | None = DETECT_EVERY,
        rules: TrackRules = TrackRules(),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if detect_every is not None and detect_every < 1:
            raise UsageError(f"detect_every is {detect_every}: it must be at least 1, or None")
        self._detector = detector
        self._rules = rules
        self._clock = clock
        self._cadence: FixedCadence | AdaptiveCadence = (
            AdaptiveCadence() if detect_every is None else FixedCadence(detect_every)
        )
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._since_search: int | None = None
        self._last: tuple[int, float] | None = None

    @property
    def ids(self) -> set[int]:
        """Ids of all tracks that have not ended, including those briefly out of sight."""
        return {track.track_id for track in self._tracks if track.track_id is not None}

    def reset(self) -> None:
        """End every track. After a cut or a gap, faces are searched again and get new ids."""
        self._tracks.clear()
        self._since_search = None
        self._last = None

    def update(self, frame: Frame) -> list[TrackedFace]:
        """Process the next frame.

        Returns:
            The faces seen in it, largest first, without crops.
        """
        started_s = self._clock()
        carried = self._detector.refine(frame.image, _boxes(track.face for track in self._tracks))
        searched = self._must_search(carried)
        if searched:
            self._join(carried, self._detector.detect(frame.image))
        else:
            self._go_on(carried)
        self._since_search = 0 if searched else (self._since_search or 0) + 1
        self._end()
        shown = self._show()
        self._note_times(frame, searched=searched, spent_s=self._clock() - started_s)
        return shown

    def _must_search(self, carried: Sequence[Face | None]) -> bool:
        """Search at the start, at every k-th update, and when a face has just been lost."""
        if self._since_search is None or self._since_search + 1 >= self._cadence.every:
            return True
        return any(
            face is None and track.missed == 0 and track.track_id is not None
            for track, face in zip(self._tracks, carried, strict=True)
        )

    def _go_on(self, carried: Sequence[Face | None]) -> None:
        """Update the tracks with the carried faces."""
        for track, face in zip(self._tracks, carried, strict=True):
            track.take(face)

    def _join(self, carried: Sequence[Face | None], found: Sequence[Face]) -> None:
        """Merge carried and found faces: recover lost tracks and begin new ones.

        A carried face wins over a found one that overlaps it. Otherwise crops would jump at every
        search.
        """
        expected = [face or track.face for track, face in zip(self._tracks, carried, strict=True)]
        overlap = bx.iou(_boxes(expected), _boxes(found))
        pairs = _best_pairs(overlap, least=self._rules.least_iou)
        seen = list(carried)
        for at, index in pairs.items():
            if seen[at] is None or overlap[at, index] < self._rules.same_iou:
                seen[at] = found[index]
        self._go_on(seen)
        for at, track in enumerate(self._tracks):
            if at in pairs:
                track.unfound = 0
            elif track.missed == 0:
                track.unfound += 1
        self._tracks += [
            _Track(face)
            for index, face in enumerate(found)
            if index not in pairs.values() and face.confidence >= self._rules.likely
        ]

    def _end(self) -> None:
        """Drop duplicates, and tracks that were out of sight or unfound for too long."""
        rules, kept = self._rules, list[_Track]()
        for track in self._tracks:
            if track.missed > rules.max_missed or track.unfound > rules.max_unfound:
                continue
            if track.track_id is None and track.missed:
                continue
            overlap = bx.iou(_boxes([track.face]), _boxes(other.face for other in kept))
            if (overlap < rules.same_iou).all():
                kept.append(track)
        self._tracks = kept

    def _show(self) -> list[TrackedFace]:
        """Assign ids to confirmed tracks, and list those in sight."""
        shown = []
        for track in self._tracks:
            if track.track_id is None and self._is_confirmed(track):
                track.track_id, self._next_id = self._next_id, self._next_id + 1
            if track.track_id is not None and track.missed == 0:
                shown.append(TrackedFace(track.track_id, track.face))
        return sorted(shown, key=lambda tracked: -tracked.face.area_px)

    def _is_confirmed(self, track: _Track) -> bool:
        rules = self._rules
        return track.face.confidence >= rules.certain or track.sightings >= rules.confirm_after

    def _note_times(self, frame: Frame, *, searched: bool, spent_s: float) -> None:
        period_s = None
        if self._last is not None and frame.index > self._last[0]:
            period_s = (frame.time_s - self._last[1]) / (frame.index - self._last[0])
        self._last = (frame.index, frame.time_s)
        self._cadence.note(searched=searched, spent_s=spent_s, period_s=period_s)


def _best_pairs(overlap: FloatArray, *, least: float) -> dict[int, int]:
    """Pair rows with columns of `(n, m)`, greatest overlap first, each at most once."""
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        row, column = divmod(int(flat), overlap.shape[1])
        if overlap[row, column] < least:
            break
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs


def _boxes(faces: Iterable[Face]) -> FloatArray:
    """Return the faces' boxes `(n, 4)`."""
    return np.array([face.box_xyxy for face in faces], np.float32).reshape(-1, 4)
