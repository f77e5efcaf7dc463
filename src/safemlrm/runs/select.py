"""Which samples of a benchmark a limited run takes: seeded, proportional by scenario, and growing only at the end."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from safemlrm.types import Sample


def choose(samples: Iterable[Sample], limit: int, seed: int) -> set[str]:
    """The ids of `limit` samples, stratified by scenario and expectation.

    Within a stratum the order is random by seed and equal for members of a group, so that twins tend to be taken
    together. Strata are interleaved in proportion to their sizes; a larger limit with the same seed takes a superset,
    which is what lets a run be extended.
    """
    strata: dict[tuple[str, str], list[tuple[bytes, str]]] = defaultdict(list)
    for sample in samples:
        strata[sample.scenario, sample.expect].append((_draw(seed, sample.group or sample.id), sample.id))
    order: list[tuple[float, bytes, str]] = []
    for members in strata.values():
        members.sort()
        order += [((rank + 0.5) / len(members), *member) for rank, member in enumerate(members)]
    order.sort()
    return {sample_id for _, _, sample_id in order[:limit]}


def _draw(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{name}".encode(), digest_size=8).digest()
