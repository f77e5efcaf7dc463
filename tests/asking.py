"""What the tests of the OpenAI-compatible client share: one question to a server that follows a script."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from faulty_server import Fate, FaultyServer, Seen
from safemlrm.errors import ModelError
from safemlrm.models.openai import OpenAIModel
from safemlrm.types import Message, Prompt, Response, Text

KEY = "sk-a-made-up-secret-0123456789"
HELLO = Prompt((Message("user", (Text("hello"),)),))
SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}}


def model_at(server: FaultyServer, **options: Any) -> OpenAIModel:
    """A client that is in no hurry to wait."""
    model = OpenAIModel("m", **{"base_url": server.base_url, "key": KEY, "timeout": 5.0, **options})
    model._first_delay = 0.001
    model.limits.pause = lambda seconds: None  # type: ignore[method-assign]
    return model


def serve(
    script: Sequence[Fate] | Callable[[Seen], Fate],
    talk: Callable[[OpenAIModel, FaultyServer], Coroutine[Any, Any, Any]],
    **options: Any,
) -> Any:
    """Run `talk` with a client of a server that follows the script; both are closed afterwards."""

    async def main() -> Any:
        async with FaultyServer(script) as server:
            model = model_at(server, **options)
            try:
                return await talk(model, server)
            finally:
                await model.close()
                await model.close()  # once more does no harm

    return asyncio.run(main())


def ask(*fates: Fate, prompt: Prompt = HELLO, **options: Any) -> Response:
    """The response to one question; all fates must have been met."""

    async def talk(model: OpenAIModel, server: FaultyServer) -> Response:
        reply = await model.ask(prompt)
        assert len(server.seen) == model.tries == len(fates)
        return reply

    return serve(fates, talk, **options)  # type: ignore[no-any-return]


def fail(*fates: Fate, retries: int = 1, **options: Any) -> ModelError:
    """The error that one question ends in; all fates must have been met."""

    async def talk(model: OpenAIModel, server: FaultyServer) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await model.ask(HELLO)
        assert len(server.seen) == model.tries == len(fates)
        assert model.limits.active == 0
        told = "".join(traceback.format_exception(caught.value))
        assert KEY not in told
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is caught.value.__context__ is None  # nothing that holds the headers hangs on
        return caught.value

    return serve(fates, talk, retries=retries, **options)  # type: ignore[no-any-return]


def sent(prompt: Prompt = HELLO, seed: int = 0, schema: Any = None, **options: Any) -> Seen:
    """What the server sees of one question."""

    async def talk(model: OpenAIModel, server: FaultyServer) -> Seen:
        await model.ask(prompt, seed=seed, schema=schema)
        return server.seen[0]

    return serve((), talk, **options)  # type: ignore[no-any-return]
