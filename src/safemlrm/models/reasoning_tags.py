"""Cuts replies whose thoughts stand between tags. One pass over the marks; every look-ahead is a bisection."""

from __future__ import annotations

import re
from bisect import bisect_right

from safemlrm.models.reasoning_formats import BLANK, HALF_OPEN, PLAIN_ANSWER_TAGS, STAGE_TAGS, WHOLE_ANSWERS
from safemlrm.models.reasoning_marks import Cut, Kind, Mark, Marked, half_close

_FENCE_OPEN = re.compile(
    r"(`{3,}|~{3,})(?:[ \t]*(?:xml|html|text|plaintext|markdown|md|think|thinking)?[ \t]*\r?\n\s{0,8})?(?=[<◁\[])"
    r"|(`)(?=[<◁][^\s`]{1,24}\r?\n)"
)
_FENCE_CLOSE = re.compile(r"\s{0,8}(?:`+|~{3,})[ \t]*(?:\r?\n|$)")
_BLANKS = re.compile(f"[{re.escape(BLANK)}]*")


def cut_tags(raw: str, opened: bool) -> tuple[list[Cut], bool]:
    """The pieces of a reply and whether its last thought never ended; the rules are in `safemlrm.models.reasoning`."""
    cutter = _Tags(raw, opened)
    cutter.run()
    return cutter.pieces, cutter.unclosed


def _first_after(indices: list[int], index: int) -> int | None:
    at = bisect_right(indices, index)
    return indices[at] if at < len(indices) else None


