"""One measured run of the engine: the pictures and requests in `--data`, a target call and a judge call each.

Started by `engine.py`. Prints one line of figures: CPU and wall time from the first request to the last byte written.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import aiohttp  # noqa: F401  imports come before the clock starts, as in the floor client

from safemlrm.runs.budget import Budget
from safemlrm.runs.engine import Engine
from safemlrm.runs.options import make_options
from safemlrm.runs.plan import Plan
from safemlrm.runs.session import run_to_end
from safemlrm.runs.store import Writer
from safemlrm.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("url", "data", "out"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("n", "concurrency"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    options = make_options(
        {
            "benchmark": "local:expect=comply",
            "data": str(listing(Path(given.data), given.n)),
            "model": "openai/target",
            "judge": "safemlrm",
            "judge_model": "openai/judge",
            "base_url": given.url,
            "concurrency": given.concurrency,
        }
    )
    plan = Plan(options, Settings())
    startup, wall = cpu(), time.perf_counter()
    with Writer(Path(given.out)) as store:
        engine = Engine(plan, store, Budget(options, {}), quiet=True)
        engine.prepare()
        run_to_end(engine)
    used, took = cpu() - startup, time.perf_counter() - wall
    figures = {
        "tool": "safemlrm",
        "n": given.n,
        "ok": judged(Path(given.out)),
        "wall_s": round(took, 3),
        "samples_per_s": round(given.n / took, 2),
        "cpu_ms_per_sample": round(1000 * used / given.n, 4),
        "peak_rss_mb": round(peak_mb(), 1),
        "startup_cpu_ms": round(1000 * startup, 1),
    }
    print(json.dumps(figures))


def listing(data: Path, count: int) -> Path:
    """A JSONL of `count` requests over the pictures there are."""
    rows = [json.loads(line) for line in (data / "samples.jsonl").read_text().splitlines()]
    path = data / f"requests-{count}.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            file.write(json.dumps({**rows[i % len(rows)], "id": str(i)}) + "\n")
    return path


def judged(out: Path) -> int:
    """Samples whose answer has a verdict with a score."""
    verdicts = (json.loads(line) for line in (out / "verdicts-0.jsonl").open(encoding="utf-8"))
    return sum(v["part"] == "answer" and v.get("score") is not None for v in verdicts)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_mb() -> float:
    """Peak memory of this process; `ru_maxrss` can carry over the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
