"""Follow a camera, a stream or a file, and send every change of a verdict somewhere.

    python examples/02_stream_to_your_own_sink.py model.istvt rtsp://camera/stream

A sink that talks to a network must not slow scoring: `QueuedSink` runs it behind a queue.
"""

import sys

import istvt
from istvt.api import open_source
from istvt.records import VerdictKind
from istvt.runtime.pipeline import FrameResult
from istvt.runtime.session import SessionReport
from istvt.runtime.sinks.queued import QueuedSink


class Announcer:
    """Prints a line when the verdict on a face changes."""

    def __init__(self) -> None:
        self._known: dict[int, VerdictKind] = {}

    def take(self, result: FrameResult) -> bool:
        for track in result.tracks:
            if self._known.get(track.track_id) is not track.kind:
                self._known[track.track_id] = track.kind
                print(f"{result.frame.time_s:7.2f} s  face {track.track_id}: {track.kind.value}")
        for verdict in result.ended:
            self._known.pop(verdict.track_id or 0, None)
        return True

    def finish(self, report: SessionReport) -> None:
        print(f"{report.source}: {report.verdict.kind.value}")

    def close(self) -> None:
        pass


def main(bundle: str, source: str) -> None:
    with istvt.open_model(bundle) as model, open_source(source) as opened:
        announcer = QueuedSink(Announcer())
        model.session(opened).run([announcer])
    print(f"{announcer.dropped} results were dropped")


if __name__ == "__main__":
    main(*sys.argv[1:])
