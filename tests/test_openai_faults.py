"""Every way for a server to fail, on loopback: what is tried again, what is an error, what is a refusal."""

from __future__ import annotations

import asyncio
import gzip
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import HELLO, KEY, ask, fail, model_at, serve
from faulty_server import Fate, FaultyServer, Seen, reset, says, sends, status, torn
from safemlrm.errors import ModelError
from safemlrm.models import transport
from safemlrm.models.faults import LONGEST_WAIT, seconds_asked
from safemlrm.models.openai import OpenAIModel

# Refusals by the provider


@pytest.mark.parametrize(
    "fate",
    [
        status(400, "filtered", code="content_filter"),
        status(400, "filtered", code="content_policy_violation"),
        status(400, "filtered", code="x", innererror={"code": "ResponsibleAIPolicyViolation"}),
        status(400, "The response was filtered due to Azure OpenAI's content management policy. filtered"),
        status(403, "flagged filtered", metadata={"reasons": ["violence"], "flagged_input": "..."}),
        status(400, "up", metadata={"raw": '{"error":{"message":"filtered","code":"content_filter"}}'}),
        status(451, "filtered", type="content_filter"),
        sends({"error": {"message": "filtered", "code": 403, "metadata": {"reasons": ["x"]}}}),
        sends({"choices": [{"error": {"message": "filtered", "type": "content_filter"}}]}),
        says("half of it, filtered", finish="content_filter"),
        says(None, finish="content_filter", refusal="filtered"),
    ],
)
def test_a_refusal_by_the_providers_policy_is_a_response_of_its_own_kind(fate: Fate) -> None:
    reply = ask(fate)
    assert (reply.finish, reply.answer, reply.reasoning, reply.state) == ("content_filter", "", "", "none")
    assert "filtered" in reply.raw


def test_a_403_without_moderation_is_about_the_key() -> None:
    assert fail(status(403, "not allowed")).kind == "auth"


# Failures


@pytest.mark.parametrize(
    ("fate", "kind"),
    [
        (status(408), "timeout"),
        (status(409), "server"),
        (status(425), "server"),
        (status(429), "rate_limit"),
        (status(500), "server"),
        (status(502), "server"),
        (status(503), "server"),
        (status(504), "server"),
        (status(529), "server"),
        (Fate(status=502, body=b"<html><h1>Bad gateway</h1></html>", content_type="text/html"), "server"),
        (Fate(status=500, body=b"\xff\xfe"), "server"),
        (reset(), "connection"),
        (torn(), "connection"),
        (Fate(body=b"<!doctype html><title>Sign in</title>", content_type="text/html"), "malformed"),
        (Fate(body=b""), "malformed"),
        (Fate(body=says().body[:60]), "malformed"),
        (Fate(body=says("so").body.replace(b"so", b"\xff\xfe")), "malformed"),
        (Fate(body=b"not gzip", headers={"Content-Encoding": "gzip"}), "malformed"),
        (Fate(body=b"[" * 100_000), "malformed"),
        (sends([]), "malformed"),
        (sends("hello"), "malformed"),
        (sends({}), "malformed"),
        (sends({"choices": None}), "malformed"),
        (sends({"choices": []}), "malformed"),
        (sends({"choices": {}}), "malformed"),
        (sends({"choices": [None]}), "malformed"),
        (sends({"choices": [{}]}), "malformed"),
        (sends({"choices": [{"message": None}]}), "malformed"),
        (sends({"choices": [{"message": {}}]}), "malformed"),
        (says(None), "malformed"),
        (says(None, reasoning_content=""), "malformed"),
        (says({"text": "x"}), "malformed"),
        (says(7), "malformed"),
        (says("x", finish="error"), "server"),
        (says("x", finish="abort"), "server"),
        (sends({"error": {"message": "overloaded", "code": 502}}), "server"),
        (sends({"error": "something"}), "server"),
        (sends({"choices": [{"message": {"content": "half"}, "error": {"code": 429, "message": "x"}}]}), "rate_limit"),
    ],
)
def test_what_may_pass_is_tried_again_and_in_the_end_named(fate: Fate, kind: str) -> None:
    assert ask(fate, fate, says("so")).answer == "so"
    error = fail(fate, fate, fate, retries=2)
    assert (error.kind, error.retryable) == (kind, True)
    assert str(error).startswith("openai/m at http://127.0.0.1:")
    assert str(error).endswith("(after 3 tries)")


