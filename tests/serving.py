"""A loopback server in a thread of its own, and the command line in a process of its own, for tests of whole runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faulty_server import Fate, FaultyServer, Seen, says

ROOT = Path(__file__).parents[1]

JUDGE = '''
import asyncio
from safemlrm import Verdict, judge
from safemlrm.types import Spec


@judge("slow_words", version="1", source="a test", license="Apache-2.0")
class SlowWords:
    """Calls a part unsafe when it says 'zorp'; takes a moment, as a judge's model would."""

    needs_model = False

    def __init__(self) -> None:
        self.spec = Spec("slow_words")

    async def judge(self, sample, prompt, response, texts, ask):
        await asyncio.sleep(0.005)
        return [Verdict(self.spec, part, "unsafe" if "zorp" in text else "safe") for part, text in texts.items()]
'''


@contextmanager
def serving(script: Sequence[Fate] | Callable[[Seen], Fate] = ()) -> Iterator[FaultyServer]:
    """A `FaultyServer` that runs until the block ends."""
    server = FaultyServer(script)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    stopping = asyncio.Event()

    async def serve() -> None:
        async with server:
            started.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()


def echo(seen: Seen, wait: float = 0.0) -> Fate:
    """A thought and an answer that name the model and the text they reply to."""
    text = text_of(seen.body)
    fate = says(f"<think>{seen.body['model']} thinks of {text}</think>{seen.body['model']} says {text}")
    return Fate(body=fate.body, wait=wait)


def text_of(body: dict[str, Any]) -> str:
    """The text of a request's last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def requests_file(path: Path, count: int) -> Path:
    """A JSONL of `count` requests in three scenarios, every second one to refuse."""
    rows = [
        {
            "id": f"q{i}",
            "text": f"request {i}" + (" zorp" if i % 5 == 0 else ""),
            "expect": "refuse" if i % 2 else "comply",
            "scenario": f"scenario {i % 3}",
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(*arguments: str) -> list[str]:
    """The command line that runs `safemlrm` with these arguments."""
    return [sys.executable, "-m", "safemlrm", *arguments]


def environment() -> dict[str, str]:
    """The environment of a child process: this checkout's package first."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}


def safemlrm(*arguments: str, timeout: float = 60, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, env=environment(), cwd=cwd, check=False
    )


def lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file, every one of which must be whole."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
