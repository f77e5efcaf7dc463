"""Tables that do not fit are refused in one line that names table and column."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from safemlrm.errors import DataError
from safemlrm.metrics.tables import SCHEMAS, TableName, Tables, check, empty
from test_metrics_summary import BASE, key, response, sample, tables, verdict


def good() -> Tables:
    return tables([sample("a")], [response(key(BASE, "a"))], [verdict(key(BASE, "a"), "safe")])


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_empty_tables_have_the_schema(name: TableName) -> None:
    assert dict(empty(name).schema) == SCHEMAS[name]
    assert getattr(Tables(), name).equals(empty(name))


def test_check_selects_and_widens() -> None:
    made = good()
    wider = replace(
        made,
        responses=made.responses.with_columns(
            pl.col("repeat").cast(pl.Int8), pl.col("state").cast(pl.Categorical), pl.lit(1).alias("further")
        ),
        verdicts=made.verdicts.with_columns(pl.lit(None).alias("score")),
    )
    fitted = check(wider)
    assert fitted.responses.equals(made.responses)
    assert dict(fitted.verdicts.schema) == SCHEMAS["verdicts"]


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("samples", pl.lit("maybe").alias("expect"), "table samples: column expect holds 'maybe'; known are answer"),
        ("verdicts", pl.lit("Unsafe").alias("label"), "table verdicts: column label holds 'Unsafe'"),
        ("verdicts", pl.lit("thought").alias("part"), "column part holds 'thought'"),
        ("verdicts", pl.lit("3").alias("score"), "table verdicts: column score holds String, expected Float64"),
        ("responses", pl.lit(None, pl.String).alias("state"), "table responses: nulls in column state"),
        ("responses", pl.lit(0.5).alias("repeat"), "column repeat holds Float64, expected Int64"),
    ],
)
def test_bad_values_are_named(table: str, change: pl.Expr, message: str) -> None:
    made = good()
    with pytest.raises(DataError) as caught:
        check(replace(made, **{table: getattr(made, table).with_columns(change)}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named() -> None:
    made = good()
    with pytest.raises(DataError, match="table responses: no column state, seconds"):
        check(replace(made, responses=made.responses.drop("seconds", "state")))


@pytest.mark.parametrize("table", ["samples", "responses"])
def test_rows_listed_twice(table: str) -> None:
    made = good()
    with pytest.raises(DataError, match=f"table {table}: 1 rows repeat"):
        check(replace(made, **{table: pl.concat([getattr(made, table)] * 2)}))
