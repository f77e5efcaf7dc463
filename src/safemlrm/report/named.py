"""Gives the models of a view the names that people use; provenance keeps the full ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from safemlrm.metrics.text import display_names
from safemlrm.report.view import ReportView

_Named = TypeVar("_Named", bound=Struct)


def named(view: ReportView) -> ReportView:
    """The same view with each model without version and options, where that still tells it from the others."""
    every = [cell.model for cell in view.summary.cells] + [name for pair in view.summary.pairs for name in pair]
    names = display_names(every)

    def renamed(values: Iterable[_Named], *fields: str) -> tuple[_Named, ...]:
        return tuple(replace(v, **{f: names.get(getattr(v, f), getattr(v, f)) for f in fields}) for v in values)

    old = view.summary
    summary = replace(
        old,
        cells=renamed(old.cells, "model"),
        judged=renamed(old.judged, "model"),
        thought_answer=renamed(old.thought_answer, "model"),
        paired=renamed(old.paired, "base", "reasoning"),
        pairs=tuple((names[base], names[reasoning]) for base, reasoning in old.pairs),
    )
    records, errors = renamed(view.records, "model"), renamed(view.errors, "model")
    return replace(view, summary=summary, records=records, errors=errors)
