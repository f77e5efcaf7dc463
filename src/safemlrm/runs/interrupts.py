"""Ctrl-C and a polite kill end a run cleanly: what is in flight is dropped, all that is done is on disk."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupts:
    """Ends the task that listens when the process is asked to stop, or when `interrupt` is called from any thread."""

    def __init__(self) -> None:
        self.came = False
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def interrupt(self) -> None:
        """Cancel the listening task, if it has not ended."""
        self.came = True
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While the block lasts, SIGINT and SIGTERM cancel the current task (in the main thread, where they arrive)."""
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        numbers: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
        try:
            for number in numbers:
                self._loop.add_signal_handler(number, self.interrupt)
        except (ValueError, RuntimeError, NotImplementedError):  # not the main thread, as under a notebook
            numbers = ()
        try:
            yield
        finally:
            for number in numbers:
                self._loop.remove_signal_handler(number)
            self._task = None
