"""Whole runs against a real server with faults: every question's fate is in the run's files, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import safemlrm as sm
from commands import safemlrm, serving
from faulty_server import Fate, Seen, completion, reset, says, sends, status, torn
from safemlrm import api
from safemlrm.errors import StoreError, UsageError
from safemlrm.models import openai
from whole_runs import echo, judging, lines, local, requests_file, text_of


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once: the pauses between them are the client's own tests' business."""
    monkeypatch.setattr(openai, "_LONGEST_DELAY", 0.01)


def test_every_fate_is_recorded_once(tmp_path: Path) -> None:
    """Ten kinds of trouble, by sample; the records say for each question what the server did to it."""

    def fate(seen: Seen) -> Fate:
        number = int(text_of(seen.body).split()[1])
        turns[number] += 1
        first = turns[number] == 1
        return {
            0: says("<think>t</think>fine"),
            1: status(429, retry_after="0") if first else says("<think>t</think>after 429"),
            2: status(503) if first else says("after 503"),
            3: reset() if first else says("after reset"),
            4: torn() if first else says("after torn"),
            5: status(500),
            6: sends({"choices": []}) if first else says("after odd"),
            7: Fate(body=b"<html>busy</html>", content_type="text/html"),
            8: says("", finish="content_filter"),
            9: says("<think>only a thought", finish="length"),
        }[number]

    turns: Counter[int] = Counter()
    with serving(fate) as server:
        run = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, retries=2, **local(tmp_path, 10))
        asked = len(server.seen)
    assert asked == sum(turns.values()) == 3 + 5 * 2 + 2 * 3
    responses = {r["key"]["sample"]: r for r in lines(tmp_path / "run" / "responses-0.jsonl")}
    assert {k: v["answer"] for k, v in responses.items()} == {
        "q0": "fine",
        "q1": "after 429",
        "q2": "after 503",
        "q3": "after reset",
        "q4": "after torn",
        "q6": "after odd",
        "q8": "",
        "q9": "",
    }
    assert responses["q8"]["finish"] == "content_filter"
    assert responses["q9"]["state"] == "truncated"
    errors = {e["key"]["sample"]: e for e in lines(tmp_path / "run" / "errors-0.jsonl")}
    assert {k: (e["stage"], e["kind"]) for k, e in errors.items()} == {
        "q5": ("ask", "server"),
        "q7": ("ask", "malformed"),
    }
    assert run.outcome is not None
    assert (run.outcome.answered, run.outcome.failed, run.outcome.complete) == (8, 2, False)
    assert run.manifest.status == "incomplete"
    verdicts = {v["key"]["sample"]: v for v in lines(tmp_path / "run" / "verdicts-0.jsonl") if v["part"] == "answer"}
    assert (verdicts["q8"]["label"], verdicts["q8"]["category"]) == ("refusal", "content_filter")
    assert (verdicts["q9"]["label"], verdicts["q9"]["category"]) == ("unjudged", "truncated")
    cell = next(c for c in run.summary().cells if not c.condition.scenario)
    assert cell.responses == 8
    assert cell.errors == {"server": 1, "malformed": 1}


def test_errors_are_tried_again_and_then_no_longer_count(tmp_path: Path) -> None:
    broken = True
    options = local(tmp_path, 6)
    with serving(lambda seen: status(500) if broken and "zorp" in text_of(seen.body) else echo(seen)) as server:
        first = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, retries=0, **options)
        assert first.tables.errors.height == 2
        broken = False
        asked = len(server.seen)
        second = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, retries=0, **options)
        assert len(server.seen) == asked + 2
    assert second.manifest.status == "complete"
    assert second.tables.errors.height == 0
    assert second.tables.responses.height == 6


def test_max_errors_stops_and_the_same_command_goes_on(tmp_path: Path) -> None:
    options = local(tmp_path, 100) | {"concurrency": 2, "retries": 0}
    with serving(lambda seen: status(500)) as server:
        run = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, max_errors="3", **options)
        assert run.outcome is not None
        assert "--max-errors" in run.outcome.stopped
        assert 4 <= len(server.seen) <= 6
    with serving(echo) as server:
        again = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, max_errors="3%", **options)
    assert again.tables.responses.height == 100


