"""The OpenAI-compatible client against a real server on loopback: what is sent, by whom, over which connections."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import msgspec
import pytest
from yarl import URL

from asking import HELLO, KEY, SCHEMA, ask, fail, model_at, sent, serve
from faulty_server import Fate, FaultyServer, Seen, reset, says, status, torn
from safemlrm.errors import ModelError, UsageError
from safemlrm.images import drawn_image
from safemlrm.models import transport
from safemlrm.models.limits import Limits
from safemlrm.models.openai import OpenAIModel
from safemlrm.types import Message, Prompt, Response, Spec, Text

# What is sent


def test_the_body_holds_messages_images_options_and_seed() -> None:
    image = drawn_image(b"\x89PNG made up \x00\xff" * 100)
    prompt = Prompt((Message("user", (Text('say "ä\n"'), image)), Message("assistant", (Text("a"), Text("b")))))
    seen = sent(prompt, seed=2**40 + 5, max_tokens=9, temperature=0.0, extra={"top_k": 3}, system="be brief")
    uri = "data:image/png;base64," + base64.b64encode(image.data).decode()
    assert seen.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": 'say "ä\n"'}, {"type": "image_url", "image_url": {"url": uri}}],
            },
            {"role": "assistant", "content": "a\nb"},
        ],
        "max_tokens": 9,
        "temperature": 0.0,
        "top_k": 3,
        "seed": 5,
    }
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert seen.headers["Content-Type"] == "application/json"


def test_megabytes_of_image_arrive_whole() -> None:
    image = drawn_image(bytes(range(256)) * 12_000)  # 3 MB
    seen = sent(Prompt((Message("user", (image,)),)))
    uri = seen.body["messages"][0]["content"][0]["image_url"]["url"]
    assert base64.b64decode(uri.partition(",")[2]) == image.data


def test_a_system_message_of_the_prompt_follows_ours_in_the_same_message() -> None:
    prompt = Prompt((Message("system", (Text("theirs"),)), *HELLO.messages))
    assert [m["content"] for m in sent(prompt, system="ours").body["messages"]] == ["ours\n\ntheirs", "hello"]
    assert [m["content"] for m in sent(prompt).body["messages"]] == ["theirs", "hello"]


def test_a_schema_becomes_a_strict_response_format() -> None:
    body = sent(schema=SCHEMA).body
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
    }


def test_without_a_key_no_authorization_is_sent() -> None:
    assert "Authorization" not in sent(key="").headers


def test_a_query_in_the_base_url_is_kept() -> None:
    async def main() -> str:
        async with FaultyServer() as server:
            model = model_at(server, base_url=f"{server.base_url}/?api-version=1")
            await model.ask(HELLO)
            await model.close()
            return server.seen[0].query

    assert asyncio.run(main()) == "api-version=1"


def test_a_prefill_needs_a_server_that_is_told_to_go_on() -> None:
    prompt = Prompt(HELLO.messages, prefill="<think>\nSure")

    async def refuse(model: OpenAIModel, server: FaultyServer) -> None:
        assert not model.prefills
        with pytest.raises(ModelError) as caught:
            await model.ask(prompt)
        assert caught.value.kind == "unsupported"
        assert not server.seen

    serve((), refuse)

    async def go_on(model: OpenAIModel, server: FaultyServer) -> None:
        assert model.prefills
        reply = await model.ask(prompt)
        assert (reply.reasoning, reply.answer, reply.state) == ("rest of it", "done", "complete")
        assert server.seen[0].body["messages"][-1] == {"role": "assistant", "content": "<think>\nSure"}
        assert server.seen[0].body["continue_final_message"] is True
        await model.ask(HELLO)
        assert not {"continue_final_message", "add_generation_prompt"} & server.seen[1].body.keys()

    extra = {"continue_final_message": True, "add_generation_prompt": False}
    serve([says(" rest of it</think>done")], go_on, extra=extra)


def test_text_that_json_cannot_carry_is_an_error_before_anything_is_sent() -> None:
    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        with pytest.raises(ModelError) as caught:
            await model.ask(Prompt((Message("user", (Text("half a pair \ud800"),)),)))
        assert caught.value.kind == "bad_request"
        assert not server.seen

    serve((), talk)


@pytest.mark.parametrize(
    ("field", "message", "options"),
    [
        ("seed", "Unrecognized request argument supplied: seed", {}),
        ("response_format", "'response_format' of type 'json_schema' is not supported with this model", {}),
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
            {"max_tokens": 5},
        ),
    ],
)
def test_a_field_the_server_turns_down_is_left_out_from_then_on(
    field: str, message: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    def strict(seen: Seen) -> Fate:
        return status(400, message, code="unsupported_parameter") if field in seen.body else says()

    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        with caplog.at_level(logging.WARNING):
            replies = await asyncio.gather(*(model.ask(HELLO, schema=SCHEMA) for _ in range(4)))
        assert all(reply.answer == "hello" for reply in replies)
        assert len(server.seen) == model.tries <= 8
        before = len(server.seen)
        await model.ask(HELLO, schema=SCHEMA)
        assert len(server.seen) == before + 1
        assert ("max_completion_tokens" in server.seen[-1].body) == (field == "max_tokens")

    serve(strict, talk, retries=0, **options)
    assert field in caplog.text


def test_a_400_about_the_value_of_a_field_stays_an_error() -> None:
    error = fail(status(400, "max_tokens is too large: 99999"), max_tokens=99999)
    assert (error.kind, error.retryable) == ("bad_request", False)


# Many at once, connections, cancellation, closing


def test_every_request_is_accounted_for_under_a_mix_of_faults() -> None:
    faults = [
        status(429, retry_after="0"),
        status(500),
        reset(),
        torn(),
        Fate(body=b"<html>"),
        says(None),
        status(400, "no"),
    ]
    asked: dict[str, int] = {}

    def fate(seen: Seen) -> Fate:
        text = seen.body["messages"][0]["content"]
        asked[text] = asked.get(text, 0) + 1
        number = int(text)
        if number % 3 == 0:
            return says(text)
        return says(text) if asked[text] > number % 4 else faults[number % len(faults)]

    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        prompts = [Prompt((Message("user", (Text(str(n)),)),)) for n in range(150)]
        replies = await asyncio.gather(*(model.ask(p) for p in prompts), return_exceptions=True)
        assert len(server.seen) == model.tries == sum(asked.values())
        assert server.most_at_once <= 16
        assert model.limits.active == 0
        for number, reply in enumerate(replies):
            refused = number % 3 and number % 4 and number % len(faults) == 6
            if refused:
                assert isinstance(reply, ModelError)
                assert reply.kind == "bad_request"
                assert asked[str(number)] == 1
            else:
                assert isinstance(reply, Response)
                assert reply.answer == str(number)
                assert asked[str(number)] == (1 if number % 3 == 0 else 1 + number % 4)

    serve(fate, talk, concurrency=16)


def test_connections_are_used_again() -> None:
    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        for _ in range(20):
            await model.ask(HELLO)
        assert server.connections == 1
        await asyncio.gather(*(model.ask(HELLO) for _ in range(60)))
        assert server.connections <= 4

    serve((), talk, concurrency=4)


def test_a_cancelled_question_frees_its_place_and_is_not_asked_again() -> None:
    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        slow = [asyncio.create_task(model.ask(HELLO)) for _ in range(5)]
        await server.until(2)
        for task in slow:
            task.cancel()
        ends = await asyncio.gather(*slow, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        assert model.limits.active == 0
        assert (await model.ask(HELLO)).answer == "hello"
        assert len(server.seen) == 3

    serve([Fate(wait=30.0), Fate(wait=30.0)], talk, concurrency=2)


def test_closing_ends_what_is_under_way_without_new_tries() -> None:
    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        tasks = [asyncio.create_task(model.ask(HELLO)) for _ in range(3)]  # one is open, two wait for a place
        await server.until(1)
        await model.close()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [end.kind for end in ends if isinstance(end, ModelError)] == ["connection"] * 3
        assert len(server.seen) == 1
        assert (await model.ask(HELLO)).answer == "hello"  # and it may be used again

    serve([Fate(wait=30.0)], talk, concurrency=1)


def test_two_models_may_share_one_servers_limits() -> None:
    async def main() -> None:
        limits = Limits(3)
        async with FaultyServer(lambda seen: Fate(body=says().body, wait=0.005)) as server:
            one, two = (OpenAIModel(name, base_url=server.base_url, limits=limits) for name in ("a", "b"))
            await asyncio.gather(*(model.ask(HELLO) for model in (one, two) for _ in range(12)))
            assert server.most_at_once == 3
            await one.close()
            await two.close()

    asyncio.run(main())


def test_a_model_may_be_used_in_one_event_loop_after_another() -> None:
    model: OpenAIModel | None = None

    async def use() -> None:
        nonlocal model
        async with FaultyServer() as server:
            model = model or OpenAIModel("m", base_url=server.base_url)
            model._transport._base_url = server.base_url
            await model.ask(HELLO)
            await model.close()

    asyncio.run(use())
    asyncio.run(use())


# Identity and secrets


def test_the_spec_holds_what_changes_an_answer_and_nothing_else() -> None:
    plain = OpenAIModel("m", base_url="http://user:word@h:1/v1?token=t", timeout=1, concurrency=3)
    assert plain.spec == Spec("openai/m")
    full = OpenAIModel(
        "m", base_url="http://h/v1", key=KEY, max_tokens=5, temperature=0.5, top_p=0.9, system="s", extra={"k": [1]}
    )
    assert full.spec.params == {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "system": "s", "k": [1]}
    assert msgspec.json.decode(msgspec.json.encode(full.spec), type=Spec) == full.spec
    for secret in (KEY, "word", "token=t"):
        assert secret not in repr(plain) + repr(full) + str(plain.spec) + str(full.spec)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"base_url": "localhost:8000"}, "http://host:port/v1"),
        ({"base_url": ""}, "http://host:port/v1"),
        ({"base_url": "http://h:99999/v1"}, "http://host:port/v1"),
        ({"base_url": "http://[h/v1"}, "http://host:port/v1"),
        ({"base_url": "http://h/v1", "requests_per_minute": -1.0}, "greater than 0"),
        ({"base_url": "http://u:p@h/v1", "key": KEY}, "not both"),
        ({"base_url": "http://h/v1", "key": f"{KEY}\nX: y"}, "characters"),
        ({"base_url": "http://h/v1", "extra": {"stream": True}}, "stream"),
    ],
)
def test_wrong_settings_are_one_clear_line(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        OpenAIModel("m", **options)
    assert hint in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_server_that_echoes_the_key_does_not_spread_it() -> None:
    echo = ask(says(f"you said {KEY}"))
    assert KEY not in echo.answer + echo.raw
    assert "you said ***" in echo.answer
    assert ask(says("EMPTY is an answer"), key="EMPTY").answer == "EMPTY is an answer"
    refused = ask(status(400, f"key {KEY}", code="content_filter"))
    assert refused.raw == "key ***"


# The doctor's check


def test_check_says_whether_the_model_is_there() -> None:
    async def talk(model: OpenAIModel, server: FaultyServer) -> tuple[str, str]:
        there = await model.check()
        server.models = ["mm", "other"]
        return there, await model.check()

    there, missing = serve((), talk)
    assert there.endswith("/v1: serves 'm'")
    assert "does not list 'm'" in missing


def test_check_fails_as_asking_does() -> None:
    async def main() -> ModelError:
        async with FaultyServer() as server:
            model = OpenAIModel("m", base_url=server.base_url, key="wrong-key-0123456789")
            with pytest.raises(ModelError) as caught:
                await model.check()
            await model.close()
            return caught.value

    error = asyncio.run(main())
    assert (error.kind, error.status) == ("auth", 401)
    assert "wrong-key" not in str(error)


def test_the_environments_proxy_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert transport._proxy_for(URL("https://api.example/v1")) == "http://proxy.example:3128"
    assert transport._proxy_for(URL("https://inside.example/v1")) is None
    assert transport._proxy_for(URL("http://127.0.0.1:8000/v1")) is None
