"""A run killed with SIGKILL at random moments loses only what was in flight, and is finished by the same command."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from commands import environment, safemlrm, serving
from whole_runs import JUDGE, command, echo, lines, requests_file

KILLS = int(os.environ.get("SAFEMLRM_KILLS", "8"))
SAMPLES = 20 * max(8, KILLS)  # enough work to be left for the last kill
CONCURRENCY = 4


def arguments(folder: Path, url: str, *more: str) -> list[str]:
    (folder / "judge.py").write_text(JUDGE)
    data = requests_file(folder / "requests.jsonl", SAMPLES)
    given = ["run", "--benchmark", "local", "--data", str(data), "--model", "openai/reasoner", "--base", "openai/base"]
    given += ["--attack", "none", "--attack", "figstep", "--judge", "slow_words", "--plugin", str(folder / "judge.py")]
    given += ["--base-url", url, "--concurrency", str(CONCURRENCY), "--out", str(folder / "run")]
    return [*given, *more]


def test_no_record_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    moments = random.Random(7)
    with serving(lambda seen: echo(seen, wait=0.01)) as server:
        given = arguments(tmp_path, server.base_url)
        killed = 0
        for _ in range(KILLS):
            process = subprocess.Popen(
                command(*given),
                env=environment(PYTHONWARNINGS="error"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            before = len(server.seen)
            deadline = time.monotonic() + 20
            while len(server.seen) == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.25))
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = safemlrm(*given)
        assert done.code == 0, done.err
        asked = len(server.seen)
    assert killed >= KILLS // 2, "the kills came too late to test anything"
    planned = SAMPLES * 2 * 2
    assert asked <= planned + killed * CONCURRENCY
    check_whole(tmp_path / "run", planned)


def check_whole(run: Path, planned: int) -> None:
    """Every planned question has exactly one response, the right one, and exactly one verdict a part."""
    responses = lines(run / "responses-0.jsonl")
    assert Counter(map(identity, responses)).most_common(1)[0][1] == 1
    assert len(responses) == planned
    prompts = {prompt_identity(line): line for line in lines(run / "prompts.jsonl")}
    assert len(prompts) == len(lines(run / "prompts.jsonl")) == SAMPLES * 2
    for response in responses:
        parts = prompts[prompt_identity(response)]["messages"][0]["parts"]
        text = " ".join(part["text"] for part in parts if part["type"] == "text")
        name = response["model"].removeprefix("openai/").removesuffix("@1")
        assert response["answer"] == f"{name} says {text}"
        assert response["state"] == "complete"
    verdicts = Counter((identity(line), line["part"]) for line in lines(run / "verdicts-0.jsonl"))
    assert set(verdicts.values()) == {1}
    assert len(verdicts) == planned * 3
    assert len(lines(run / "samples.jsonl")) == SAMPLES
    assert lines(run / "errors-0.jsonl") == []


def identity(line: dict[str, Any]) -> tuple[Any, ...]:
    return (*line["key"].values(), line["model"])


def prompt_identity(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple(line["key"][name] for name in ("benchmark", "sample", "attack"))


def test_interrupt_ends_cleanly_and_resumes(tmp_path: Path) -> None:
    with serving(lambda seen: echo(seen, wait=0.02)) as server:
        given = arguments(tmp_path, server.base_url)
        process = subprocess.Popen(
            command(*given), env=environment(PYTHONWARNINGS="error"), stderr=subprocess.PIPE, text=True
        )
        while len(server.seen) < 20:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "the same command goes on" in told
        assert "Traceback" not in told
        assert safemlrm(*given).code == 0
        assert len(server.seen) <= SAMPLES * 4 + CONCURRENCY
    check_whole(tmp_path / "run", SAMPLES * 4)


def test_second_writer_is_kept_out(tmp_path: Path) -> None:
    with serving(lambda seen: echo(seen, wait=0.05)) as server:
        given = arguments(tmp_path, server.base_url)
        process = subprocess.Popen(command(*given), env=environment(PYTHONWARNINGS="error"), stderr=subprocess.DEVNULL)
        while not server.seen:
            time.sleep(0.01)
        second = safemlrm(*given)
        process.kill()
        process.wait()
    assert second.code == 2
    assert second.err.strip().splitlines()[-1].startswith("error: ")
    assert "another process is writing this run" in second.err


def test_finished_run_asks_nothing_again(tmp_path: Path) -> None:
    with serving(echo) as server:
        given = arguments(tmp_path, server.base_url, "--limit", "10")
        assert safemlrm(*given).code == 0
        asked = len(server.seen)
        assert asked == 40
        assert safemlrm(*given).code == 0
        assert len(server.seen) == asked
        longer = [*given[:-1], "20"]
        assert safemlrm(*longer).code == 0
        assert len(server.seen) == 80
        changed = safemlrm(*longer, "--seed", "3")
        assert changed.code == 2
        assert "--seed 0, not 3" in changed.err
