"""Splits a model's reply into thought and answer, and says how the thought ended.

The rules, in the order in which they decide:

1. A thought that the server sent in a field of its own (`native`) is the thought. Where the text repeats it, with or
   without tags, the repetition is removed from the answer; a further, different inline thought is added to it.
2. `format` names how the model writes (see `FORMATS`); without it the harmony channels, the phrases of Granite, Mulberry
   and others, and then tags are recognised, each only where the reply *begins* with them or closes them.
3. An opening tag counts at the beginning of the reply. Further on it counts only where it begins a line or a sentence
   and is closed later (or fills a line of its own and never is: that thought was cut).
4. A thought ends at the first closing tag of its name that is not quoted and that no sentence speaks about. Later ones
   do not extend it: what stands after the first is what a user is shown. Nested thoughts end at the outer closing tag.
5. A closing tag without an opening one means that the template opened the thought: all before it is thought.
6. Tags in code, in quotation marks or spoken about ("the <think> tag") are text. So is all else that is not a mark.
7. `<answer>` and its like are removed around the answer. With no thought tag at all, text before a closed `<answer>` is
   the thought.
8. A thought of length zero (`<think></think>`) is no thought: the state is `none`.

Nothing is lost: thought and answer hold every character of the reply, in order, but for the marks and the blanks at
the edges of a piece. Several thoughts are joined by an empty line, and so are the pieces of the answer around them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from safemlrm.errors import UsageError
from safemlrm.models.reasoning_formats import (
    BLANK,
    FORMATS,
    HARMONY_END,
    HARMONY_HEADER,
    HINT_ONLY,
    LEADING,
    PHRASES,
    PLAIN_ANSWER_TAGS,
    STAGE_TAGS,
    TRAILING,
    Mark,
    Marked,
    half_close,
)
from safemlrm.types import Finish, State

# "mark" is removed in place; "edge" is removed and separates the pieces on its two sides.
_Kind = Literal["thought", "answer", "mark", "edge"]


class Split(Struct, frozen=True):
    """The thought and the answer of a reply, without marks, and the state (see `safemlrm.types.Response`)."""

    reasoning: str
    answer: str
    state: State


class Cut(Struct, frozen=True):
    """A piece `raw[start:end]` of a reply. The pieces of a reply lie end to end and cover it."""

    kind: _Kind
    start: int
    end: int


def split_thought(raw: str, *, native: str | None = None, format: str | None = None, opened: bool = False) -> Split:
    """Split a reply into thought and answer.

    Args:
        raw: the reply's text, any text at all.
        native: the thought from a field of its own, if the server sends one (`""`: it does, and there was none).
        format: one of `FORMATS`, or `None` to recognise it.
        opened: the chat template had already opened the thought (a hint; ignored where `native` is given).

    Raises:
        UsageError: unknown `format`.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown thought format '{format}'; known: {', '.join(FORMATS)}")
    inline = _assemble(raw, *cuts(raw, format=format, opened=opened and native is None))
    thought = (native or "").strip(BLANK)
    if not thought:
        return inline
    return _with_native(raw, thought, inline)


def with_withheld(split: Split, reasoning_tokens: int | None) -> Split:
    """The split with state `withheld` where reasoning tokens were billed but no thought was shown."""
    if split.reasoning or not reasoning_tokens:
        return split
    return replace(split, state="withheld")


def with_finish(split: Split, finish: Finish, *, native: bool) -> Split:
    """The split with state `truncated` where a `native` thought used up the length and no answer began.

    An inline thought shows by its closing tag whether it ended; a thought in a field of its own does not.
    """
    if native and finish == "length" and split.state == "empty_answer":
        return replace(split, state="truncated")
    return split


def cuts(raw: str, *, format: str | None = None, opened: bool = False) -> tuple[list[Cut], bool]:
    """The pieces of a reply, end to end, and whether its last thought never ended."""
    start, end = _inner(raw)
    found, unclosed = _cut_inner(raw[start:end], format, opened)
    edges = [Cut("mark", 0, start)] if start else []
    shifted = [Cut(c.kind, c.start + start, c.end + start) for c in found if c.end > c.start]
    return [*edges, *shifted, *([Cut("mark", end, len(raw))] if end < len(raw) else [])], unclosed


