"""How reasoning models mark their thoughts, as tables. A new format is one row or one word here.

Sources: the chat templates and model cards of DeepSeek-R1, QwQ, QVQ, Qwen3-VL, Kimi-VL, gpt-oss (the harmony format),
Skywork-R1V, LLaVA-CoT, Mulberry, GLM-4.1V, Magistral, Command A, Gemma, ERNIE, Hunyuan, EXAONE, Seed-OSS, LongCat,
K2-Think, OpenThinker / Virgo, Granite, Apriel and HuatuoGPT-o1.
"""

from __future__ import annotations

import re
from typing import Literal

Role = Literal["open", "close", "answer", "answer_end", "inline"]

# Invisible characters that some servers put around or inside tags count as blank, beside Unicode white space.
BLANK = "".join(chr(c) for c in range(0x3001) if chr(c).isspace()) + "\u180e\u200b\u200c\u200d\u2060\ufeff"

THOUGHT_TAGS = frozenset(
    {"think", "thinking", "thought", "thoughts", "thought_process", "thinking_process"}
    | {"reasoning", "reasoning_process", "reflection", "analysis", "scratchpad", "rationale", "inner_monologue"}
    | {"internal_thought", "seed:think", "mm:think", "longcat_think", "think_fast", "think_faster"}
)
ANSWER_TAGS = frozenset(
    {"answer", "final_answer", "final-answer", "finalanswer", "final", "final_response"}
    | {"response", "solution", "conclusion", "output"}
)
# These are thought tags only in a text that begins with one and holds another mark (LLaVA-CoT, Visionary-R1, SafeGRPO).
STAGE_TAGS = frozenset({"summary", "caption", "info", "description", "visual_safe", "text_safe", "combined_safe"})
# Without any thought tag, only these say that what came before them was the thought.
PLAIN_ANSWER_TAGS = frozenset(
    {"answer", "final_answer", "final-answer", "finalanswer", "final_response", "solution_block", "final_block"}
)

