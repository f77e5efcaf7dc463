"""No attack: the request as the benchmark words it."""

from __future__ import annotations

from safemlrm.registry import attack
from safemlrm.types import Prompt, Sample


@attack("none", version="1", source="the benchmark's own request", license="Apache-2.0")
def none(sample: Sample) -> Prompt:
    """Send the request unchanged: its text, and its own images where it has any; never an attack's images."""
    return Prompt(messages=sample.turns)
