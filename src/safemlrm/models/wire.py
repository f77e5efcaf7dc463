"""The body of a chat request in OpenAI's format. An image's megabytes are spliced in, never escaped again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from safemlrm.errors import ModelError
from safemlrm.images import data_uri
from safemlrm.types import Message, Part, Prompt, Text

SEED_MASK = 0x7FFFFFFF  # servers take a signed 32-bit seed
_IMAGE_TOKENS = 800  # a middling picture, for the estimate that the server's own count corrects
_REPLY_TOKENS = 500
_encode = msgspec.json.Encoder().encode


def messages_of(prompt: Prompt, system: str = "") -> list[dict[str, Any]]:
    """The prompt's messages in OpenAI's format, with `system` before them and the prefill, if any, after them.

    A message without images is a plain string, which every server and chat template takes; its texts are joined by
    newlines. A system message of the prompt is appended to `system`: many templates take only one.

    Raises:
        DataError: an image's file is gone or changed.
    """
    turns = prompt.messages
    sent: list[dict[str, Any]] = []
    if system:
        if turns and turns[0].role == "system":
            system = f"{system}\n\n{_content(turns[0])}"
            turns = turns[1:]
        sent.append({"role": "system", "content": system})
    sent.extend({"role": turn.role, "content": _content(turn)} for turn in turns)
    if prompt.prefill:
        sent.append({"role": "assistant", "content": prompt.prefill})
    return sent


def _content(message: Message) -> str | list[dict[str, Any]]:
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    if all(isinstance(part, Text) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    # Base64 needs no escaping, so the URI is put between quotes and copied whole.
    return {"type": "image_url", "image_url": {"url": msgspec.Raw(b'"%b"' % data_uri(part))}}


def verdict_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The `response_format` that holds a reply to a JSON schema."""
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": dict(schema)}}


def encode(body: Mapping[str, Any]) -> bytes:
    """The body as JSON.

    Raises:
        ModelError: it holds what JSON cannot carry, such as half a surrogate pair.
    """
    try:
        return _encode(body)
    except (UnicodeEncodeError, TypeError) as error:
        raise ModelError(f"the prompt cannot be sent as JSON: {error}", kind="bad_request") from None


def estimate(prompt: Prompt, max_tokens: int | None) -> float:
    """About how many tokens a request will be billed for: a quarter of its characters, its images and its reply."""
    tokens = float(max_tokens or _REPLY_TOKENS)
    for message in prompt.messages:
        for part in message.parts:
            tokens += len(part.text) / 4 if isinstance(part, Text) else _IMAGE_TOKENS
    return tokens