def _inner(raw: str) -> tuple[int, int]:
    """The span between the blanks and special tokens that begin and end a reply."""
    end = len(raw.rstrip(BLANK))
    while token := next((t for t in TRAILING if raw.endswith(t, 0, end)), None):
        end -= len(token)
        while end and raw[end - 1] in BLANK:
            end -= 1
    start = len(raw) - len(raw.lstrip(BLANK))
    while found := LEADING.match(raw, start, max(start, end)):
        start = found.end()
        while start < end and raw[start] in BLANK:
            start += 1
    return min(start, end), end


def _cut_inner(raw: str, format: str | None, opened: bool) -> tuple[list[Cut], bool]:
    if format == "plain":
        return [Cut("answer", 0, len(raw))], False
    if format in (None, "harmony") and (result := _harmony(raw, opened, hinted=format is not None)):
        return result
    for name in PHRASES:
        if format == name or (format is None and name not in HINT_ONLY):
            result = _phrases(raw, name, hinted=format is not None)
            if result:
                return result
    return _Tags(raw, opened).cut()


def _assemble(raw: str, pieces: list[Cut], unclosed: bool) -> Split:
    reasoning, answer = _join(raw, pieces, "thought"), _join(raw, pieces, "answer")
    if unclosed:
        return Split(reasoning, answer, "truncated")
    if not reasoning:
        return Split(reasoning, answer, "none")
    return Split(reasoning, answer, "complete" if answer else "empty_answer")


def _join(raw: str, pieces: list[Cut], kind: _Kind) -> str:
    groups: list[list[str]] = [[]]
    for piece in pieces:
        if piece.kind == kind:
            groups[-1].append(raw[piece.start : piece.end])
        elif piece.kind == "edge":
            groups.append([])
    texts = ("".join(group).strip(BLANK) for group in groups)
    return "\n\n".join(text for text in texts if text)


def _with_native(raw: str, thought: str, inline: Split) -> Split:
    text = raw.strip(BLANK)
    if inline.reasoning:
        same = inline.reasoning in thought or _squeeze(inline.reasoning) in _squeeze(thought)
        reasoning = thought if same else f"{thought}\n\n{inline.reasoning}"
        if inline.state == "truncated":
            return Split(reasoning, inline.answer, "truncated")
        return Split(reasoning, inline.answer, "complete" if inline.answer else "empty_answer")
    # Some servers send the thought twice: in its field, and bare at the head of the text.
    answer = text[len(thought) :].strip(BLANK) if text.startswith(thought) and len(thought) > 40 else inline.answer
    return Split(thought, answer, "complete" if answer else "empty_answer")


def _squeeze(text: str) -> str:
    return " ".join(text.split())


def _harmony(raw: str, opened: bool, hinted: bool) -> tuple[list[Cut], bool] | None:
    """Channels of gpt-oss: `final` is the answer, all others are thought; also with the special tokens left out."""
    stripped = re.match(r"analysis(?=[A-Z\"'`])", raw)
    if stripped:
        bare = raw.find("assistantfinal", stripped.end())
        head = [Cut("edge", 0, stripped.end())]
        if bare < 0:
            return [*head, Cut("thought", stripped.end(), len(raw))], True
        after = bare + len("assistantfinal")
        body = [Cut("thought", stripped.end(), bare), Cut("edge", bare, after), Cut("answer", after, len(raw))]
        return [*head, *body], False
    headers = list(HARMONY_HEADER.finditer(raw))
    begins = raw.startswith(("<|channel|>", "<|start|>", "<|message|>"))
    handed_over = any(re.search(r"<\|end\|>\s{0,4}$", raw[max(0, h.start() - 16) : h.start()]) for h in headers)
    if not (begins or handed_over or (hinted and headers)):
        return None
    pieces: list[Cut] = []
    kind: _Kind = "thought" if headers or opened else "answer"
    at, ended = 0, False
    for header in [*headers, None]:
        limit = header.start() if header else len(raw)
        end = HARMONY_END.search(raw, at, limit)
        ended = end is not None
        stop = end.start() if end else limit
        pieces += [Cut(kind, at, stop), Cut("edge", stop, end.end() if end else stop)]
        # What stands between an end mark and the next header is empty in well-formed replies; it keeps its kind.
        pieces.append(Cut(kind, end.end() if end else stop, limit))
        if header:
            pieces.append(Cut("edge", header.start(), header.end()))
            kind = "answer" if header["channel"].lower() == "final" else "thought"
            at = header.end()
    return _tidy_harmony(raw, pieces), kind == "thought" and not ended


