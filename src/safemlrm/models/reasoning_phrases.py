"""Cuts replies whose thought is marked by channels (gpt-oss), headings (Mulberry) or set sentences (Granite)."""

from __future__ import annotations

import re

from safemlrm.models.reasoning_formats import (
    HARMONY_END,
    HARMONY_HEADER,
    HEADS,
    HINT_ONLY,
    LATE_TURNS,
    NEEDED,
    PHRASE_MARKS,
    TURNS,
)
from safemlrm.models.reasoning_marks import Cut, Kind, Marked

_HALF_HEADER = re.compile(r"(?:<\|start\|?>?[^<]{0,40})?(?:<\|[a-z]{0,12}\|?>?[a-z]{0,12})?\s*$")
_HANDED_OVER = re.compile(r"<\|end\|>\s{0,4}$")
_BARE_FINAL = re.compile(r"assistant(?:commentary)?final(?=[^a-z]|$)")
_BARE_HEADER = re.compile(r"assistant(?:analysis|commentary)(?=[^a-z])")
_END_FINAL = "[END FINAL RESPONSE]"


def cut_harmony(raw: str, opened: bool, hinted: bool) -> tuple[list[Cut], bool] | None:
    """Channels: `final` is the answer, all others are thought. `None` where the reply has no channels.

    `opened`: the template ended within the analysis channel.
    """
    bare = re.match(r"(?:assistant)?analysis|(?=assistantfinal[A-Z])", raw)
    if bare and (re.compile("[A-Z\"'`*]").match(raw, bare.end()) or _BARE_FINAL.search(raw)):
        return _without_tokens(raw, bare.end())
    if "<|" not in raw:
        return None
    headers = list(HARMONY_HEADER.finditer(raw))
    begins = raw.startswith(("<|channel|>", "<|start|>assistant", "<|message|>"))
    text = Marked(raw)  # an answer may show the format in a code block
    shown = not (begins or opened) and all(text.in_fence(h.start()) for h in headers)
    handed_over = not shown and any(_HANDED_OVER.search(raw, max(0, h.start() - 16), h.start()) for h in headers)
    if not (begins or handed_over or (hinted and headers)):
        return None
    pieces: list[Cut] = []
    kind: Kind = "thought" if headers or opened else "answer"
    at, ended = 0, False
    for header in [*headers, None]:
        limit = header.start() if header else len(raw)
        end = HARMONY_END.search(raw, at, limit)
        ended = end is not None
        stop, resume = (end.start(), end.end()) if end else (limit, limit)
        # What stands between an end token and the next header is empty in well-formed replies; it keeps its kind.
        pieces += [Cut(kind, at, stop), Cut("edge", stop, resume), Cut(kind, resume, limit)]
        if header:
            pieces.append(Cut("edge", header.start(), header.end()))
            kind = "answer" if header["channel"].lower() == "final" else "thought"
            at = header.end()
    return _without_half_header(raw, pieces), kind == "thought" and not ended


def _without_tokens(raw: str, start: int) -> tuple[list[Cut], bool]:
    """Channels decoded without special tokens: `analysisWe need ...assistantfinalThe answer`."""
    pieces = [Cut("edge", 0, start)]
    turn = _BARE_FINAL.search(raw, start)
    end = turn.start() if turn else len(raw)
    for header in _BARE_HEADER.finditer(raw, start, end):
        pieces += [Cut("thought", start, header.start()), Cut("edge", header.start(), header.end())]
        start = header.end()
    pieces.append(Cut("thought", start, end))
    if not turn:
        return pieces, True
    return [*pieces, Cut("edge", end, turn.end()), Cut("answer", turn.end(), len(raw))], False


def _without_half_header(raw: str, pieces: list[Cut]) -> list[Cut]:
    """A header that was cut off (`<|start|>assistant<|chan`) is a mark, not text."""
    last = pieces[-1]
    at = raw.rfind("<|start|", last.start, last.end)
    at = at if at >= 0 else raw.rfind("<|", last.start, last.end)
    if at >= 0 and _HALF_HEADER.match(raw, at, last.end):
        return [*pieces[:-1], Cut(last.kind, last.start, at), Cut("edge", at, last.end)]
    return pieces


def cut_phrases(raw: str, name: str, hinted: bool) -> tuple[list[Cut], bool] | None:
    """Formats in which a heading or a sentence begins the thought and another begins the answer; see `PHRASES`."""
    head = HEADS[name].match(raw)
    if not head and (not hinted or raw.startswith(("<", "◁", "[THINK]"))):
        return None  # a model that was told to use tags does not keep to its own format
    text = Marked(raw)
    if any(m.role in ("open", "close") and m.weight == 3 and m.own_line for m in text.marks):
        return None  # nor is a heading before a tagged thought a format
    turns = [m for m in TURNS[name].finditer(raw) if not text.in_fence(m.start())]
    if not turns and name in LATE_TURNS and NEEDED[name].search(raw):
        turns = [m for m in LATE_TURNS[name].finditer(raw) if not text.in_fence(m.start())][-1:]
    start = head.end() if head and name in PHRASE_MARKS else 0
    lead = [Cut("edge", 0, start)]
    if not turns:
        if not head or not NEEDED[name].search(raw):
            return None
        return [*lead, Cut("thought", start, len(raw))], True
    # Where only a heading tells (QVQ) the last one counts, since drafts come before it.
    at = turns[-1] if name in HINT_ONLY else turns[0]
    end = raw.find(_END_FINAL, at.end())
    end = len(raw) if end < 0 else end
    after = min(len(raw), end + len(_END_FINAL))
    body = [Cut("thought", start, at.start()), Cut("edge", at.start(), at.end()), Cut("answer", at.end(), end)]
    return [*lead, *body, Cut("mark", end, after), Cut("answer", after, len(raw))], False