# name, role of the opening mark, opening pattern, closing pattern
PAIRS: tuple[tuple[str, Role, str, str], ...] = (
    ("kimi", "open", r"◁think▷", r"◁/think▷"),
    ("magistral", "open", r"\[THINK\]", r"\[/THINK\]"),
    ("thought_block", "open", r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    ("solution_block", "answer", r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"),
    ("cohere", "open", r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    ("cohere_text", "answer", r"<\|START_(?:RESPONSE|TEXT)\|>", r"<\|END_(?:RESPONSE|TEXT)\|>"),
    ("piped", "open", r"<\|think(?:ing)?\|>", r"<\|/think(?:ing)?\|>"),
    ("gemma", "open", r"<\|channel>thought", r"<channel\|>"),
    ("s1", "open", r"<\|im_start\|>think(?=\s)", r"<\|im_start\|>answer(?=\s|$)"),
    ("box", "inline", r"<\|begin_of_box\|>", r"<\|end_of_box\|>"),
    ("final_block", "answer", r"\[BEGIN FINAL RESPONSE\]", r"\[END FINAL RESPONSE\]"),
)
CLOSING: dict[Role, Role] = {"open": "close", "answer": "answer_end", "inline": "inline"}
_NAMES = "|".join(sorted(THOUGHT_TAGS | ANSWER_TAGS | STAGE_TAGS, key=len, reverse=True))
_Z = r"[\s\u200b-\u200d\u2060\ufeff]{0,8}"
_ATTRIBUTES = r"(?:\s{1,8}[\w:-]{1,40}\s{0,4}=[^<>]{0,200})?"


def _after_first(pattern: str) -> str:
    """The pattern with its first character, always one of `<`, `◁` and `[`, turned into a look-behind."""
    first = pattern[:2] if pattern.startswith("\\") else pattern[:1]
    return f"(?<={first}){pattern[len(first) :]}"


# It begins with a set of characters and not with alternatives, so that the engine skips through text that has none.
MARK = re.compile(
    rf"[<◁\[](?:(?P<xml>(?<=<){_Z}(?P<end>\\?/|\\)?{_Z}(?P<name>{_NAMES}){_ATTRIBUTES}{_Z}>)"
    + "".join(f"|(?P<o{i}>{_after_first(pair[2])})|(?P<c{i}>{_after_first(pair[3])})" for i, pair in enumerate(PAIRS))
    + ")",
    re.IGNORECASE,
)

# format name: how the reply begins, what begins the answer, and what must be there too where the answer never begins
PHRASES: dict[str, tuple[str, str, str]] = {
    "mulberry": (
        r"#{1,6}[ ]?\**(?:image description|rationales?|let['’]?s think step by step|step 1)\b",
        r"#{1,6}[ ]?\**the final answer is\**[ ]?[:：]?\**",
        r"#{1,6}[ ]?\**(?:rationales?|let['’]?s think step by step)\b",
    ),
    "granite": (r"here(?:'s| is) my thought process:?", r"here(?:'s| is) my response:?", ""),
    "apriel": (r"here are my reasoning steps:?", r"\[BEGIN FINAL RESPONSE\]", ""),
    "huatuo": (r"#{1,3}[ ]?thinking[ ]{0,4}(?=\r?\n)", r"#{1,3}[ ]?final response[ ]{0,4}(?=\r?\n|$)", ""),
    "final_heading": (r"", r"(?:#{1,6}[ ]?|\*\*)(?:the )?final answer(?: is)?:?\**[ ]?:?", r"(?!)"),
}
HEADS = {name: re.compile(rf"\**(?:{begin})", re.IGNORECASE) for name, (begin, _, _) in PHRASES.items()}
# A heading may also stand in the middle of a line: Mulberry's sections are "separated by ###".
TURNS = {
    name: re.compile(rf"(?:^[ \t]{{0,8}}|(?<=\s)(?=[#\[])|(?=h))(?:{turn})", re.IGNORECASE | re.MULTILINE)
    for name, (_, turn, _) in PHRASES.items()
}
NEEDED = {name: re.compile(needed, re.IGNORECASE) for name, (_, _, needed) in PHRASES.items()}
# What also begins the answer, where the needed is there and the usual words are not.
LATE_TURNS = {
    "mulberry": re.compile(
        r"^[ \t]{0,8}(?:#{1,6}[ ]?)?\**(?:(?:so|thus|therefore),?[ ])?(?:the )?final answer(?: is)?\**[ ]?[:：]\**"
        r"|^[ \t]{0,8}#{1,6}[ ]?\**final answer\**[ ]*$",
        re.IGNORECASE | re.MULTILINE,
    )
}
# In these the beginning is a mark; in the others it is a heading that belongs to the thought.
PHRASE_MARKS = frozenset({"granite", "apriel", "huatuo"})
# These decide only when named (QVQ): any model may write such a heading.
HINT_ONLY = frozenset({"final_heading"})
FORMATS = ("tags", "harmony", *PHRASES, "plain")

HARMONY_HEADER = re.compile(
    r"(?:<\|start\|>[^<]{0,100})?<\|channel\|>\s{0,4}(?P<channel>[a-z]+)[^<]{0,200}"
    r"(?:<\|constrain\|>[^<]{0,60})?<\|message\|>",
    re.IGNORECASE,
)
# An end token ends a message only where another header or nothing follows: an answer may speak about one.
HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>(?=\s{0,64}(?:<\||\Z))")
LEADING = re.compile(
    r"<s>|<bos>|<\|begin_of_text\|>|<\|im_start\|>assistant|<\|assistant\|>|<\|turn>model"
    r"|(?:assistant|model|bot|ai|a)(?:\s{0,4}:\s{0,4}|\s{1,4})(?=[*_]{0,2}(?:<think|◁think|\[THINK))",
    re.IGNORECASE,
)
TRAILING = (
    *("</s>", "<eos>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<｜end▁of▁sentence｜>"),
    *("<end_of_turn>", "<turn|>", "<|return|>", "<|end|>", "<|END_OF_TURN_TOKEN|>", "<|user|>", "<seed:eos>"),
    *("<|im_start|>user", "<|im_start|>assistant", "<|im_start|>"),
)

# A tag that a sentence speaks about: "the <think> tag", "<think> and </think>", "使用<think>标签".
SPOKEN_BEFORE = re.compile(
    r"(?:^|[\s(])(?:the|an?|tags?|tokens?|markers?|use|using|with|and|or|by|between|inside|within|called|named|write|put"
    r"|like|add|emits?|after|before|until|output|type|literal|closing|opening|missing|no|your|its?s|标签|标记)[ \t]+$"
    r"|(?:标签|标记|使用|タグ|태그)[ \t]*$",
    re.IGNORECASE,
)
_WORDS = r"tags?|tokens?|markers?|elements?"
SPOKEN_AFTER = re.compile(
    rf"[ \t]+(?:{_WORDS})\b|[ \t]*(?:标签|标记|タグ|태그|(?:and|or|和|与|或|と)[ \t]*[`\"'“「]?[<\[◁])"
    r"|[ \t]+(?:is|are|means?|marks?|opens|starts|begins|ends|closes)\b[^.\n]{0,40}"
    rf"\b(?:{_WORDS}|thoughts?|reasoning)\b"
)
# A thought or an answer does not begin so, but a sentence goes on so after a tag: "until it emits </think>, then".
GOES_ON = re.compile(r"[,;:?)](?!$)|\.(?![.\w])")
# A pair of tags around nothing: "put it in <think> </think>", "<answer>...</answer>".
EMPTY_AFTER = re.compile(r"[ \t]*(?:\.{3}|…)?[ \t]*<[ \t]*/")
EMPTY_BEFORE = re.compile(r"[^\s.!?。！？…>▷\]][ \t]*<[a-z_]{2,20}>[ \t]*(?:\.{3}|…)?[ \t]*$", re.IGNORECASE)
IN_SENTENCE = re.compile(r"(?:[^\W\d_A-Z]|[,;]) {1,2}[^\W\d_A-Z]")
FIRST = re.compile(f"[{re.escape(BLANK)}]*")
QUOTES = {
    '"': '"',
    "'": "'",
    "“": "”",
    "‘": "’",
    "„": "“",
    "«": "»",
    "(": ")",
    "（": "）",
    "「": "」",
    "『": "』",
    "`": "`",
    "＂": "＂",
}
FENCE = re.compile(r"(?:^[ \t>]{0,20}|(?<=>))(?P<fence>`{3,}|~{3,})(?P<info>[^`\n]*)$", re.MULTILINE)

# Closing marks as they may be cut off at the end of a reply.
HALF_CLOSE = re.compile(
    r"(?:<\\?/[A-Za-z_:]{0,16}|◁/[a-z]{0,6}|\[/[A-Z]{0,6}|<\|end_[a-z_]{0,12}\|?|<\|END_[A-Z_]{0,10}\|?)$"
)
HALF_OPEN = re.compile(r"<t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?)?)?$|◁t?h?i?n?k?$|\[TH?I?N?K?$")
WHOLE_ANSWERS = ("<|begin_of_solution|>", "<|start_response|>", *sorted(f"<{name}>" for name in ANSWER_TAGS))
WHOLE_CLOSES = (
    *("◁/think▷", "[/THINK]", "<|end_of_thought|>", "<|end_of_solution|>", "<|END_THINKING|>", "<|END_RESPONSE|>"),
    *sorted(f"</{name}>" for name in THOUGHT_TAGS | ANSWER_TAGS | STAGE_TAGS),
)