@pytest.mark.parametrize(
    ("fate", "kind"),
    [
        (status(400, "what?"), "bad_request"),
        (status(400, "too long", code="context_length_exceeded"), "context_length"),
        (
            status(400, "This model's maximum context length is 4096 tokens. However, you requested 5000"),
            "context_length",
        ),
        (status(400, "Requested token count exceeds the model's maximum context length"), "context_length"),
        (status(401, f"Incorrect API key provided: {KEY}"), "auth"),
        (status(402, "no credit"), "auth"),
        (status(403, f"<b>{KEY}</b>"), "auth"),
        (status(404, "no such model"), "not_found"),
        (status(413, "too large"), "bad_request"),
        (status(422, "odd"), "bad_request"),
        (status(429, "empty account", code="insufficient_quota"), "rate_limit"),
        (status(501, "no"), "unsupported"),
        (Fate(status=307, headers={"Location": "http://127.0.0.1:9/v1"}), "not_found"),
        (sends({"error": {"message": "bad", "code": 401}}), "auth"),
    ],
)
def test_what_cannot_pass_is_asked_once(fate: Fate, kind: str) -> None:
    error = fail(fate, retries=5)
    assert (error.kind, error.retryable) == (kind, False)
    assert "tries" not in str(error)


def test_errors_carry_status_and_a_bounded_message() -> None:
    error = fail(status(400, "x" * 5000 + "\n\x1b[31m"))
    assert error.status == 400
    assert len(str(error)) < 400
    assert fail(reset(), retries=0).status is None
    redirected = fail(Fate(status=308, headers={"Location": "https://elsewhere.example/v1"}))
    assert "https://elsewhere.example/v1" in str(redirected)


def test_a_refused_connection_is_tried_again_and_named() -> None:
    async def main() -> tuple[ModelError, int]:
        async with FaultyServer() as server:
            model = model_at(server, retries=2)
        with pytest.raises(ModelError) as caught:
            await model.ask(HELLO)
        await model.close()
        return caught.value, model.tries

    error, tries = asyncio.run(main())
    assert (error.kind, error.retryable, tries) == ("connection", True, 3)


def test_a_stalled_reply_times_out_and_the_place_is_free_again() -> None:
    error = fail(Fate(wait=30.0), Fate(wait=30.0), timeout=0.1)
    assert (error.kind, error.retryable) == ("timeout", True)
    assert ask(Fate(wait=30.0), says("so"), timeout=0.2).answer == "so"


def test_a_huge_body_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_REPLY", 2**20)
    bomb = Fate(body=gzip.compress(says("a" * 2**23).body), headers={"Content-Encoding": "gzip"})
    for fate in (bomb, says("a" * 2**23)):
        error = fail(fate, retries=0)
        assert error.kind == "malformed"
        assert "larger than 1 MiB" in str(error)
    assert len(ask(says("a" * 2**19)).answer) == 2**19


# Waiting


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_pauses_everybody(code: int) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    pauses: list[float] = []

    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        model.limits.pause = pauses.append  # type: ignore[method-assign]
        await model.ask(HELLO)

    serve([status(code, retry_after="3"), status(code, retry_after=soon), says()], talk)
    assert pauses[0] == 3.0
    assert 30 < pauses[1] <= 40


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After": "0"}, 0.0),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "1e9"}, LONGEST_WAIT),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "Sat, 01 Jan 2000 00:00:30 GMT"}, 30.0),
        ({"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, LONGEST_WAIT),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    now = datetime(2000, 1, 1, tzinfo=UTC) if "2000" in str(headers) else None
    assert seconds_asked(headers, now) == seconds


@given(st.text(), st.text())
def test_no_header_breaks_the_wait(first: str, second: str) -> None:
    wait = seconds_asked({"retry-after-ms": first, "Retry-After": second})
    assert wait is None or 0.0 <= wait <= LONGEST_WAIT


def test_a_busy_server_gets_fewer_requests_at_a_time_and_then_more_again() -> None:
    busy = True

    def fate(seen: Seen) -> Fate:
        return status(429) if busy else Fate(body=says().body, wait=0.002)

    async def talk(model: OpenAIModel, server: FaultyServer) -> None:
        nonlocal busy
        with pytest.raises(ModelError):
            await model.ask(HELLO)
        assert model.limits.window == 1.0
        busy = False
        await asyncio.gather(*(model.ask(HELLO) for _ in range(100)))
        assert model.limits.window == 8.0
        assert server.most_at_once == 8
        assert len(server.seen) == model.tries == 106

    serve(fate, talk, concurrency=8)


def test_a_pause_asked_by_the_server_is_kept() -> None:
    async def main() -> None:
        async with FaultyServer([status(429, retry_after="0.2")]) as server:
            model = OpenAIModel("m", base_url=server.base_url)
            model._first_delay = 0.001
            began = time.perf_counter()
            await model.ask(HELLO)
            assert time.perf_counter() - began > 0.19
            await model.close()

    asyncio.run(main())


def test_rates_per_minute_are_kept() -> None:
    async def main() -> None:
        async with FaultyServer() as server:
            model = OpenAIModel("m", base_url=server.base_url, requests_per_minute=1200, tokens_per_minute=6e6)
            began = time.perf_counter()
            await asyncio.gather(*(model.ask(HELLO) for _ in range(6)))
            assert time.perf_counter() - began >= 0.19  # two at once, then one each 50 ms
            await model.close()

    asyncio.run(main())
