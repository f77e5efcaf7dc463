"""`--limit`: exactly so many, the same by seed, proportional, growing only at the end."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safemlrm.runs.select import choose
from safemlrm.types import Expect, Message, Sample, Text


def sample(name: str, scenario: str = "", expect: Expect = "refuse", group: str = "") -> Sample:
    return Sample(name, "b", (Message("user", (Text("?"),)),), expect, scenario, group=group)


def strata(sizes: list[int]) -> list[Sample]:
    return [sample(f"{s}-{i}", f"scenario {s}") for s, size in enumerate(sizes) for i in range(size)]


sizes = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@given(sizes, st.integers(1, 300), st.integers(0, 5))
def test_exactly_so_many_or_all(sizes: list[int], limit: int, seed: int) -> None:
    samples = strata(sizes)
    chosen = choose(samples, limit, seed)
    assert len(chosen) == min(limit, len(samples))
    assert chosen <= {s.id for s in samples}
    assert chosen == choose(iter(samples), limit, seed)
    assert chosen == choose(reversed(samples), limit, seed), "the order of the file must not matter"


@given(sizes, st.integers(1, 60), st.integers(0, 60), st.integers(0, 5))
def test_a_larger_limit_takes_a_superset(sizes: list[int], limit: int, more: int, seed: int) -> None:
    samples = strata(sizes)
    assert choose(samples, limit, seed) <= choose(samples, limit + more, seed)


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 200), st.integers(0, 5))
def test_equal_scenarios_differ_by_one_at_most(count: int, size: int, limit: int, seed: int) -> None:
    chosen = choose(strata([size] * count), limit, seed)
    taken = Counter(name.split("-")[0] for name in chosen)
    counts = [taken[str(s)] for s in range(count)]
    assert max(counts) - min(counts) <= 1


@given(sizes, st.integers(1, 200), st.integers(0, 5))
def test_unequal_scenarios_are_taken_in_proportion(sizes: list[int], limit: int, seed: int) -> None:
    """Each gets its share, but for one and what rounding the other scenarios leaves over."""
    total = sum(sizes)
    limit = min(limit, total)
    taken = Counter(int(name.split("-")[0]) for name in choose(strata(sizes), limit, seed))
    for s, size in enumerate(sizes):
        assert abs(taken[s] - limit * size / total) <= 1 + size * len(sizes) / (2 * total)


def test_two_scenarios_share_within_one() -> None:
    taken = Counter(name[0] for name in choose(strata([450, 50]), 100, 0))
    assert abs(taken["0"] - 90) <= 1
    assert abs(taken["1"] - 10) <= 1


def test_seeds_choose_differently() -> None:
    samples = strata([50] * 10)
    assert len({frozenset(choose(samples, 50, seed)) for seed in range(8)}) == 8


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 5))
def test_twins_are_taken_together(pairs: int, limit: int, seed: int) -> None:
    samples = [
        sample(f"{i}-{expect}", "s", expect, group=f"g{i}") for i in range(pairs) for expect in ("refuse", "comply")
    ]
    chosen = choose(samples, 2 * limit, seed)
    assert {name.split("-")[0] for name in chosen if name.endswith("refuse")} == {
        name.split("-")[0] for name in chosen if name.endswith("comply")
    }
