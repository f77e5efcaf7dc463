"""Shows how far a run is: a live bar on a terminal, a plain line every few seconds elsewhere. Writes to stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

PLAIN_EVERY = 10.0


class Progress:
    """Counts finished questions against the plan and tells rate and time left.

    `done` counts questions that were finished before this start too; rates are of this start only.
    """

    def __init__(self, total: int, done: int = 0, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.total = total
        self.done = done
        self.errors = 0
        self.unjudged = 0
        self.began = time.monotonic()
        self.done_before = done
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._told = self.began

    def __enter__(self) -> Self:
        if not self.quiet and self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(file=self.stream), refresh_per_second=4)
            self._task = self._bar.add_task("", total=self.total, completed=self.done)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet and self.done > self.done_before:
            self._tell()

    def finished(self) -> None:
        """One more question has its response and its verdicts."""
        self.done += 1
        self._show()

    def failed(self) -> None:
        """One more question failed for good in this start."""
        self.errors += 1
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=self._rate(now))
        elif not self.quiet and now - self._told >= PLAIN_EVERY:
            self._told = now
            self._tell()

    def _rate(self, now: float) -> str:
        rate = (self.done - self.done_before) / max(now - self.began, 1e-9)
        errors = f", {self.errors} errors" if self.errors else ""
        return f"{rate:.1f}/s{errors}"

    def _tell(self) -> None:
        now = time.monotonic()
        rate = (self.done - self.done_before) / max(now - self.began, 1e-9)
        left = f", {_clock((self.total - self.done) / rate)} left" if rate > 0 and self.done < self.total else ""
        print(f"{self.done}/{self.total} questions, {self._rate(now)}{left}", file=self.stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
