"""The Python functions: the same verbs, with errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import safemlrm as sm
from commands import serving
from safemlrm.errors import StoreError, UsageError

NOWHERE = "http://127.0.0.1:9/v1"


def test_everything_announced_is_there() -> None:
    for name in dir(sm):
        assert getattr(sm, name) is not None
    assert {"run", "Run", "demo", "compare", "open_run", "Sample", "Summary", "split_thought", "judge"} <= {*dir(sm)}
    with pytest.raises(AttributeError, match="has no attribute 'rnu'"):
        _ = sm.rnu


def test_a_run_in_python(tmp_path: Path) -> None:
    with serving() as server:
        run = sm.run(
            tmp_path / "r",
            benchmarks=["toy"],
            attacks=["none", "figstep"],
            models="openai/m",
            base="openai/b",
            judges=["rules"],
            base_url=server.base_url,
            limit=4,
        )
        assert len(server.seen) == 16
    assert run.manifest.status == "complete"
    assert run.outcome is not None
    assert run.outcome.complete
    assert run.responses.height == 16
    assert set(run.responses["answer"]) == {"hello"}
    assert set(run.verdicts["judge"]) == {"rules@1"}
    assert list(run.summary().pairs) == [("openai/b@1", "openai/m@1")]
    assert run.compare().paired
    assert str(run.summary())
    page = run.report(tmp_path / "page.html")
    assert page.read_text(encoding="utf-8").count("<html") == 1
    again = sm.open_run(tmp_path / "r")
    assert again.responses.equals(run.responses)
    assert repr(again) == f"Run({str(tmp_path / 'r')!r})"


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    least = {"benchmark": "toy", "model": "openai/m", "base_url": NOWHERE}
    for changes, wanted in (
        ({"benchmrk": "toy"}, r"run\(\) has no option 'benchmrk' \(did you mean 'benchmark'"),
        ({"limit": "ten"}, "option 'limit': Expected `int | null`"),
        ({"attacks": ["figstp"]}, "no attack called 'figstp'"),
        ({"model": "m"}, "model 'm': no provider 'm'"),
    ):
        with pytest.raises(UsageError, match=wanted.replace("|", r"\|")):
            sm.run(tmp_path / "r", **(least | changes))  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists(), "nothing was begun"
    with pytest.raises(StoreError, match="not a run folder"):
        sm.open_run(tmp_path / "no")
