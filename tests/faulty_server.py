"""A real OpenAI-compatible server on loopback that fails on demand, and counts what reached it.

    async with FaultyServer([status(429, retry_after="1"), says("hello")]) as server:
        model = OpenAIModel("m", base_url=server.base_url)

A script is a list of fates, one for each chat request in order of arrival (afterwards every request is answered), or a
function from the request to its fate.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Fate:
    """What happens to one request. `cut` bytes of the body are sent before the connection is reset."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    wait: float = 0.0
    cut: int | None = None


@dataclass(frozen=True)
class Seen:
    """One chat request as the server saw it."""

    number: int
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    query: str


def completion(
    content: Any = "hello", *, finish: str | None = "stop", usage: Any = None, **message: Any
) -> dict[str, Any]:
    """A chat completion; further fields go into its message."""
    said = {"role": "assistant", "content": content, **message}
    counted = {"prompt_tokens": 7, "completion_tokens": 3} if usage is None else usage
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "choices": [choice], "usage": counted}


def says(content: Any = "hello", **more: Any) -> Fate:
    """A good reply; takes what `completion` takes."""
    return sends(completion(content, **more))


def sends(value: Any, **more: Any) -> Fate:
    """Any JSON value, with status 200 unless said otherwise."""
    return Fate(body=json.dumps(value).encode(), **more)


def status(number: int, message: str = "no", *, retry_after: str | None = None, **error: Any) -> Fate:
    """An HTTP error in OpenAI's form; further fields go into its `error` object."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return sends({"error": {"message": message, **error}}, status=number, headers=headers)


def reset() -> Fate:
    """The connection is reset before a byte is sent."""
    return Fate(cut=0)


def torn(after: int = 20) -> Fate:
    """The connection is reset in the middle of the body."""
    return Fate(body=says("never complete").body, cut=after)


class FaultyServer:
    """The server: `base_url`, and `seen`, the chat requests that arrived. Use as an async context manager."""

    def __init__(self, script: Sequence[Fate] | Callable[[Seen], Fate] = (), models: Sequence[str] = ("m",)) -> None:
        self.script = script
        self.models = models
        self.seen: list[Seen] = []
        self.at_once = 0
        self.most_at_once = 0
        self._news = asyncio.Event()
        self._connections: dict[int, int] = {}
        self._keep: list[Any] = []

    async def __aenter__(self) -> FaultyServer:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def connections(self) -> int:
        """How many connections chat requests came over."""
        return len(self._connections)

    async def until(self, count: int) -> None:
        """Wait until so many chat requests have arrived."""
        while len(self.seen) < count:
            self._news.clear()
            await self._news.wait()

    async def _list(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == "Bearer wrong-key-0123456789":
            text = {"error": {"message": f"bad key {request.headers['Authorization']}"}}
            return web.json_response(text, status=401)
        return web.json_response({"data": [{"id": name} for name in self.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        self._keep.append(transport)  # kept, so that an id is never used twice
        connection = self._connections.setdefault(id(transport), len(self._connections))
        body = json.loads(await request.read())
        seen = Seen(len(self.seen), dict(request.headers), body, connection, request.query_string)
        self.seen.append(seen)
        self._news.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._meet(request, self._fate(seen))
        finally:
            self.at_once -= 1

    def _fate(self, seen: Seen) -> Fate:
        if callable(self.script):
            return self.script(seen)
        return self.script[seen.number] if seen.number < len(self.script) else says()

    async def _meet(self, request: web.Request, fate: Fate) -> web.StreamResponse:
        if fate.wait:
            await asyncio.sleep(fate.wait)
        headers = {"Content-Type": fate.content_type, **fate.headers}
        if fate.cut is None:
            return web.Response(status=fate.status, body=fate.body, headers=headers)
        assert request.transport is not None
        if not fate.cut:
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(status=fate.status, headers={**headers, "Content-Length": str(len(fate.body))})
        await response.prepare(request)
        await response.write(fate.body[: fate.cut])
        request.transport.abort()
        return response
