"""Requests of several users, restored one after the other, since there is one device.

A thread works on the requests in their order. Each of them is an iterator over what happens to it,
but does not need one: a request that nobody looks at any more ends, or is cancelled, all the same.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from perceptual_jax.errors import UsageError
from perceptual_jax.web.events import Cancelled, Event, Waiting
from perceptual_jax.web.requests import Request
from perceptual_jax.web.restoring import Tools, restore

MAX_WAITING = 16


class Run:
    """A request in the queue: an iterator over its events, the outcome last."""

    def __init__(self, request: Request, folder: Path):
        """Starts nothing.

        Args:
            request: The request.
            folder: An empty folder for its files.
        """
        self.request, self.folder = request, folder
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self._events: SimpleQueue[Event | BaseException | None] = SimpleQueue()

    def tell(self, event: Event) -> None:
        """Adds an event."""
        self._events.put(event)

    def end(self, error: BaseException | None = None) -> None:
        """Ends the run; the error is raised where it is iterated over."""
        self.ended.set()
        self._events.put(error)

    def __iter__(self) -> Iterator[Event]:
        """Yields the events as they happen, once.

        Raises:
            Error: Why there is no outcome, in a sentence; see `restoring.restore`.
        """
        while (event := self._events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event


class Queue:
    """The requests that wait for the device."""

    def __init__(self, tools: Tools, *, max_waiting: int = MAX_WAITING):
        """Starts no work yet.

        Args:
            tools: What all requests share.
            max_waiting: Number of requests that may wait.
        """
        self._tools, self._max_waiting = tools, max_waiting
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="restore")
        self._lock = threading.Lock()
        self._runs: list[Run] = []  # the first one may be at work

    def submit(self, request: Request, folder: Path) -> Run:
        """Puts a request at the end of the queue.

        Raises:
            UsageError: If too many wait.
        """
        run = Run(request, folder)
        with self._lock:
            if len(self._runs) > self._max_waiting:
                raise UsageError(
                    f"{self._max_waiting} requests are waiting already; try again in a few minutes"
                )
            self._runs.append(run)
            self._tell_places()
        self._pool.submit(self._work, run)
        return run

    def cancel(self, run: Run) -> None:
        """Ends a run: at once if it waits, else at the next piece of its search."""
        run.cancelled.set()
        with self._lock:
            if run in self._runs[1:]:
                self._runs.remove(run)
                run.end(Cancelled("cancelled before it began"))
                self._tell_places()

    def close(self) -> None:
        """Cancels all runs, and waits for the one at work."""
        for run in reversed(list(self._runs)):
            self.cancel(run)
        self._pool.shutdown(wait=True)

    def _work(self, run: Run) -> None:
        if run.ended.is_set():
            return
        try:
            run.tell(restore(self._tools, run.request, run.folder, run.tell, run.cancelled))
        except BaseException as error:
            self._leave(run)
            run.end(error)
        else:
            self._leave(run)
            run.end()

    def _leave(self, run: Run) -> None:
        with self._lock:
            self._runs.remove(run)
            self._tell_places()

    def _tell_places(self) -> None:
        for ahead, run in enumerate(self._runs):
            if ahead:
                run.tell(Waiting(ahead))
