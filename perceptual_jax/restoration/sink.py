"""Results on their way to the disk: encoded and written by threads while the device goes on."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

THREADS = 4
WAITING = 64
"""Results that may wait to be written; then the device waits, and memory stays bounded."""


class Sink:
    """Does work in the background, a bounded amount of it, and passes on what goes wrong.

    Leaving the context waits for all that was put, whatever ended it: a result that the device
    has paid for is written.
    """

    def __init__(self) -> None:
        """Starts no thread yet."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="write")
        self._room = threading.Semaphore(WAITING)
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self.seconds = 0.0
        """Of work, over all threads."""

    def put(self, work: Callable[[], None]) -> None:
        """Hands over some work; waits while too much is waiting.

        Raises:
            BaseException: What earlier work has raised. Nothing is begun after that.
        """
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        self._pool.submit(self._do, work).add_done_callback(self._done)

    def __enter__(self) -> "Sink":
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Waits for all work; raises what it has raised, unless something else ended this."""
        self._pool.shutdown(wait=True)
        if error is None and self._error is not None:
            raise self._error

    def _do(self, work: Callable[[], None]) -> None:
        if self._error is not None:
            return
        start = time.monotonic()
        try:
            work()
        except BaseException as error:
            self._error = self._error or error
        with self._lock:
            self.seconds += time.monotonic() - start

    def _done(self, _: Future) -> None:
        self._room.release()
