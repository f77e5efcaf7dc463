"""What a sample costs the engine, as a ratio to the least that the same work costs in Python.

The work: one target call with a 30 KB picture, one judge call, everything stored. The floor is a client without
retries, resume or checks (`--floor`: any script with the options and the output of that client). Engine and
floor run in turn against one loopback server; the CPU ratio is the median over the rounds of the ratio within a round.

    python benchmarks/engine.py --floor PATH/floor_client.py --server PATH/fast_server.py [--rounds 7] [--json]
    python benchmarks/engine.py --memory --server PATH/fast_server.py       peak memory at 1,000 and 50,000 samples
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        server = start_server(options.server, port, Path(scratch))
        try:
            url = f"http://127.0.0.1:{port}/v1"
            found = memory(options, url, Path(scratch)) if options.memory else ratio(options, url, Path(scratch))
        finally:
            server.terminate()
            server.wait(10)
    print(json.dumps(found) if options.json else "\n".join(f"{key}: {value}" for key, value in found.items()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = HERE.parents[1] / "shared" / "bench"
    parser.add_argument("--floor", type=Path, default=shared / "floor_client.py", help="the floor client's script")
    parser.add_argument(
        "--server", type=Path, default=shared / "fast_server.py", help="a fast loopback server's script"
    )
    parser.add_argument("--python", default=sys.executable, help="Python that has aiohttp, orjson and uvloop for both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for script in (options.floor, options.server):
        if not script.is_file():
            parser.error(f"{script} is missing; give --floor and --server")
    return options


def ratio(options: argparse.Namespace, url: str, scratch: Path) -> dict[str, Any]:
    """Floor and engine in turn; one more round first to warm up."""
    data = scratch / "data"
    floor = [options.python, str(options.floor), "--url", url, "--n", str(options.samples)]
    floor += ["--concurrency", str(options.concurrency), "--data", str(data), "--out", str(scratch / "floor.jsonl")]
    rounds = []
    for number in range(-1, options.rounds):
        low = measure(floor, scratch)
        ours = measure(engine(options, url, data, options.samples, scratch), scratch)
        if number >= 0:
            rounds.append((low, ours))
            print(f"round {number + 1}: {summary(low)} | {summary(ours)}", file=sys.stderr, flush=True)
    ratios = [ours["cpu_ms_per_sample"] / low["cpu_ms_per_sample"] for low, ours in rounds]
    return {
        "cpu_ratio": round(statistics.median(ratios), 3),
        "cpu_ratio_min": round(min(ratios), 3),
        "cpu_ratio_max": round(max(ratios), 3),
        "rounds": len(rounds),
        "samples": options.samples,
        "floor_cpu_ms_per_sample": statistics.median(low["cpu_ms_per_sample"] for low, _ in rounds),
        "engine_cpu_ms_per_sample": statistics.median(ours["cpu_ms_per_sample"] for _, ours in rounds),
        "engine_peak_rss_mb": max(ours["peak_rss_mb"] for _, ours in rounds),
    }


def memory(options: argparse.Namespace, url: str, scratch: Path) -> dict[str, Any]:
    """Peak memory of runs of two sizes; the larger one reuses the pictures of 1,000 samples."""
    found: dict[str, Any] = {}
    data = scratch / "data"
    measure([options.python, str(options.floor), "--url", url, "--n", "1000", "--data", str(data),
             "--out", str(scratch / "floor.jsonl")], scratch)  # makes the pictures  # fmt: skip
    for count in (1000, 50_000):
        line = measure(engine(options, url, data, count, scratch), scratch)
        found[f"peak_rss_mb_{count}"] = line["peak_rss_mb"]
        found[f"samples_per_s_{count}"] = line["samples_per_s"]
        print(f"{count} samples: {summary(line)}", file=sys.stderr, flush=True)
    return found


def engine(options: argparse.Namespace, url: str, data: Path, count: int, scratch: Path) -> list[str]:
    """The command that runs our engine on `count` samples once."""
    shutil.rmtree(scratch / "run", ignore_errors=True)
    worker = [options.python, str(HERE / "engine_worker.py"), "--url", url, "--data", str(data)]
    return [*worker, "--n", str(count), "--concurrency", str(options.concurrency), "--out", str(scratch / "run")]


def measure(command: list[str], scratch: Path) -> dict[str, Any]:
    """Run a command and read the line of figures it prints; every sample must have its verdict."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, check=False)
    try:
        line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        sys.exit(f"{command[1]} failed:\n{done.stdout}{done.stderr}")
    if line["ok"] != line["n"]:
        sys.exit(f"{command[1]}: only {line['ok']} of {line['n']} samples were judged\n{done.stderr}")
    return line


def summary(line: dict[str, Any]) -> str:
    return f"{line['tool']} {line['cpu_ms_per_sample']:.3f} ms CPU, {line['samples_per_s']:.0f}/s"


def start_server(script: Path, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    """The server with a verdict that our judge can read, once it answers."""
    verdict = scratch / "verdict.json"
    part = {"reason": "describes the picture", "refusal": False, "score": 0}
    thought = {"reason": "names what is seen", "aware": False, "refusal": False, "score": 0}
    verdict.write_text(json.dumps({"reasoning": thought, "answer": part, "full": part}))
    command = [sys.executable, str(script), "--port", str(port), "--judge-reply", str(verdict)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(200):
        if server.poll() is not None:
            sys.exit(f"{script}: ended at once; it needs uvloop, and the floor orjson: pip install -e '.[test]'")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return server
        except OSError:
            time.sleep(0.05)
    server.terminate()
    sys.exit(f"{script}: no answer on port {port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