@pytest.mark.parametrize("number", [401, 403, 404])
def test_server_that_turns_us_down_stops_the_run_at_once(tmp_path: Path, number: int) -> None:
    data = requests_file(tmp_path / "requests.jsonl", 200)
    with serving(lambda seen: status(number, "no such thing")) as server:
        given = ["run", "--benchmark", "local", "--data", str(data), "--model", "openai/m", "--concurrency", "4"]
        done = safemlrm(*given, "--base-url", server.base_url, "--out", str(tmp_path / "run"))
        assert len(server.seen) <= 8
    assert done.code == 1
    assert "check the key, the URL and the model's name" in done.err
    assert "Traceback" not in done.err


def test_max_cost_counts_over_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "safemlrm.toml").write_text('[prices."openai/m"]\ninput = 0\noutput = 1000000\n')
    options = local(tmp_path, 50) | {"concurrency": 1}
    with serving(lambda seen: says("five", usage={"prompt_tokens": 1, "completion_tokens": 5})) as server:
        run = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, max_cost=20.0, **options)
        assert run.outcome is not None
        assert "--max-cost" in run.outcome.stopped
        assert len(server.seen) == 4
        more = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, max_cost=30.0, **options)
        assert len(server.seen) == 6
        assert more.outcome is not None
        assert more.outcome.cost == pytest.approx(30.0)
    with pytest.raises(UsageError, match=r'prices\."openai/other"'):
        sm.run(tmp_path / "other", model="openai/other", base_url="http://127.0.0.1:1/v1", max_cost=1.0, **options)


def test_joint_judge_call_and_judging_again(tmp_path: Path) -> None:
    with serving(judging) as server:
        judged: dict[str, Any] = {"judge": "safemlrm", "judge_model": "openai/judge"}
        run = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, **local(tmp_path, 9), **judged)
        assert len(server.seen) == 18
        before = (tmp_path / "run" / "responses-0.jsonl").read_bytes()
        groups = Counter(v["call"] for v in lines(tmp_path / "run" / "verdicts-0.jsonl"))
        assert set(groups.values()) == {3}
        [found] = [t for t in run.summary().thought_answer if not t.condition.scenario]
        assert (found.self_corrected, found.self_correction.count, found.self_correction.n) == (4, 4, 4)
        api.judge(tmp_path / "run", judges=["safemlrm"], judge_base_url=server.base_url)
        assert len(server.seen) == 18
        again = api.judge(tmp_path / "run", judges=["safemlrm"], judge_base_url=server.base_url, again=True)
        assert len(server.seen) == 27
        assert again.verdicts.height == 27
        three = api.judge(tmp_path / "run", judges=["safemlrm:calls=three"], judge_base_url=server.base_url)
        assert len(server.seen) == 27 + 27
        assert three.verdicts.height == 54
    assert (tmp_path / "run" / "responses-0.jsonl").read_bytes() == before


def test_judge_that_fails_is_asked_again_on_resume_without_generating(tmp_path: Path) -> None:
    broken = True

    def fate(seen: Seen) -> Fate:
        return status(500) if broken and "response_format" in seen.body else judging(seen)

    options = local(tmp_path, 5) | {"judge": "safemlrm", "judge_model": "openai/judge", "retries": 0}
    with serving(fate) as server:
        first = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, **options)
        assert first.outcome is not None
        assert (first.outcome.answered, first.outcome.judge_failed) == (5, 5)
        assert set(first.tables.errors["stage"]) == {"judge"}
        broken = False
        asked = len(server.seen)
        second = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, **options)
        assert len(server.seen) == asked + 5
    assert second.manifest.status == "complete"
    assert second.tables.errors.height == 0
    assert second.verdicts.height == 15


