"""How reasoning models mark their thoughts: the tables, and the finding and weighing of marks in a text.

A new pair of marks is one row of `_PAIRS`, a new tag name one word in a set, a new pair of phrases one row of `PHRASES`.

Sources: the chat templates and model cards of DeepSeek-R1, QwQ, QVQ, Qwen3-VL, Kimi-VL, gpt-oss (the harmony format),
Skywork-R1V, LLaVA-CoT, Mulberry, GLM-4.1V, Magistral, Command A, Gemma, ERNIE, Hunyuan, EXAONE, Seed-OSS, LongCat, K2-Think,
OpenThinker / Virgo, Granite, Apriel and HuatuoGPT-o1.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cached_property
from typing import Literal

from msgspec import Struct

Role = Literal["open", "close", "answer", "answer_end", "inline"]

# Invisible characters that some servers put around or inside tags count as blank, beside Unicode white space.
BLANK = "".join(chr(c) for c in range(0x3001) if chr(c).isspace()) + "\u180e\u200b\u200c\u200d\u2060\ufeff"

THOUGHT_TAGS = frozenset(
    "think thinking thought thoughts thought_process thinking_process reasoning reasoning_process reflection analysis "
    "scratchpad rationale inner_monologue internal_thought seed:think mm:think longcat_think think_fast think_faster".split()
)
ANSWER_TAGS = frozenset(
    "answer final_answer final-answer finalanswer final response final_response solution conclusion output".split()
)
# These are thought tags only in a text that begins with one and holds another mark (LLaVA-CoT, Visionary-R1, SafeGRPO).
STAGE_TAGS = frozenset("summary caption info description visual_safe text_safe combined_safe".split())
# Without any thought tag, only these say that what came before them was the thought.
PLAIN_ANSWER_TAGS = frozenset(
    {"answer", "final_answer", "final-answer", "final_response", "solution_block", "final_block"}
)

# name, role of the opening mark, opening pattern, closing pattern
_PAIRS: tuple[tuple[str, Role, str, str], ...] = (
    ("kimi", "open", r"◁think▷", r"◁/think▷"),
    ("magistral", "open", r"\[THINK\]", r"\[/THINK\]"),
    ("thought_block", "open", r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    ("solution_block", "answer", r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"),
    ("cohere", "open", r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    ("cohere_text", "answer", r"<\|START_(?:RESPONSE|TEXT)\|>", r"<\|END_(?:RESPONSE|TEXT)\|>"),
    ("piped", "open", r"<\|think(?:ing)?\|>", r"<\|/think(?:ing)?\|>"),
    ("gemma", "open", r"<\|channel>thought", r"<channel\|>"),
    ("box", "inline", r"<\|begin_of_box\|>", r"<\|end_of_box\|>"),
    ("final_block", "answer", r"\[BEGIN FINAL RESPONSE\]", r"\[END FINAL RESPONSE\]"),
)
_CLOSING: dict[Role, Role] = {"open": "close", "answer": "answer_end", "inline": "inline"}
_NAMES = "|".join(sorted(THOUGHT_TAGS | ANSWER_TAGS | STAGE_TAGS, key=len, reverse=True))
_Z = r"[\s\u200b-\u200d\u2060\ufeff]{0,8}"
_MARK = re.compile(
    rf"(?P<xml><{_Z}(?P<end>\\?/)?{_Z}(?P<name>{_NAMES})(?:\s[^<>]{{0,200}})?{_Z}>)"
    + "".join(f"|(?P<o{i}>{pair[2]})|(?P<c{i}>{pair[3]})" for i, pair in enumerate(_PAIRS)),
    re.IGNORECASE,
)

# format name: (how the reply begins, what begins the answer, what must also be there when the answer never begins)
PHRASES: dict[str, tuple[str, str, str]] = {
    "mulberry": (
        r"#{1,6}[ ]?(?:image description|rationales?|let'?s think step by step|step 1)\b",
        r"#{1,6}[ ]?\**the final answer is\**[ ]?[:：]?\**",
        r"#{1,6}[ ]?(?:rationales?|let'?s think step by step)\b",
    ),
    "granite": (r"here(?:'s| is) my thought process:?", r"here(?:'s| is) my response:?", ""),
    "apriel": (r"here are my reasoning steps:?", r"\[BEGIN FINAL RESPONSE\]", ""),
    "huatuo": (r"#{1,3}[ ]?thinking[ ]*(?=\n)", r"#{1,3}[ ]?final response[ ]*(?=\n|$)", ""),
    "final_heading": (r"", r"(?:#{1,6}[ ]?|\*\*)(?:the )?final answer(?: is)?:?\**[ ]?:?", "(?!)"),
}
# These decide only when named: any model may write such a heading.
HINT_ONLY = frozenset({"final_heading"})
FORMATS = ("tags", "harmony", *PHRASES, "plain")

HARMONY_HEADER = re.compile(
    r"(?:<\|start\|>[^<]{0,100})?<\|channel\|>\s{0,4}(?P<channel>[a-z]+)[^<]{0,200}(?:<\|constrain\|>[^<]{0,60})?<\|message\|>",
    re.IGNORECASE,
)
HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>")
LEADING = re.compile(
    r"(?:<s>|<bos>|<\|begin_of_text\|>|<\|im_start\|>assistant|<\|assistant\|>|<\|turn>model)", re.IGNORECASE
)
TRAILING = (
    "</s> <eos> <|im_end|> <|endoftext|> <|end_of_text|> <|eot_id|> <｜end▁of▁sentence｜> <end_of_turn> <turn|> <|return|> "
    "<|end|> <|END_OF_TURN_TOKEN|> <|user|> [EOS] <seed:eos>"
).split()

# A tag that a sentence speaks about: "the <think> tag", "<think> and </think>", "使用<think>标签".
_SPOKEN_BEFORE = re.compile(
    r"(?:^|[\s(])(?:the|an?|tags?|tokens?|markers?|use|using|with|and|or|by|between|inside|within|called|named|write|put|like|add|"
    r"emit|output|type|literal|closing|opening|missing|no|your|its?s|标签|标记)[ \t]+$"
    r"|(?:标签|标记|使用|タグ)[ \t]*$",
    re.IGNORECASE,
)
_SPOKEN_AFTER = re.compile(
    r"[ \t]*(?:(?:tags?|tokens?|markers?|elements?)\b|标签|标记|タグ|(?:and|or|和|与|或|と)[ \t]*[`\"'“「]?[<\[◁])"
    r"|[ \t]+(?:is|are|means?|marks?|opens|starts|begins|ends|closes)\b[^.\n]{0,40}\b(?:tags?|tokens?|markers?|thoughts?|reasoning)\b",
    re.IGNORECASE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』", "`": "`", "＂": "＂"}
_FENCE = re.compile(r"^[ \t>]{0,20}(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$", re.MULTILINE)
_WINDOW = 400


class Mark(Struct, frozen=True):
    """A mark in a text: `raw[start:end]`, markdown around it included; `name` pairs an opening with its closing.

    `own_line`: nothing else stands on its line. `begins`: it begins a line or follows the end of a sentence.
    `weight` is 0 where it is quoted as code or between quotation marks, 1 where the sentence seems to speak about it,
    2 otherwise.
    """

    start: int
    end: int
    name: str
    role: Role
    own_line: bool
    begins: bool
    weight: int


class Marked:
    """A text and its marks in order."""

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self._fence_starts: list[int] = []
        self._fence_spans: list[tuple[int, int]] = []
        self._read_fences()

    @cached_property
    def marks(self) -> list[Mark]:
        """All marks, quoted ones too, in order."""
        return [self._weigh(found) for found in _MARK.finditer(self.raw)]

    def in_fence(self, at: int) -> bool:
        """Whether the offset lies in a fenced code block."""
        index = bisect_left(self._fence_spans, (at, len(self.raw) + 1)) - 1
        return index >= 0 and self._fence_spans[index][0] <= at < self._fence_spans[index][1]

    def fences_after(self, at: int) -> int:
        """The number of fence lines after an offset."""
        return len(self._fence_starts) - bisect_left(self._fence_starts, at)

    def _read_fences(self) -> None:
        opened: tuple[int, str] | None = None
        for line in _FENCE.finditer(self.raw):
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
        start, end = self._unwrap(found.start(), found.end())
        before, after = self._line_around(start, end)
        own_line = not before.strip(BLANK + "#>") and not after.strip(BLANK)
        tail = before.rstrip(BLANK)
        begins = not tail.strip(BLANK + "#>") or tail[-1] in ".!?。！？…>▷]"
        return Mark(start, end, name, role, own_line, begins, self._weight(found, role, own_line))

    def _unwrap(self, start: int, end: int) -> tuple[int, int]:
        """Take equal markdown emphasis on both sides into the mark; back-ticks only where they fill the line."""
        raw = self.raw
        for width in (3, 2, 1):
            left, right = raw[max(0, start - width) : start], raw[end : end + width]
            if len(left) == width and left == right and left[0] * width == left and left[0] in "*_`":
                before, after = self._line_around(start - width, end + width)
                if left[0] != "`" or not (before.strip(BLANK) or after.strip(BLANK)):
                    return start - width, end + width
        return start, end

    def _line_around(self, start: int, end: int) -> tuple[str, str]:
        before = self.raw[max(0, start - _WINDOW) : start]
        after = self.raw[end : end + _WINDOW]
        return before[before.rfind("\n") + 1 :], after.partition("\n")[0]

    def _weight(self, found: re.Match[str], role: Role, own_line: bool) -> int:
        start, end = found.span()
        before, after = self._line_around(start, end)
        if self.in_fence(start):
            # A thought may leave a code block open; then the fences after its closing tag pair up among themselves.
            return 1 if role in ("close", "inline") and self.fences_after(end) % 2 == 0 else 0
        if own_line:
            return 2
        if before.count("`") % 2 and "`" in after:
            return 0
        if before and after and _QUOTES.get(before[-1]) == after[0] and before.count(before[-1]) % 2:
            return 0
        if before.count('"') % 2 and '"' in after:
            return 1
        spoken = _SPOKEN_BEFORE.search(before[-40:]) or _SPOKEN_AFTER.match(after[:120])
        return 1 if spoken else 2


def _identify(found: re.Match[str]) -> tuple[str, Role]:
    if found.lastgroup == "xml":
        name = found["name"].lower()
        role: Role = "answer" if name in ANSWER_TAGS else "open"
        return name, _CLOSING[role] if found["end"] else role
    group = found.lastgroup or ""
    name, role = _PAIRS[int(group[1:])][:2]
    return name, role if group[0] == "o" else _CLOSING[role]


_HALF_CLOSE = re.compile(
    r"(?:<\\?/[a-z_:]{0,16}|◁/[a-z]{0,6}|\[/[A-Z]{0,6}|<\|end_[a-z_]{0,12}\|?|<\|END_[A-Z_]{0,10}\|?)$"
)
_CLOSES = ("◁/think▷", "[/THINK]", "<|end_of_thought|>", "<|end_of_solution|>", "<|END_THINKING|>", "<|END_RESPONSE|>")


def half_close(raw: str, end: int) -> int:
    """Where a closing mark that was cut off at `end` begins, or `end` if there is none."""
    found = _HALF_CLOSE.search(raw, max(0, end - 24), end)
    if not found:
        return end
    cut = found.group().replace("\\", "")
    whole = [*_CLOSES, *(f"</{name}>" for name in THOUGHT_TAGS | ANSWER_TAGS | STAGE_TAGS)]
    return found.start() if any(full.startswith(cut) or full.upper().startswith(cut) for full in whole) else end
