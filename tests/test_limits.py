"""The limits of a server, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safemlrm.models.limits import PAUSE_FIRST, PAUSE_LONGEST, Bucket, Limits


class Timer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Time stands still until `pass_` moves it, through every timer on the way."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Timer, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        timer = Timer()
        heapq.heappush(self._due, (self.now + delay, next(self._order), timer, callback))
        return timer

    async def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        await settle()
        while self._due and self._due[0][0] <= end:
            self.now, _, timer, callback = heapq.heappop(self._due)
            if not timer.cancelled:
                callback()
            await settle()
        self.now = end


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def test_no_more_than_the_window_run_and_those_who_wait_start_in_order() -> None:
    async def test() -> None:
        limits = Limits(2, clock=Clock())
        started: list[int] = []

        async def one(number: int) -> int:
            ticket = await limits.enter()
            started.append(number)
            return ticket

        tasks = [asyncio.create_task(one(n)) for n in range(5)]
        await settle()
        assert started == [0, 1]
        for n in range(2, 5):
            limits.leave(0, "answered")
            await settle()
            assert started == list(range(n + 1))
            assert limits.active == 2
        limits.leave(0)
        limits.leave(0)
        assert limits.active == 0
        await asyncio.gather(*tasks)

    run(test())


def test_a_newcomer_does_not_overtake() -> None:
    async def test() -> None:
        limits = Limits(1, clock=Clock())
        await limits.enter()
        started: list[str] = []

        async def one(name: str) -> None:
            await limits.enter()
            started.append(name)

        first = asyncio.create_task(one("first"))
        await settle()
        limits.leave(0)  # `first` has the place now, though it has not run yet
        second = asyncio.create_task(one("second"))
        await settle()
        assert started == ["first"]
        limits.leave(0)
        await asyncio.gather(first, second)
        assert started == ["first", "second"]

    run(test())


def test_overload_halves_once_per_window_and_success_recovers_up_to_the_limit() -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(8, clock=clock)
        tickets = [await limits.enter() for _ in range(8)]
        for ticket in tickets:
            limits.leave(ticket, "overloaded")
        assert limits.window == 4.0  # eight failures of one window are one piece of news
        await clock.pass_(PAUSE_FIRST)
        for expected in (2.0, 1.0, 1.0):
            task = asyncio.create_task(limits.enter())
            await clock.pass_(PAUSE_LONGEST)
            limits.leave(await task, "overloaded")
            assert limits.window == expected
        await clock.pass_(PAUSE_LONGEST)
        windows = []
        for _ in range(60):
            limits.leave(await limits.enter(), "answered")
            windows.append(limits.window)
        assert windows == sorted(windows)
        assert windows[0] == 2.0
        assert windows[-1] == 8.0  # never over what was asked for

    run(test())


def test_a_plain_failure_changes_nothing() -> None:
    async def test() -> None:
        limits = Limits(4, clock=Clock())
        limits.leave(await limits.enter(), "failed")
        assert (limits.window, limits.active) == (4.0, 0)

    run(test())


def test_pauses_hold_everybody_and_grow_while_no_time_is_named() -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(2, clock=clock)
        limits.leave(await limits.enter(), "overloaded", retry_after=7.0)
        task = asyncio.create_task(limits.enter())
        await clock.pass_(6.9)
        assert not task.done()
        await clock.pass_(0.2)
        ticket = await task
        limits.leave(ticket, "overloaded")  # the second in a row, without a time
        task = asyncio.create_task(limits.enter())
        await clock.pass_(2 * PAUSE_FIRST - 0.01)
        assert not task.done()
        await clock.pass_(0.02)
        assert task.done()

    run(test())


def test_no_pause_is_longer_than_the_longest() -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(1, clock=clock)
        limits.pause(1e9)
        limits.pause(1.0)  # a shorter one does not end it
        task = asyncio.create_task(limits.enter())
        await clock.pass_(PAUSE_LONGEST - 1)
        assert not task.done()
        await clock.pass_(1.1)
        assert task.done()

    run(test())


@pytest.mark.parametrize("rate", [30.0, 60.0, 600.0])
def test_no_minute_holds_more_requests_than_allowed(rate: float) -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(1000, requests_per_minute=rate, clock=clock)
        times: list[float] = []

        async def one() -> None:
            ticket = await limits.enter()
            times.append(clock.now)
            limits.leave(ticket, "answered")

        tasks = [asyncio.create_task(one()) for _ in range(int(rate * 2))]
        await clock.pass_(119.99)
        await asyncio.gather(*tasks)
        for start in times:
            assert sum(start <= t < start + 59.999 for t in times) <= rate
        assert times[-1] == pytest.approx(120.0 - 60.0 / rate, rel=0.01)  # and none is wasted

    run(test())


def test_tokens_are_paced_by_the_estimate_and_corrected_by_the_truth() -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(100, tokens_per_minute=6000, clock=clock)  # 100 a second
        assert limits.counts_tokens
        ticket = await limits.enter(50)
        limits.spend(450)  # it cost 500: 400 in debt
        limits.leave(ticket, "answered")
        task = asyncio.create_task(limits.enter(10))
        await clock.pass_(4.05)
        assert not task.done()
        await clock.pass_(0.1)
        assert task.done()
        limits.spend(-1e9)  # giving back never fills it beyond its capacity
        big = asyncio.create_task(limits.enter(1e6))  # more than it ever holds: passes when full, then is paid off
        await clock.pass_(1.0)
        assert big.done()
        late = asyncio.create_task(limits.enter(1))
        await clock.pass_(9000)
        assert not late.done()
        late.cancel()
        await settle()

    run(test())


def test_a_cancelled_waiter_leaks_no_place() -> None:
    async def test() -> None:
        limits = Limits(1, requests_per_minute=6e6, tokens_per_minute=6e6, clock=Clock())
        await limits.enter()
        waiting = [asyncio.create_task(limits.enter(5)) for _ in range(3)]
        await settle()
        waiting[0].cancel()  # while it waits
        await settle()
        limits.leave(0)  # grants waiting[1], ...
        waiting[1].cancel()  # ... which is cancelled before it runs
        await settle()
        assert waiting[0].cancelled()
        assert waiting[1].cancelled()
        assert await waiting[2] == 0
        assert limits.active == 1
        limits.leave(0)
        assert limits.active == 0

    run(test())


def test_a_cancelled_first_waiter_lets_a_cheaper_one_pass() -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(4, tokens_per_minute=6000, clock=clock)
        await limits.enter(80)
        dear, cheap = asyncio.create_task(limits.enter(100)), asyncio.create_task(limits.enter(10))
        await settle()
        assert not cheap.done()  # it waits its turn
        dear.cancel()
        await settle()
        assert cheap.done()

    run(test())


def test_may_be_used_in_one_event_loop_after_another() -> None:
    limits = Limits(2, requests_per_minute=6e6)

    async def use() -> None:
        tickets = await asyncio.gather(limits.enter(), limits.enter())
        for ticket in tickets:
            limits.leave(ticket, "answered")

    asyncio.run(use())
    asyncio.run(use())
    assert limits.active == 0


@given(st.lists(st.sampled_from(["answered", "failed", "overloaded", "cancel"]), max_size=60), st.integers(1, 6))
def test_whatever_happens_the_window_stays_in_its_bounds_and_places_come_back(fates: list[Any], size: int) -> None:
    async def test() -> None:
        clock = Clock()
        limits = Limits(size, clock=clock)
        tasks = [asyncio.create_task(limits.enter()) for _ in fates]
        open_at_once = 0
        for task, fate in zip(tasks, fates, strict=True):
            await clock.pass_(PAUSE_LONGEST + 1)
            open_at_once = max(open_at_once, limits.active)
            if fate == "cancel" and not task.done():
                task.cancel()
                continue
            limits.leave(await task, "answered" if fate == "cancel" else fate)
            assert 1.0 <= limits.window <= size
        assert limits.active == 0
        assert open_at_once <= size

    run(test())


@given(st.floats(0.1, 1e6), st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e5)), max_size=30))
def test_a_bucket_never_gives_more_than_its_rate(per_minute: float, steps: list[tuple[float, float]]) -> None:
    bucket, now, spent = Bucket(per_minute, 1.0), 0.0, 0.0
    for pause, cost in steps:
        now += pause
        if bucket.wait(cost, now) == 0.0:
            assert spent <= bucket.capacity + bucket.rate * now + 1e-3  # all before this one is paid for
            bucket.take(cost)
            spent += cost
    assert bucket.level <= bucket.capacity