def _tidy_harmony(raw: str, pieces: list[Cut]) -> list[Cut]:
    """A header that was cut off (`<|start|>assistant<|chan`) is a mark, not text."""
    half = re.compile(r"\s*(?:<\|start\|>[^<]{0,40})?(?:<\|[a-z]*\|?>?[a-z]{0,12})?\s*$")
    last = pieces[-1]
    tail = raw[last.start : last.end]
    if tail.startswith("<|") and half.match(tail):
        return [*pieces[:-1], Cut("edge", last.start, last.end)]
    return pieces


def _phrases(raw: str, name: str, hinted: bool) -> tuple[list[Cut], bool] | None:
    """Formats in which a heading or a sentence begins the thought and another one begins the answer."""
    begin, turn, needed = PHRASES[name]
    head = re.compile(rf"\**(?:{begin})", re.IGNORECASE).match(raw)
    if not head and not hinted:
        return None
    text = Marked(raw)
    found = (m for m in re.finditer(rf"(?:(?<=\n)|(?<=\s)(?=#)|^)[ \t]{{0,8}}(?:{turn})", raw, re.IGNORECASE))
    turns = [m for m in found if not text.in_fence(m.start())]
    # The first turn to the answer; where only a heading tells (QVQ), the last, since drafts come before it.
    at = (turns[-1] if name in HINT_ONLY else turns[0]) if turns else None
    # Granite's phrases are removed; headings of a thought are part of its text.
    start = head.end() if head and name in ("granite", "apriel", "huatuo") else 0
    lead = [Cut("edge", 0, start)]
    if at:
        end = raw.find("[END FINAL RESPONSE]", at.end())
        end = len(raw) if end < 0 else end
        body = [Cut("thought", start, at.start()), Cut("edge", at.start(), at.end()), Cut("answer", at.end(), end)]
        rest = [Cut("mark", end, end + 20), Cut("answer", end + 20, len(raw))] if end < len(raw) else []
        return [*lead, *body, *rest], False
    if not head or (needed and not re.search(needed, raw, re.IGNORECASE)):
        return None
    return [*lead, Cut("thought", start, len(raw))], True


