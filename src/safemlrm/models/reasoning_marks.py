"""Finds the marks of thoughts in a text and weighs whether they are marks or text about marks."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cached_property
from typing import Literal

from msgspec import Struct

from safemlrm.models.reasoning_formats import (
    ANSWER_TAGS,
    BLANK,
    CLOSING,
    EMPTY_AFTER,
    EMPTY_BEFORE,
    FENCE,
    FIRST,
    GOES_ON,
    HALF_CLOSE,
    IN_SENTENCE,
    MARK,
    PAIRS,
    QUOTES,
    SPOKEN_AFTER,
    SPOKEN_BEFORE,
    WHOLE_CLOSES,
    Role,
)

# "mark" is removed in place; "edge" is removed and separates the pieces on its two sides.
Kind = Literal["thought", "answer", "mark", "edge"]
# How far the rest of a line is looked at around a mark: bounded, so that one endless line stays cheap.
_WINDOW = 400
_TICKS = re.compile("`+")


class Cut(Struct, frozen=True):
    """A piece `raw[start:end]` of a reply. The pieces of a reply lie end to end and cover it."""

    kind: Kind
    start: int
    end: int


class Mark(Struct, frozen=True):
    """A mark in a text: `raw[start:end]`, markdown around it included; `name` pairs an opening with its closing.

    `own_line`: nothing else stands on its line; `line_start`: nothing stands before it there; `begins`: so it is, or it
    follows the end of a sentence. `weight` is 0 where it is quoted as code or between quotation marks, 1 where the
    sentence seems to speak about it, 2 where it stands in the middle of a sentence, 3 otherwise.
    """

    start: int
    end: int
    name: str
    role: Role
    own_line: bool
    line_start: bool
    begins: bool
    weight: int


class Marked:
    """A text and its marks in order."""

    def __init__(self, raw: str, start: int = 0) -> None:
        self.raw = raw
        self.start = start
        head = FIRST.match(raw, start)
        self.emphasised = bool(head and raw.startswith("**", head.end()))
        self._fence_starts: list[int] = []
        self._fence_spans: list[tuple[int, int]] = []
        self._read_fences()

    @cached_property
    def marks(self) -> list[Mark]:
        """All marks, quoted ones too, in order."""
        return [self._weigh(found) for found in MARK.finditer(self.raw, self.start)]

    def in_fence(self, at: int) -> bool:
        """Whether the offset lies in a fenced code block."""
        index = bisect_left(self._fence_spans, (at, len(self.raw) + 1)) - 1
        return index >= 0 and self._fence_spans[index][0] <= at < self._fence_spans[index][1]

    def _read_fences(self) -> None:
        if "```" not in self.raw and "~~~" not in self.raw:
            return
        opened: tuple[int, str] | None = None
        for line in FENCE.finditer(self.raw, self.start):
            fence = line["fence"]
            self._fence_starts.append(line.start())
            if opened is None:
                opened = (line.start(), fence)
            elif fence.startswith(opened[1]) and not line["info"].strip():
                self._fence_spans.append((opened[0], line.end()))
                opened = None
        if opened is not None:
            self._fence_spans.append((opened[0], len(self.raw) + 1))

    def _weigh(self, found: re.Match[str]) -> Mark:
        name, role = _identify(found)
        bare = self._line_around(*found.span())
        start, end = self._unwrap(*found.span(), role, *bare)
        before, after = bare if (start, end) == found.span() else self._line_around(start, end)
        line_start = not before.strip(BLANK + "#>")
        own_line = line_start and not after.strip(BLANK)
        begins = line_start or before.rstrip(BLANK)[-1] in ".!?。！？…>▷]"
        weight = 1 if _around_nothing(role, begins, *bare) else self._weight(found, role, own_line, bare)
        return Mark(start, end, name, role, own_line, line_start, begins, weight)

    def _unwrap(self, start: int, end: int, role: Role, before: str, after: str) -> tuple[int, int]:
        """Take markdown around a mark into it: emphasis, back-ticks that fill the line, a heading's or quote's sign."""
        if before[-1:] in "*_`" or self.emphasised:
            start, end, whole = self._unwrap_emphasis(start, end, role, before, after)
            if whole:
                return start, end
            before = self._line_around(start, end)[0]
        return (start if before.strip(BLANK + "#>") else start - len(before)), end

    def _unwrap_emphasis(self, start: int, end: int, role: Role, before: str, after: str) -> tuple[int, int, bool]:
        for sign in ("***", "**", "*", "___", "__", "_", "`"):
            if before.endswith(sign) and after.startswith(sign):
                outside = before[: -len(sign)], after[len(sign) :]
                # An odd number of signs before it means that the sign before the mark ends an emphasis.
                if outside[0].count(sign) % 2 == 0 and (sign != "`" or not "".join(outside).strip(BLANK)):
                    return start - len(sign), end + len(sign), False
            elif sign == "**" and self.emphasised and role in ("open", "close"):
                # The whole thought is set in bold: **<think> ... </think>**
                if role == "open" and before.strip(BLANK) == sign:
                    return start - len(sign), end, True
                if role == "close" and after.startswith(sign) and after.count(sign) % 2:
                    return start, end + len(sign), True
        return start, end, False

    def _line_around(self, start: int, end: int) -> tuple[str, str]:
        before = self.raw[max(self.start, start - _WINDOW) : start]
        after = self.raw[end : end + _WINDOW]
        return before[before.rfind("\n") + 1 :], after.partition("\n")[0]

    def _weight(self, found: re.Match[str], role: Role, own_line: bool, bare: tuple[str, str]) -> int:
        start, end = found.span()
        before, after = bare
        if not own_line:
            if before and after and QUOTES.get(before[-1]) == after[0] and _open_quote(before, before[-1]):
                return 0
            if before.rstrip(BLANK).endswith("«"):
                return 0
            if _open_quote(before, "`") and "`" in after:
                return 0 if before[-1] == "`" or after[0] == "`" else 1
        if self.in_fence(start):
            # A thought may leave a code block open; then the fences after its closing tag pair up among themselves.
            fences_after = len(self._fence_starts) - bisect_left(self._fence_starts, end)
            return 1 if role in ("close", "inline") and fences_after % 2 == 0 else 0
        if own_line:
            return 1 if before.startswith(("    ", "\t")) else 3  # indented as code
        if before.count('"') % 2 and '"' in after:
            return 1
        if not after.strip(BLANK):
            return 3  # a sentence that speaks about a tag goes on after it
        if role == "close" and after[0].isalnum() and after[0].isascii():
            return 3  # no sentence goes on without a blank
        if SPOKEN_BEFORE.search(before[-40:]) or SPOKEN_AFTER.match(after[:120]):
            return 1
        if role in ("open", "close") and GOES_ON.match(after):
            return 1
        return 2 if IN_SENTENCE.fullmatch(before[-2:] + after[:2]) else 3


def _around_nothing(role: Role, begins: bool, before: str, after: str) -> bool:
    """Whether a pair of tags within a sentence holds nothing: a format that is spoken about."""
    if role in ("open", "answer"):
        return not begins and bool(EMPTY_AFTER.match(after))
    return bool(EMPTY_BEFORE.search(before[-80:]))


def _open_quote(text: str, quote: str) -> bool:
    """Whether a text ends within quotation marks of this kind."""
    if quote == "`":
        return len(_TICKS.findall(text)) % 2 == 1
    other = QUOTES[quote]
    return bool(text.count(quote) % 2) if other == quote else text.count(quote) > text.count(other)


def _identify(found: re.Match[str]) -> tuple[str, Role]:
    if found.lastgroup == "xml":
        name = found["name"].lower()
        role: Role = "answer" if name in ANSWER_TAGS else "open"
        return name, CLOSING[role] if found["end"] else role
    group = found.lastgroup or ""
    name, role = PAIRS[int(group[1:])][:2]
    return name, role if group[0] == "o" else CLOSING[role]


def half_close(raw: str, end: int) -> int:
    """Where a closing mark that was cut off at `end` begins, or `end` if there is none."""
    found = HALF_CLOSE.search(raw, max(0, end - 24), end)
    if not found:
        return end
    cut = found.group().replace("\\", "")
    cut = cut.lower() if cut.startswith("</") else cut
    return found.start() if any(whole.startswith(cut) for whole in WHOLE_CLOSES) else end
