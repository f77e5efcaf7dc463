"""How fast a server may be asked: a concurrency window that gives way and recovers, pauses, and rates per minute.

One `Limits` belongs to one server and is shared by everything that asks it. Requests start in the order in which they
came. The window follows AIMD as TCP does (Chiu and Jain, 1989): halved when the server is overloaded, grown by one
for each window of successes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol

from safemlrm.errors import UsageError

PAUSE_FIRST = 0.25  # seconds of rest after a first "too many requests" that names no time; doubled while they go on
PAUSE_LONGEST = 120.0  # no server is waited for longer than this, whatever it asks
_MOST_DOUBLINGS = 7  # to 32 s

Fate = Literal["answered", "failed", "overloaded"]


class Clock(Protocol):
    """What is needed of an event loop to tell the time; tests put a clock of their own in its place."""

    def time(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Any: ...


class Bucket:
    """A token bucket that may go into debt: a cost above its capacity passes when full, and is paid off afterwards."""

    def __init__(self, per_minute: float, burst_seconds: float) -> None:
        self.rate = per_minute / 60.0
        self.capacity = max(1.0, self.rate * burst_seconds)
        self.level = self.capacity
        self.seen: float | None = None

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken; 0.0 if it may be taken now."""
        if self.seen is not None:
            self.level = min(self.capacity, self.level + (now - self.seen) * self.rate)
        self.seen = now
        missing = min(cost, self.capacity) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, cost: float) -> None:
        """Take `cost`, or give back a negative one."""
        self.level = min(self.capacity, self.level - cost)


class Limits:
    """The limits of one server: at most `concurrency` requests at a time, and rates per minute where given.

    A request is wrapped in `enter` and `leave`. After `close` of the models that share it, a `Limits` may be used again
    in another event loop.

    Raises:
        UsageError: a limit below what lets anything through.
    """

    def __init__(
        self,
        concurrency: int = 32,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        if concurrency < 1 or min(requests_per_minute or 1.0, tokens_per_minute or 1.0) <= 0.0:
            raise UsageError("concurrency and rates per minute must be greater than 0; leave a rate out for no limit")
        self.concurrency = concurrency
        self.window = float(self.concurrency)
        self.active = 0
        # Requests may come in bursts of 0.1 s, so that slow rates hold in any 60 s and fast ones survive late timers.
        self._requests = Bucket(requests_per_minute, 0.1) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, 1.0) if tokens_per_minute else None
        self._clock = clock
        self._waiting: deque[tuple[asyncio.Future[int], float]] = deque()
        self._timer: Any = None
        self._paused_until = float("-inf")
        self._cuts = 0  # how often the window was halved; a request's ticket is the count when it started
        self._streak = 0  # how often the rest is doubled: one more for each cut, one less for each success

    @property
    def counts_tokens(self) -> bool:
        """Whether `enter` needs an estimate of tokens and `leave` the true number."""
        return self._tokens is not None

    async def enter(self, tokens: float = 0.0) -> int:
        """Wait for a place and take it; `tokens` estimates what the request will cost. Returns a ticket for `leave`."""
        if not self._waiting and self._delay(tokens) == 0.0:
            return self._take(tokens)
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((place, tokens))
        self._wake()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # granted in the same breath: nobody will leave it
                self.active -= 1
                if self._requests is not None:
                    self._requests.take(-1.0)
                self.spend(-tokens)
            self._wake()
            raise

    def leave(self, ticket: int, fate: Fate = "failed", *, retry_after: float | None = None) -> None:
        """Give the place back and say what became of the request; `retry_after` pauses all new requests (seconds)."""
        self.active -= 1
        if fate == "answered":
            if self._streak:
                self._streak -= 1
            if self.window < self.concurrency:
                self.window = min(float(self.concurrency), self.window + 1.0 / self.window)
        elif fate == "overloaded" and ticket == self._cuts:  # of one window's requests only the first one cuts it
            self.window = max(1.0, self.window / 2.0)
            self._cuts += 1
            if retry_after is None:
                retry_after = PAUSE_FIRST * 2.0**self._streak
            self._streak = min(_MOST_DOUBLINGS, self._streak + 1)
        if retry_after is not None:
            self.pause(retry_after)
        if self._waiting:
            self._wake()

    def pause(self, seconds: float) -> None:
        """Start no new request for so many seconds; a longer pause under way stays."""
        self._paused_until = max(self._paused_until, self._now() + min(PAUSE_LONGEST, max(0.0, seconds)))

    def spend(self, tokens: float) -> None:
        """Correct the token budget by what a request cost beyond its estimate (negative: less)."""
        if self._tokens is not None:
            self._tokens.take(tokens)

    def _now(self) -> float:
        return (self._clock or asyncio.get_running_loop()).time()

    def _delay(self, tokens: float) -> float:
        """Seconds until the next request may start; infinite while the window is full."""
        if self.active >= int(self.window):
            return float("inf")
        now = self._now()
        delay = max(0.0, self._paused_until - now)
        if self._requests is not None:
            delay = max(delay, self._requests.wait(1.0, now))
        if self._tokens is not None:
            delay = max(delay, self._tokens.wait(tokens, now))
        return delay

    def _take(self, tokens: float) -> int:
        self.active += 1
        if self._requests is not None:
            self._requests.take(1.0)
        self.spend(tokens)
        return self._cuts

    def _wake(self) -> None:
        """Start those who wait, in order, as far as the limits allow; set a timer where only time is missing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            place, tokens = self._waiting[0]
            if place.done():  # cancelled while it waited
                self._waiting.popleft()
                continue
            delay = self._delay(tokens)
            if delay == 0.0:
                self._waiting.popleft()
                place.set_result(self._take(tokens))
                continue
            if delay != float("inf"):
                self._timer = (self._clock or asyncio.get_running_loop()).call_later(delay, self._wake)
            return
