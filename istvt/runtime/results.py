"""What the pipeline says of one frame: the record that sinks take."""

from dataclasses import dataclass

from istvt.records import Face, Frame, Score, Verdict, VerdictKind


@dataclass(frozen=True, eq=False)
class TrackView:
    """One face of one frame, with what is known of its track.

    Attributes:
        kind: the running verdict.
        probability: the running, smoothed fake probability; None before the first window.
        window: the score of the window that ends on this frame, where one does.
        filled: sampled faces since the last gap, at most `needed`.
        needed: faces that make a window.
    """

    track_id: int
    face: Face
    kind: VerdictKind
    probability: float | None
    window: Score | None
    filled: int
    needed: int


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One frame.

    Attributes:
        ended: verdicts of the tracks that ended before this frame.
        is_cut: the picture changed hard; every track before it has ended.
    """

    frame: Frame
    tracks: tuple[TrackView, ...]
    ended: tuple[Verdict, ...]
    is_cut: bool