class _Tags:
    def __init__(self, raw: str, opened: bool) -> None:
        self.raw = raw
        self.opened = opened
        self.pieces: list[Cut] = []
        self.at = 0  # all before it is cut
        self.end = len(raw.rstrip(BLANK))
        self.unclosed = False
        self.thoughts = 0  # thoughts so far, empty ones too
        self.thought = False  # was any of them not empty?
        self.answers = 0  # answers between tags so far
        self.answer_tag = ""  # the answer tag that is open
        self.fence: Cut | None = None  # the closing fence of a thought in a code block
        self.blank_until = (-1, -1)
        self.marks: list[Mark] = []
        self.closers: dict[tuple[str, int], list[int]] = {}  # (name, at least this weight) -> indices of marks
        self.openers: list[int] = []

    def run(self) -> None:
        self._open_fence()
        self._read_marks()
        index = self._begin()
        while index < len(self.marks):
            mark = self.marks[index]
            index = self._outside(index) if mark.start >= self.at and mark.end <= self.end else index + 1
        self._finish()

    # -- looking ahead

    def _read_marks(self) -> None:
        marks = [m for m in Marked(self.raw, self.at).marks if m.weight]
        first = marks[0] if marks else None
        if not (first and first.name in STAGE_TAGS and self._staged(first, marks)):
            marks = [m for m in marks if m.name not in STAGE_TAGS]
        self.marks = marks
        for index, mark in enumerate(marks):
            if mark.role == "open" and mark.weight >= 2 and mark.begins:
                self.openers.append(index)
            for weight in range(1, mark.weight + 1) if mark.role in ("close", "answer_end") else ():
                self.closers.setdefault((mark.name, weight), []).append(index)
                if mark.role == "close":
                    self.closers.setdefault(("", weight), []).append(index)

    def _staged(self, first: Mark, marks: list[Mark]) -> bool:
        """Whether a stage tag is a mark: in capitals, as LLaVA-CoT writes it, or at the beginning with other marks."""
        if self.raw[first.start : first.end].isupper():
            return first.line_start
        return self._blank(self.at, first.start) and any(m.name != first.name for m in marks)

    def _next(self, name: str, weight: int, after: int) -> int | None:
        return _first_after(self.closers.get((name, weight), []), after)

    def _closer(self, index: int) -> int | None:
        """The mark that ends the thought that `marks[index]` opens.

        The plainer one of several, unless a further thought begins before it; else one of another name.
        """
        name = self.marks[index].name if index >= 0 else ""
        best: int | None = None
        for weight in (1, 2, 3):
            found = self._next(name, weight, index)
            if found is None or (best is not None and (_first_after(self.openers, best) or found) < found):
                break
            best = found
        return best if best is not None else self._next("", 2, index)

    def _blank(self, start: int, end: int) -> bool:
        if self.blank_until[0] != start:
            found = _BLANKS.match(self.raw, start)
            self.blank_until = (start, found.end() if found else start)
        return self.blank_until[1] >= end

    # -- the beginning

    def _open_fence(self) -> None:
        """A reply may put its thought, or all of itself, into a code fence; such a fence is a mark."""
        fence = _FENCE_OPEN.match(self.raw)
        if not fence:
            return
        inner = self.raw[fence.end() :]
        marks = Marked(inner).marks
        if not marks or marks[0].role != "open" or marks[0].start or marks[0].name in STAGE_TAGS:
            return
        sign = fence[1] or fence[2]
        close = next((m for m in marks if m.role == "close" and m.name == marks[0].name), None)
        after = _FENCE_CLOSE.match(inner, close.end) if close else None
        shown = not inner[after.end() if after else close.end :].strip(BLANK + "`~") if close else sign in inner
        if shown:
            return  # a code block with nothing after it shows the format, it does not use it
        self._cut("edge", fence.end())
        if after and close:
            self.fence = Cut("mark", fence.end() + close.end, fence.end() + after.end())
        elif self.raw.endswith(sign, self.at, self.end):
            self.end -= len(sign)

    def _begin(self) -> int:
        """Take the thought that the reply begins with, if it does; the index of the mark to go on with."""
        first = self.marks[0] if self.marks else None
        if first and first.role == "open" and self._blank(self.at, first.start):
            closed = self._next(first.name, 2, 0) is not None
            if first.weight >= 2 or first.own_line or (first.weight == 1 and closed):
                return self._thought(0)
        if self.opened:
            return self._thought(-1)
        closing = self._closing_only()
        if closing is None:
            return self._answer_only()
        self._end_thought(self.marks[closing])
        return closing + 1

    def _closing_only(self) -> int | None:
        """The closing mark of a thought that the template opened. One that ends a pair in running text is none."""
        pending = 0
        for index, mark in enumerate(self.marks):
            if mark.role == "open":
                if self._opens(index):
                    return None
                pending += mark.weight > 0
            elif mark.role == "close" and mark.weight:
                if mark.weight >= 2 and (not pending or mark.own_line):
                    plainer = self._next("", 3, index - 1)
                    opener = _first_after(self.openers, index)
                    return index if plainer is None or (opener or plainer) < plainer else plainer
                pending = max(0, pending - 1)
        return None

    def _answer_only(self) -> int:
        """A reply without thought tags whose answer is tagged: what stands before it is the thought."""
        for index, mark in enumerate(self.marks):
            if mark.role == "open" and self._opens(index):
                return 0
            if mark.role == "answer" and mark.weight >= 2 and mark.name in PLAIN_ANSWER_TAGS:
                closer = self._next(mark.name, 2, index)
                filled = closer is not None and not self._blank(mark.end, self.marks[closer].start)
                if filled or (closer is None and mark.begins):
                    self._end_thought(mark)
                    self.answer_tag = mark.name
                    return index + 1
        return 0

    # -- in a thought

    def _thought(self, index: int) -> int:
        """Take the thought that `marks[index]` opens (-1: the template did), up to and with its end."""
        if index >= 0:
            self._mark("edge", self.marks[index])
        closer = self._closer(index)
        if closer is None:
            return self._never_closed(index)
        name = self.marks[closer].name
        between = (m for m in self.marks[index + 1 : closer] if m.role == "open" and m.name == name)
        inner = [m for m in between if m.weight >= 2 and m.start >= self.at]
        for mark in inner:
            if mark.begins:
                self._cut("thought", mark.start)
                self._mark("mark", mark)
        while inner and (again := self._closed_again(closer)):
            if inner.pop().begins:
                self._cut("thought", self.marks[closer].start)
                self._mark("mark", self.marks[closer])
            closer = again
        self._end_thought(self.marks[closer])
        if self.fence and self.at == self.fence.start:
            self._cut("mark", self.fence.end)
        return closer + 1

    def _closed_again(self, closer: int) -> int | None:
        """The closing mark after this one, which so ends but a nested thought; something must be left for the answer.

        An answer between tags may stand between the two: the nested thought was a format that was spoken about.
        """
        for index in range(closer + 1, len(self.marks)):
            mark = self.marks[index]
            if not mark.role.startswith("answer"):
                closes = mark.role == "close" and mark.name == self.marks[closer].name and mark.weight >= 2
                return index if closes and mark.end < self.end else None
        return None

    def _never_closed(self, index: int) -> int:
        for later in range(index + 1, len(self.marks)):
            mark = self.marks[later]
            if mark.role == "answer" and mark.weight >= 2 and (mark.begins or self._ends_with(later)):
                self._end_thought(mark)
                self.answer_tag = mark.name
                return later + 1
            if mark.role == "open" and mark.weight >= 2 and mark.line_start:
                self._cut("thought", mark.start)
                self._mark("edge", mark)
        self.unclosed = True
        self._cut("thought", half_close(self.raw, self.end))
        self._cut("mark", self.end)
        return len(self.marks)

    def _ends_with(self, index: int) -> bool:
        """Whether the answer that `marks[index]` opens is closed by the end of the reply."""
        closer = self._next(self.marks[index].name, 2, index)
        return closer is not None and self.marks[closer].end >= self.end

    def _end_thought(self, mark: Mark) -> None:
        self.thoughts += 1
        self.thought = self.thought or not self._blank(self.at, mark.start)
        self._cut("thought", mark.start)
        self._mark("edge", mark)

    # -- outside thoughts

    def _opens(self, index: int) -> bool:
        """Whether an opening mark further on in a reply begins a thought."""
        mark = self.marks[index]
        if mark.weight < 2:
            return False
        closed = self._next(mark.name, 2, index) is not None
        again = closed and self.thoughts > 0 and mark.weight == 3
        return again or mark.line_start or (mark.begins and (closed or mark.weight == 3))

    def _outside(self, index: int) -> int:
        mark = self.marks[index]
        adjacent = self.thoughts > 0 and self._blank(self.at, mark.start)
        if mark.role == "open":
            if self.thoughts and mark.line_start and self._introduced(mark):
                return self._example(index)
            if self._opens(index) or (adjacent and (mark.weight >= 2 or mark.own_line)):
                self._cut("answer", mark.start)
                return self._thought(index)
        elif mark.role == "close":
            self._stray(mark, adjacent)
        elif (mark.role == "inline" and mark.weight) or self._tags_answer(index, adjacent):
            self._cut("answer", mark.start)
            again = mark.role == "answer" and self.answers > 0
            self._mark("edge" if again else "mark", mark)
            if mark.role != "inline":
                self.answers += mark.role == "answer_end"
                self.answer_tag = mark.name if mark.role == "answer" else ""
        return index + 1

    def _introduced(self, mark: Mark) -> bool:
        return self.raw[max(0, mark.start - 64) : mark.start].rstrip(BLANK).endswith((":", "："))

    def _example(self, index: int) -> int:
        """Skip an answer's "the format is:" with a pair of thought tags, and a pair of answer tags, on its lines."""
        for _ in range(2):
            closer = self._next(self.marks[index].name, 2, index)
            if closer is None:
                return index + 1
            index = closer + 1
            following = self.marks[index] if index < len(self.marks) else None
            if not following or following.role != "answer" or not self._blank(self.marks[closer].end, following.start):
                break
        return index

    def _stray(self, mark: Mark, adjacent: bool) -> None:
        """A further closing mark: a mark where no sentence holds it, text otherwise."""
        if mark.weight < 2 or not self.thoughts:
            return
        if not self.thought and mark.own_line:
            self._end_thought(mark)  # the thought came after an empty one
        elif adjacent or mark.own_line or mark.end >= self.end:
            self._cut("answer", mark.start)
            self._mark("mark", mark)

    def _tags_answer(self, index: int, adjacent: bool) -> bool:
        mark = self.marks[index]
        if mark.role == "answer_end":
            last = mark.end >= self.end
            return (last and self.thoughts > 0) or (self.answer_tag == mark.name and mark.weight >= 2)
        closed = self._next(mark.name, 2, index) is not None
        if adjacent or (self.at == 0 and self._blank(0, mark.start)):
            return mark.weight >= 2 or closed
        return mark.weight >= 2 and self.thoughts > 0 and (closed or mark.begins)

    def _finish(self) -> None:
        """What is left is answer, but for a tag that was cut off."""
        rest = self.raw[self.at : self.end].strip(BLANK) if self.end - self.at < 64 else ""
        if not self.pieces and HALF_OPEN.match(self.raw, 0, self.end):
            self.unclosed = True
        elif not (rest and self.thoughts and any(whole.startswith(rest.lower()) for whole in WHOLE_ANSWERS)):
            self._cut("answer", half_close(self.raw, self.end) if self.answer_tag else self.end)
        self._cut("mark", len(self.raw))

    # -- writing down

    def _cut(self, kind: Kind, until: int) -> None:
        if until > self.at:
            self.pieces.append(Cut(kind, self.at, until))
            self.at = until

    def _mark(self, kind: Kind, mark: Mark) -> None:
        self._cut("mark", mark.start)
        self._cut(kind, mark.end)
