"""Text written by strangers (models, benchmarks, servers), made visible, bounded and harmless.

Markup is left to the template's autoescape. Here go the characters that no escape covers: control characters, lone
surrogates, direction overrides and invisible letters, each replaced by something a reader can see.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)
# A stack of hundreds of combining marks paints over its neighbours; no script needs more than a few on one letter.
_MARKS = re.compile("([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
                    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")  # fmt: skip


class Clipped(NamedTuple):
    """The shown part of a text, and the true length in characters of the whole; `cut` says whether more is left."""

    text: str
    length: int
    cut: bool


def visible(text: str) -> str:
    """The text with each control, direction and invisible character made visible by a mark, but for tab and newline."""
    return _MARKS.sub(r"\1", _SUSPECT.sub(_mark, text.replace("\r\n", "\n")))


def _mark(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"\u27e8U+{code:04X}\u27e9"


def clip(text: str, limit: int = 4096) -> Clipped:
    """At most `limit` bytes (UTF-8) of the visible text, and never more than twice that once escaped for HTML."""
    shown = visible(text[:limit])
    if _weight(shown) > limit or _escaped(shown) > 2 * limit:
        low, high = 0, len(shown)
        while low < high:
            middle = (low + high + 1) // 2
            fits = _weight(shown[:middle]) <= limit and _escaped(shown[:middle]) <= 2 * limit
            low, high = (middle, high) if fits else (low, middle - 1)
        shown = shown[:low]
    return Clipped(shown, len(text), len(text) > limit or len(shown) < len(visible(text[:limit])))


def line(text: str, columns: int = 80) -> str:
    """One visible line of at most `columns` columns (a wide East Asian letter takes two).

    It is cut in the middle: the ends of two long names (`.../step-1000`, `.../step-2000`) tell them apart.
    """
    if len(text) > 8 * columns:
        text = f"{text[: 4 * columns]}\u2026{text[-4 * columns :]}"
    flat = " ".join(visible(text).split())
    if width(flat) <= columns:
        return flat
    tail = (columns - 1) // 3
    start, end = _within(flat, columns - 1 - tail), _within(flat[::-1], tail)[::-1]
    return f"{start.rstrip()}\u2026{end.lstrip()}"


def _within(text: str, columns: int) -> str:
    used = 0
    for index, letter in enumerate(text):
        used += width(letter)
        if used > columns:
            return text[:index]
    return text


def width(text: str) -> int:
    """Columns that a text takes: two for a wide letter, none for a mark on another letter, one for the rest."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _weight(text: str) -> int:
    return len(text.encode())


def _escaped(text: str) -> int:
    return _weight(text) + sum(4 * text.count(letter) for letter in "&<>\"'")