class _Tags:
    """Cuts a reply that marks its thoughts with tags. One pass over the marks; every look-ahead is a bisection."""

    def __init__(self, raw: str, opened: bool) -> None:
        self.raw = raw
        self.opened = opened
        self.pieces: list[Cut] = []
        self.at = 0
        self.end = len(raw)
        self.unclosed = False
        self.thoughts = 0
        self._fence: Cut | None = None

    def cut(self) -> tuple[list[Cut], bool]:
        self._open_fence()
        body = Marked(self.raw[self.at :])
        shift = self.at
        self.marks = [
            replace(m, start=m.start + shift, end=m.end + shift) if shift else m
            for m in body.marks
            if m.weight or m.own_line
        ]
        self._index()
        index = self._begin()
        while index < len(self.marks):
            index = self._outside(index)
        if self.at < self.end:
            self._rest()
        return self.pieces, self.unclosed

    # ---- looking ahead ------------------------------------------------------------------------------------------------

    def _index(self) -> None:
        stage = self._has_stages()
        kept = [m for m in self.marks if stage or m.name not in STAGE_TAGS]
        self.marks = kept
        self._closers: dict[tuple[str, int], list[int]] = {}
        for index, mark in enumerate(kept):
            if mark.role in ("close", "answer_end") and mark.weight:
                self._closers.setdefault((mark.name, mark.weight), []).append(index)
                if mark.role == "close":
                    self._closers.setdefault(("", mark.weight), []).append(index)

    def _has_stages(self) -> bool:
        first = self.marks[0] if self.marks else None
        if first is None or first.name not in STAGE_TAGS | {"reasoning"} or not self._blank(self.at, first.start):
            return False
        return any(m.name != first.name for m in self.marks)

    def _next(self, name: str, weight: int, after: int) -> int | None:
        found = self._closers.get((name, weight), [])
        at = bisect_right(found, after)
        return found[at] if at < len(found) else None

    def _closer(self, index: int) -> int | None:
        """The mark that ends the thought that `marks[index]` opens: a plain one, a spoken-about one, another name's."""
        name = self.marks[index].name if index >= 0 else ""
        for candidate in ((name, 2), (name, 1), ("", 2)):
            found = self._next(*candidate, index)
            if found is not None:
                return found
        return None

    def _blank(self, start: int, end: int) -> bool:
        return not self.raw[start:end].strip(BLANK) if end - start < 64 else not self.raw[start:end].strip(BLANK + "#")

    # ---- the beginning ------------------------------------------------------------------------------------------------

    def _open_fence(self) -> None:
        """A reply may put its thought, or all of itself, into a code fence; such a fence is a mark."""
        fence = re.match(
            r"(`{3,}|~{3,})[ \t]*(?:xml|text|plaintext|markdown|md|think|thinking)?[ \t]*\r?\n\s{0,8}(?=[<◁\[])",
            self.raw,
        )
        if not fence:
            return
        inner = Marked(self.raw[fence.end() :])
        marks = inner.marks
        if not (marks and marks[0].role == "open" and marks[0].start == 0 and marks[0].name not in STAGE_TAGS):
            return
        close = next((m for m in marks if m.role == "close" and m.name == marks[0].name), None)
        if close is None:
            return
        after = re.compile(r"\s{0,8}(?:`{3,}|~{3,})[ \t]*(?:\n|$)").match(inner.raw, close.end)
        outside = inner.raw[after.end() if after else close.end :]
        if not outside.strip(BLANK + "`~"):
            return
        self.pieces.append(Cut("edge", 0, fence.end()))
        self.at = fence.end()
        if after:
            self._fence = Cut("mark", fence.end() + close.end, fence.end() + after.end())
        elif self.raw.endswith(fence[1]):
            self.end -= len(fence[1])

    def _begin(self) -> int:
        """Enter the thought that the reply begins with, if it does; the index of the mark to go on with."""
        marks = self.marks
        first = marks[0] if marks else None
        if first and first.role == "open" and self._blank(self.at, first.start):
            strong = self._next(first.name, 2, 0) is not None
            if first.weight == 2 or (first.weight == 1 and strong):
                return self._enter(0)
        if self.opened:
            return self._enter(-1)
        closing = self._closing_only()
        if closing is not None:
            self._add("thought", marks[closing].start)
            self._mark("edge", marks[closing])
            self.thoughts += 1
            return closing + 1
        return self._answer_only()

    def _closing_only(self) -> int | None:
        """The closing mark of a thought that the template opened. One that ends a pair in running text is none."""
        pending = 0
        for index, mark in enumerate(self.marks):
            if mark.role == "open":
                if self._opens(index):
                    return None
                pending += mark.weight > 0
            elif mark.role == "close" and mark.weight == 2:
                if not pending or mark.own_line:
                    return index
                pending -= 1
        return None

    def _answer_only(self) -> int:
        for index, mark in enumerate(self.marks):
            if mark.role == "open" and self._opens(index):
                return 0
            if mark.role == "answer" and mark.weight == 2 and mark.name in PLAIN_ANSWER_TAGS:
                closer = self._next(mark.name, 2, index)
                filled = closer is not None and not self._blank(mark.end, self.marks[closer].start)
                if filled or (closer is None and mark.begins):
                    self._add("thought", mark.start)
                    self._mark("edge", mark)
                    self.thoughts += 1
                    return index + 1
        return 0

    # ---- in the text --------------------------------------------------------------------------------------------------

    def _opens(self, index: int) -> bool:
        """Whether an opening mark further on in a reply begins a thought."""
        mark = self.marks[index]
        if mark.weight < 2 or mark.role != "open":
            return False
        touching = self.thoughts and mark.start > 0 and self.raw[mark.start - 1] not in BLANK + "(`\"'“"
        closed = self._next(mark.name, 2, index) is not None
        return (closed and bool(mark.begins or touching)) or mark.own_line

    def _outside(self, index: int) -> int:
        mark = self.marks[index]
        if mark.start < self.at or mark.end > self.end:
            return index + 1
        adjacent = bool(self.pieces) and self._blank(self.at, mark.start)
        if mark.role == "open":
            if self._opens(index) or (adjacent and self.thoughts and mark.weight):
                self._add("answer", mark.start)
                return self._enter(index)
        elif mark.role == "close":
            if mark.weight == 2 and self.thoughts and (adjacent or mark.own_line or self._blank(mark.end, self.end)):
                self._add("answer", mark.start)
                self._mark("mark", mark)
        elif mark.role == "inline":
            if mark.weight:
                self._add("answer", mark.start)
                self._mark("mark", mark)
        elif self._answer_mark(index, adjacent):
            self._add("answer", mark.start)
            self._mark("mark", mark)
        return index + 1

    def _answer_mark(self, index: int, adjacent: bool) -> bool:
        mark = self.marks[index]
        whole = self._blank(0, mark.start) and mark.role == "answer"
        if mark.role == "answer":
            paired = self._next(mark.name, 2, index) is not None
            return adjacent or whole or (mark.weight == 2 and bool(self.thoughts) and (paired or mark.begins))
        last = self._blank(mark.end, self.end)
        return self._answer_open == mark.name and (mark.weight == 2 or last)

    @property
    def _answer_open(self) -> str:
        for piece in reversed(self.pieces):
            if piece.kind in ("mark", "edge"):
                text = Marked(self.raw[piece.start : piece.end]).marks
                if text and text[0].role in ("answer", "answer_end"):
                    return text[0].name if text[0].role == "answer" else ""
        return ""

    def _enter(self, index: int) -> int:
        """Take the thought that `marks[index]` opens (-1: the template did), up to and with its end."""
        self.thoughts += 1
        if index >= 0:
            self._mark("edge", self.marks[index])
        closer = self._closer(index)
        if closer is None:
            return self._never_closed(index)
        inner = 0
        for between in range(index + 1, closer):
            mark = self.marks[between]
            if mark.role == "open" and mark.weight == 2 and mark.begins and mark.start >= self.at:
                inner += 1
                self._add("thought", mark.start)
                self._mark("mark", mark)
        while inner and closer + 1 < len(self.marks) and self._continues(closer):
            self._add("thought", self.marks[closer].start)
            self._mark("mark", self.marks[closer])
            closer, inner = closer + 1, inner - 1
        self._add("thought", self.marks[closer].start)
        self._mark("edge", self.marks[closer])
        if self._fence and self.at == self._fence.start:
            self.pieces.append(self._fence)
            self.at = self._fence.end
        return closer + 1

    def _continues(self, closer: int) -> bool:
        here, following = self.marks[closer], self.marks[closer + 1]
        return following.role == "close" and following.name == here.name and following.weight == 2

    def _never_closed(self, index: int) -> int:
        for later in range(index + 1, len(self.marks)):
            mark = self.marks[later]
            if mark.role == "answer" and mark.weight == 2 and mark.begins:
                self._add("thought", mark.start)
                self._mark("edge", mark)
                return later + 1
        self.unclosed = True
        half = half_close(self.raw, self.end)
        self._add("thought", half)
        if half < self.end:
            self.pieces.append(Cut("mark", half, self.end))
        self.at = self.end
        return len(self.marks)

    def _rest(self) -> None:
        if len(self.raw) <= 16 and re.fullmatch(r"<th(?:i(?:n(?:k(?:ing?)?)?)?)?|◁t?h?i?n?k?", self.raw):
            self.unclosed = True
            self.pieces.append(Cut("mark", 0, self.end))
            self.at = self.end
            return
        half = half_close(self.raw, self.end) if self._answer_open else self.end
        self._add("answer", half)
        if half < len(self.raw):
            self.pieces.append(Cut("mark", half, len(self.raw)))
        self.at = self.end

    # ---- writing down -------------------------------------------------------------------------------------------------

    def _add(self, kind: _Kind, until: int) -> None:
        if until > self.at:
            self.pieces.append(Cut(kind, self.at, until))
            self.at = until

    def _mark(self, kind: _Kind, mark: Mark) -> None:
        self._add("mark", mark.start)
        self.pieces.append(Cut(kind, mark.start, mark.end))
        self.at = mark.end


__all__ = ["FORMATS", "Cut", "Split", "cuts", "split_thought", "with_finish", "with_withheld"]
