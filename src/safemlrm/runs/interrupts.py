"""Ctrl-C and a polite kill end a run cleanly: what is in flight is dropped, all that is done is on disk."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def interruptible() -> AsyncIterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a cancellation of the current task; gives a function that says whether one came."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    came: list[int] = []

    def on_signal(number: int) -> None:
        came.append(number)
        if task is not None:
            task.cancel()

    numbers: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
    try:
        for number in numbers:
            loop.add_signal_handler(number, on_signal, number)
    except (ValueError, RuntimeError, NotImplementedError):  # not the main thread, as in a notebook's worker
        numbers = ()
    try:
        yield lambda: bool(came)
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
