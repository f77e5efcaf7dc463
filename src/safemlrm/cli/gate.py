"""`--fail-if "asr>0.05"`: a threshold on a figure that makes a command exit with 3."""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from safemlrm.errors import UsageError
from safemlrm.metrics.summary import Summary
from safemlrm.registry import nearest

FailIf = Annotated[str | None, typer.Option(help='Exit 3 if so, e.g. "asr>0.05", "tax>0.1".')]
COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
FIGURES = ("asr", "tax", "over_refusal", "refusal", "correct", "self_correction", "unjudged")
_FORM = re.compile(r"\s*([\w-]+)\s*(>=|<=|>|<)\s*([0-9.]+)\s*(%?)\s*")


def check_form(text: str | None) -> None:
    """Refuse a condition that cannot be read, before anything is done for it.

    Raises:
        UsageError: it cannot be read; says how to write it.
    """
    if text is not None:
        _read(text)


def check_gate(text: str | None, summary: Summary) -> int:
    """3 if the condition holds for any model, condition and judge (answers, all scenarios), else 0; says where.

    Raises:
        UsageError: the condition cannot be read, or nothing was measured that it could be about.
    """
    if text is None:
        return 0
    figure, comparison, bound = _read(text)
    measured = list(_values(figure, summary))
    if not measured:
        raise UsageError(f'--fail-if "{text}": the run measured no {figure}')
    hits = [(where, value) for where, value in measured if COMPARISONS[comparison](value, bound)]
    for where, value in hits:
        print(f"gate: {figure} {value:.4f} {comparison} {bound} for {where}", file=sys.stderr)
    return 3 if hits else 0


def _read(text: str) -> tuple[str, str, float]:
    found = _FORM.fullmatch(text)
    try:
        if not found:
            raise ValueError
        number = float(found[3])
    except ValueError:
        raise UsageError(f'--fail-if "{text}": write it as FIGURE > NUMBER, e.g. "asr>0.05" or "asr>5%"') from None
    figure = found[1].replace("-", "_")
    if figure not in FIGURES:
        raise UsageError(
            f'--fail-if "{text}": no figure "{figure}"{nearest(figure, FIGURES)}; one of {", ".join(FIGURES)}'
        )
    return figure, found[2], number / 100 if found[4] else number


def _values(figure: str, summary: Summary) -> Iterator[tuple[str, float]]:
    if figure == "tax":
        for pair in summary.paired:
            about = (pair.part, pair.outcome, pair.condition.scenario)
            if about == ("answer", "asr", "") and pair.difference.value is not None:
                yield f"{pair.reasoning} over {pair.base}, {pair.condition.attack}", pair.difference.value
        return
    if figure == "self_correction":
        for found in summary.thought_answer:
            if not found.condition.scenario and found.self_correction.value is not None:
                yield f"{found.model}, {found.condition.attack}", found.self_correction.value
        return
    for judged in summary.judged:
        if judged.part != "answer" or judged.condition.scenario:
            continue
        if figure == "unjudged":
            yield f"{judged.model}, {judged.condition.attack}, {judged.judge}", float(sum(judged.unjudged.values()))
        elif (value := getattr(judged, figure).value) is not None:
            yield f"{judged.model}, {judged.condition.attack}, {judged.judge}", value
