"""What a server's failure means: its kind, whether trying again can help, and how long it asked to be left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
from msgspec import Struct

from safemlrm.errors import ModelError

LONGEST_WAIT = 120.0  # seconds; a server that asks for more is asked again after this
LONGEST_MESSAGE = 300  # characters of a server's message that are kept

_POLICY_CODES = {
    "content_filter",
    "content_policy_violation",
    "responsibleaipolicyviolation",
    "moderation_blocked",
    "data_inspection_failed",  # Alibaba's DashScope
}
_POLICY_TEXT = re.compile(r"ContentPolicyViolation|ResponsibleAIPolicyViolation|content management policy")
_CONTEXT = re.compile(
    r"context.{0,3}(length|window|size)|maximum (model|sequence|input|prompt) length|(prompt|input) is too long"
    r"|too many (input )?tokens",
    re.IGNORECASE,
)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)


class Complaint(Struct, frozen=True):
    """A server's error, from any of the shapes in use; empty where it said nothing."""

    message: str = ""
    param: str = ""
    status: int | None = None  # a status given inside the body, as OpenRouter does
    codes: frozenset[str] = frozenset()  # the error's code, type and inner code, in lower case
    flagged: bool = False  # OpenRouter's moderation metadata is there

    @property
    def policy(self) -> bool:
        """Whether the provider refused because of its content policy, rather than failed."""
        return self.flagged or bool(self.codes & _POLICY_CODES) or bool(_POLICY_TEXT.search(self.message))


def complaint_in(body: bytes) -> Complaint:
    """Read the error from a body: OpenAI's, FastAPI's, OpenRouter's, an HTML page or plain text."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Complaint(message=_TAGS.sub(" ", body[:4_000].decode("utf-8", "replace")))
    return complaint_of(value)


def complaint_of(value: Any) -> Complaint:
    """Read the error from a decoded body, or from the value of its `error` field."""
    if isinstance(value, list) and value:  # Google wraps its errors in a list
        value = value[0]
    if not isinstance(value, dict):
        return Complaint(message=value if isinstance(value, str) else "")
    error = value.get("error") or value
    if not isinstance(error, dict):
        return Complaint(message=str(error))
    message = error.get("message") or error.get("detail") or error.get("msg") or ""
    codes = [error.get("code"), error.get("type")]
    inner, metadata = error.get("innererror"), error.get("metadata")
    if isinstance(inner, dict):
        codes.append(inner.get("code"))
    flagged = False
    if isinstance(metadata, dict):
        flagged = bool(metadata.get("flagged_input") or metadata.get("reasons"))
        raw = metadata.get("raw")  # the error of the provider behind OpenRouter, as text
        if isinstance(raw, str) and raw:
            upstream = complaint_in(raw.encode("utf-8", "replace"))
            codes.extend(upstream.codes)
            message = f"{message}: {upstream.message}"
    code = error.get("code")
    return Complaint(
        message=message if isinstance(message, str) else json.dumps(message, ensure_ascii=False),
        param=str(error.get("param") or ""),
        status=code if isinstance(code, int) and 400 <= code < 600 else None,
        codes=frozenset(c.lower() for c in codes if isinstance(c, str)),
        flagged=flagged,
    )


def refused_by_policy(status: int, complaint: Complaint) -> bool:
    """Whether this reply is the provider's refusal of the content; 401, 404 and 429 never are."""
    return status in (200, 400, 403, 422, 451) and complaint.policy


def fault_of(status: int, complaint: Complaint, headers: Mapping[str, str]) -> ModelError:
    """The error that an HTTP status and the server's words amount to."""
    kind, retryable = _kind(status, complaint)
    said = f": {complaint.message}" if complaint.message.strip() else ""
    if complaint.param and complaint.param not in said:
        said += f" (field {complaint.param})"
    if 300 <= status < 400:
        said = f": the server redirects to {headers.get('Location', 'nowhere')}; use that as the base URL"
    wait = seconds_asked(headers) if retryable else None
    return ModelError(f"HTTP {status}{said}", kind=kind, status=status, retryable=retryable, retry_after=wait)


def _kind(status: int, complaint: Complaint) -> tuple[str, bool]:
    if status == 429:
        return "rate_limit", "insufficient_quota" not in complaint.codes  # waiting does not fill an account
    if status in (401, 402, 403, 407):
        return "auth", False
    if status in (404, 405, 410) or 300 <= status < 400:
        return "not_found", False
    if status == 408:
        return "timeout", True
    if status == 501:
        return "unsupported", False
    if status in (409, 425) or status >= 500:
        return "server", True
    if "context_length_exceeded" in complaint.codes or _CONTEXT.search(complaint.message):
        return "context_length", False
    return "bad_request", False


def seconds_asked(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How long the server asked to wait: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date.

    At least 0 and at most 120 s; `None` where there is no such header or it makes no sense.
    """
    for name, unit in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                until = parsedate_to_datetime(text)
            except ValueError:
                continue
            until = until if until.tzinfo else until.replace(tzinfo=UTC)
            seconds = max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
        if seconds >= 0.0:  # neither negative nor NaN
            return min(LONGEST_WAIT, seconds)
    return None


def one_line(text: str, secret: str = "") -> str:
    """The text on one line, without the secret, without control characters, at most 300 characters of it."""
    if len(secret) >= 4:
        text = text.replace(secret, "***")
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:20_000]).split())
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"