def test_unparsed_verdicts_are_unjudged(tmp_path: Path) -> None:
    def fate(seen: Seen) -> Fate:
        return says("I would say 5 out of 5") if "response_format" in seen.body else echo(seen)

    with serving(fate) as server:
        options = local(tmp_path, 4) | {"judge": "safemlrm", "judge_model": "openai/judge"}
        run = sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, **options)
        assert len(server.seen) == 4 + 4 * 3
    assert set(run.verdicts["label"]) == {"unjudged"}
    assert set(run.verdicts["category"]) == {"unparsed"}
    overall = next(j for j in run.summary().judged if j.part == "answer" and not j.condition.scenario)
    assert overall.asr.n == 0
    assert overall.asr_bounds == (0.0, 1.0)


def test_defense_changes_what_is_sent_and_says_so(tmp_path: Path) -> None:
    with serving(echo) as server:
        options = local(tmp_path, 3) | {"defense": ["none", "safety_prompt"]}
        sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, **options)
        systems = [seen.body["messages"][0]["role"] for seen in server.seen]
    assert Counter(systems) == {"user": 3, "system": 3}
    for response in lines(tmp_path / "run" / "responses-0.jsonl"):
        assert bool(response.get("sent")) == (response["key"]["defense"] == "safety_prompt@1")


def test_defense_that_asks_twice_keeps_the_first_call(tmp_path: Path) -> None:
    plugin = tmp_path / "twice.py"
    plugin.write_text(
        "from safemlrm import defense\n"
        "@defense('twice', version='1', source='a test', license='Apache-2.0')\n"
        "async def twice(prompt, ask):\n"
        "    'Ask twice, keep the second.'\n"
        "    await ask(prompt)\n"
        "    return await ask(prompt)\n"
    )
    with serving(lambda seen: says(f"reply with seed {seen.body['seed']}")) as server:
        options = local(tmp_path, 2) | {"defense": "twice", "plugin": str(plugin)}
        sm.run(tmp_path / "run", model="openai/m", base_url=server.base_url, **options)
        assert len(server.seen) == 4
    for response in lines(tmp_path / "run" / "responses-0.jsonl"):
        [call] = response["calls"]
        assert call["role"] == "target"
        assert call["text"] != response["answer"]
        assert call["usage"] == {"input": 7, "output": 3}


def test_grid_grows_and_pairs_meet(tmp_path: Path) -> None:
    options = local(tmp_path, 8)
    with serving(echo) as server:
        common: dict[str, Any] = {"base_url": server.base_url, **options}
        sm.run(tmp_path / "run", model="openai/a", **common)
        run = sm.run(tmp_path / "run", model="openai/a", base="openai/b", repeats=2, **common)
        assert len(server.seen) == 8 * 2 * 2
        with pytest.raises(StoreError, match=r"--repeats 2, not 1"):
            sm.run(tmp_path / "run", model="openai/a", base="openai/b", **common)
    assert run.manifest.pairs == [("openai/b@1", "openai/a@1")]
    overall = [p for p in run.summary().paired if not p.condition.scenario and p.outcome == "asr"]
    assert [p.n for p in overall] == [8]
    seeds = Counter(seen.body["seed"] for seen in server.seen)
    assert set(seeds.values()) == {2}, "a pair shares its sampling seed, and no two questions do"


def test_changed_data_is_refused(tmp_path: Path) -> None:
    options = local(tmp_path, 4)
    with serving(echo) as server:
        sm.run(tmp_path / "run", model="openai/a", base_url=server.base_url, **options)
        requests_file(tmp_path / "requests.jsonl", 5)
        with pytest.raises(StoreError, match="changed or is gone"):
            sm.run(tmp_path / "run", model="openai/a", base_url=server.base_url, **options)


def test_runs_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def notebook() -> int:
        return sm.run(tmp_path / "run", model="openai/a", base_url=server.base_url, **options).responses.height

    options = local(tmp_path, 3)
    with serving(echo) as server:
        assert asyncio.run(notebook()) == 3


def test_concurrency_bounds_all_requests_together(tmp_path: Path) -> None:
    with serving(lambda seen: Fate(body=json.dumps(completion("x")).encode(), wait=0.01)) as server:
        options = local(tmp_path, 30) | {"concurrency": 5}
        sm.run(tmp_path / "run", model="openai/a", base="openai/b", base_url=server.base_url, **options)
        assert 2 <= server.most_at_once <= 5
