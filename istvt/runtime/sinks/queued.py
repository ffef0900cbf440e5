"""Keep a slow, hanging or failing sink from slowing or ending a session."""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Condition, Thread

from istvt.runtime.pipeline import FrameResult
from istvt.runtime.session import SessionReport, Sink

logger = logging.getLogger(__name__)

QUEUE_SIZE = 16  # results; each holds its picture, 6 MB in full HD
CLOSE_TIMEOUT_S = 3.0


class QueuedSink:
    """Runs a sink in its own thread, behind a bounded queue.

    A full queue drops its oldest result, as live sources do, so the sink lags by at most `size`
    results. A sink that raises receives no further result, but is closed. Do not queue a sink
    that owns a window: its calls come from the queue's thread.

    Args:
        sink: called from the thread.
        size: most results that wait.
        close_timeout_s: how long `close` waits for the sink.

    Attributes:
        dropped: results that the sink did not receive.
        failed: calls that raised.
        last_error: the type and message of the last error.
    """

    def __init__(
        self, sink: Sink, *, size: int = QUEUE_SIZE, close_timeout_s: float = CLOSE_TIMEOUT_S
    ) -> None:
        self.dropped = self.failed = 0
        self.last_error: str | None = None
        self._sink, self._name = sink, type(sink).__name__
        self._size, self._close_timeout_s = size, close_timeout_s
        self._changed = Condition()
        self._waiting: deque[FrameResult] = deque()
        self._report: SessionReport | None = None
        self._wants_end = self._is_closing = False
        self._thread = Thread(target=self._work, name=f"sink {self._name}", daemon=True)
        self._thread.start()

    def take(self, result: FrameResult) -> bool:
        """Queue one result; return False once the sink has asked for the end."""
        with self._changed:
            self._waiting.append(result)
            if self.failed or self._is_closing:
                self._drop(down_to=0)
            self._drop(down_to=self._size)
            self._changed.notify()
            return not self._wants_end

    def finish(self, report: SessionReport) -> None:
        """Keep the report; the sink receives it after all results, while `close` waits."""
        self._report = report

    def close(self) -> None:
        """Wait until the sink has taken all results and closed; give up after `close_timeout_s`."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(self._close_timeout_s)
        with self._changed:
            if self._thread.is_alive():
                logger.warning(
                    "sink %s did not close within %g s: %d waiting results are lost",
                    self._name,
                    self._close_timeout_s,
                    len(self._waiting),
                )
            self._drop(down_to=0)

    def _work(self) -> None:
        while (result := self._next()) is not None:
            if self._call(partial(self._sink.take, result)) is False:
                self._wants_end = True
        if self._report is not None and not self.failed:
            self._call(partial(self._sink.finish, self._report))
        self._call(self._sink.close)

    def _next(self) -> FrameResult | None:
        """Wait for the next result; return None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            return self._waiting.popleft() if self._waiting else None

    def _call(self, call: Callable[[], bool | None]) -> bool | None:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 whatever a sink raises must not spread
            with self._changed:
                if not self.failed:
                    logger.error("sink %s failed and is switched off: %s", self._name, error)
                self.failed += 1
                self.last_error = f"{type(error).__name__}: {error}"
                self._drop(down_to=0)
            return None

    def _drop(self, *, down_to: int) -> None:
        while len(self._waiting) > down_to:
            self._waiting.popleft()
            self.dropped += 1
