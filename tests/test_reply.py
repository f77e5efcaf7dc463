"""Reading replies: thought, answer, state and usage wherever servers put them, and anything at all."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asking import ask
from faulty_server import Fate, completion, says
from safemlrm.errors import ModelError
from safemlrm.models.faults import complaint_in, complaint_of, one_line
from safemlrm.models.reply import read_reply
from safemlrm.types import Response, Usage

# What is read


@pytest.mark.parametrize(
    ("message", "reasoning", "answer", "state"),
    [
        ({"content": "plain"}, "", "plain", "none"),
        ({"content": "<think>why</think>\n\nso"}, "why", "so", "complete"),
        ({"content": "so", "reasoning_content": "why"}, "why", "so", "complete"),
        ({"content": "so", "reasoning": "why"}, "why", "so", "complete"),
        ({"content": "so", "reasoning": "why", "reasoning_content": "why"}, "why", "so", "complete"),
        ({"content": "so", "reasoning": None, "reasoning_content": None}, "", "so", "none"),
        (
            {"content": "so", "reasoning_details": [{"type": "reasoning.text", "text": "w"}, {"summary": "hy"}, 7]},
            "why",
            "so",
            "complete",
        ),
        ({"content": "so", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, "", "so", "withheld"),
        ({"content": [{"type": "text", "text": "s"}, {"type": "text", "text": "o"}, "!", 3]}, "", "so!", "none"),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, {"text": "so"}]},
            "why",
            "so",
            "complete",
        ),
        ({"content": ""}, "", "", "none"),
        ({"content": None, "reasoning_content": "why"}, "why", "", "empty_answer"),
        ({"content": None, "refusal": "I will not."}, "", "I will not.", "none"),
        ({"content": [{"type": "refusal", "refusal": "I will not."}]}, "", "I will not.", "none"),
    ],
)
def test_thought_and_answer_are_found_wherever_the_server_puts_them(
    message: dict[str, Any], reasoning: str, answer: str, state: str
) -> None:
    reply = ask(says(**message))
    assert (reply.reasoning, reply.answer, reply.state, reply.finish) == (reasoning, answer, state, "stop")


def test_tool_calls_without_content_are_shown_as_the_answer() -> None:
    calls = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
    assert json.loads(ask(says(None, tool_calls=calls, finish="tool_calls")).answer) == calls


@pytest.mark.parametrize(
    ("word", "finish"),
    [("stop", "stop"), ("eos", "stop"), (None, "stop"), ("length", "length"), ("MAX_TOKENS", "length")],
)
def test_finish_reasons(word: str | None, finish: str) -> None:
    assert ask(says("x", finish=word)).finish == finish


def test_a_thought_that_used_up_the_length_is_truncated() -> None:
    for content in ("", None):
        reply = ask(says(content, reasoning_content="on and", finish="length"))
        assert (reply.state, reply.reasoning, reply.answer) == ("truncated", "on and", "")
    cut = ask(says("the ans", reasoning_content="why", finish="length"))
    assert (cut.state, cut.finish, cut.answer) == ("complete", "length", "the ans")


def test_usage_is_read_and_hidden_reasoning_is_withheld() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 90, "completion_tokens_details": {"reasoning_tokens": 80}}
    reply = ask(says("so", usage=usage))
    assert reply.usage == Usage(5, 90, 80)
    assert reply.state == "withheld"
    assert ask(says("<think>why</think>so", usage=usage)).state == "complete"


@pytest.mark.parametrize(
    "usage", ["none", [], {"prompt_tokens": "7", "completion_tokens": -1}, {"completion_tokens": True}]
)
def test_an_odd_usage_is_as_good_as_none(usage: Any) -> None:
    reply = ask(says("so", usage=usage))
    assert (reply.usage, reply.answer) == (Usage(), "so")


def test_seconds_are_those_of_the_successful_try() -> None:
    reply = ask(Fate(status=500, wait=0.2), Fate(body=says().body, wait=0.02))
    assert 0.015 < reply.seconds < 0.15


def test_gzip_odd_content_types_and_lenient_json_are_read() -> None:
    body = says("so").body
    assert ask(Fate(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})).answer == "so"
    assert ask(Fate(body=body, content_type="text/html; charset=latin-1")).answer == "so"
    assert ask(Fate(body=b"\xef\xbb\xbf" + body)).answer == "so"
    assert ask(Fate(body=body.replace(b'"index": 0', b'"logprobs": [NaN, -Infinity]'))).answer == "so"
    half = ask(Fate(body=body.replace(b'"so"', b'"so \\ud83d"'))).answer
    assert half == "so \ufffd"
    half.encode()


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "error", "reasoning", "refusal", "usage", "code", "type", "text"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_response_or_an_error(value: Any) -> None:
    for body in (
        value,
        {"choices": [{"message": value}], "usage": value},
        {"choices": [{"message": {"content": value}}]},
    ):
        got = read_reply(json.dumps(body).encode(), {}, seconds=0.0)
        assert isinstance(got, Response | ModelError)
        if isinstance(got, Response):
            msgspec.json.encode(got)
    complaint_of(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_response_or_an_error(body: bytes) -> None:
    assert isinstance(read_reply(body, {}, seconds=0.0), ModelError)
    line = one_line(complaint_in(body).message)
    assert len(line) <= 300
    assert line.isprintable()


@given(st.text())
def test_any_text_survives_the_way_through_a_reply(text: str) -> None:
    got = read_reply(json.dumps(completion(text)).encode(), {}, seconds=0.0)
    assert isinstance(got, Response)
    assert got.raw == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
