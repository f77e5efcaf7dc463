"""What became of each planned question, before any judge: states, finishes, errors and thought lengths."""

from __future__ import annotations

import polars as pl

from safemlrm.metrics.figures import means
from safemlrm.metrics.frames import Frames, levels, tally
from safemlrm.metrics.summary import Cell, Mean


def cells(frames: Frames, confidence: float) -> list[Cell]:
    """One `Cell` per model, condition and scenario that has a response or a question with only errors.

    Counts are over responses, repeats included. Thought lengths (characters; tokens as the server counted them) are
    over responses that show a thought, with t intervals.
    """
    states = tally(frames.responses, ["model"], "state")
    finishes = tally(frames.responses, ["model"], "finish")
    errors = tally(frames.lost, ["model"], "kind")
    lengths = _lengths(frames.responses, confidence)
    conditions = frames.conditions()
    return [
        Cell(
            model=model,
            condition=conditions[place],
            responses=sum(states.get((model, place), {}).values()),
            states=states.get((model, place), {}),
            finishes=finishes.get((model, place), {}),
            errors=errors.get((model, place), {}),
            thought_chars=lengths.get((model, place), _NOTHING)[0],
            thought_tokens=lengths.get((model, place), _NOTHING)[1],
        )
        for model, place in sorted(states.keys() | errors.keys())
    ]


_NOTHING = (Mean(None, 0), Mean(None, 0))


def _lengths(responses: pl.DataFrame, confidence: float) -> dict[tuple[str, int], tuple[Mean, Mean]]:
    chars, tokens = pl.col("reasoning_chars"), pl.col("reasoning_tokens")
    table = levels(
        responses.filter("thought"),
        ["model"],
        chars.mean().alias("chars"),
        chars.std().alias("chars_std"),
        pl.len().alias("chars_n"),
        tokens.mean().alias("tokens"),
        tokens.std().alias("tokens_std"),
        tokens.count().alias("tokens_n"),
    )
    of_chars = means(table["chars"], table["chars_std"], table["chars_n"], confidence)
    of_tokens = means(table["tokens"], table["tokens_std"], table["tokens_n"], confidence)
    keys = table.select("model", "place").iter_rows()
    return dict(zip(keys, zip(of_chars, of_tokens, strict=True), strict=True))
