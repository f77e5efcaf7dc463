"""Runs the command line as a user does, against a server on loopback that runs in a thread of the test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faulty_server import Fate, FaultyServer, Seen

SOURCE = Path(__file__).parents[1] / "src"


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout; anything more is an error."""
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    """The test's environment with this source tree first and without keys or the user's configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "XDG_"))}
    return {**kept, "PYTHONPATH": str(SOURCE), "XDG_CONFIG_HOME": "/nonexistent", "COLUMNS": "100", **changes}


def safemlrm(*args: object, cwd: Path | None = None, timeout: float = 120, **env: str) -> Done:
    """Run `safemlrm ARGS` in a process of its own and wait for it."""
    command = [sys.executable, "-m", "safemlrm", *map(str, args)]
    done = subprocess.run(command, cwd=cwd, env=environment(**env), capture_output=True, timeout=timeout)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@contextlib.contextmanager
def serving(
    script: Sequence[Fate] | Callable[[Seen], Fate] = (), models: Sequence[str] = ("m",)
) -> Iterator[FaultyServer]:
    """The faulty server, in a thread, for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def start() -> FaultyServer:
        return await FaultyServer(script, models).__aenter__()

    server = wait(start())
    try:
        yield server
    finally:
        wait(server.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
