"""Thought | answer splitting: what models emit, the traps, and the properties that hold for any text at all."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safemlrm.errors import UsageError
from safemlrm.models.reasoning import FORMATS, Split, cuts, split_thought, with_finish, with_withheld
from safemlrm.models.reasoning_formats import ANSWER_TAGS, BLANK, PAIRS, STAGE_TAGS, THOUGHT_TAGS

H = "<|start|>assistant"
MULBERRY = (
    "### Image Description:\nA red cup.\n\n### Rationales:\nWe count.\n\n### Let's think step by step.\n\n"
    "### Step 1:\nOne cup.\n\n### The final answer is: "
)

# raw, reasoning, answer, state
CASES: dict[str, tuple[str, str, str, str]] = {
    # DeepSeek-R1 and its kin
    "plain": ("<think>\nWhy?\n</think>\n\nBecause.", "Why?", "Because.", "complete"),
    "one line": ("<think>a</think>b", "a", "b", "complete"),
    "no thought": ("Just an answer.", "", "Just an answer.", "none"),
    "empty": ("", "", "", "none"),
    "blank": (" \n\t\n", "", "", "none"),
    "closed only": ("Okay, so.\n</think>\n\nYes.", "Okay, so.", "Yes.", "complete"),
    "closed only, one line": ("reasoning here </think> answer here", "reasoning here", "answer here", "complete"),
    "closed at once": ("</think>\n\nYes.", "", "Yes.", "none"),
    "unclosed": ("<think>\nOkay, so the", "Okay, so the", "", "truncated"),
    "only an opening": ("<think>", "", "", "truncated"),
    "half a closing": ("<think>\nOkay.\n</thi", "Okay.", "", "truncated"),
    "half an opening": ("<thin", "", "", "truncated"),
    "less-than stays": ("<think>\n3 <", "3 <", "", "truncated"),
    "empty answer": ("<think>\nOkay.\n</think>\n", "Okay.", "", "empty_answer"),
    "empty thought": ("<think>\n\n</think>\n\nYes.", "", "Yes.", "none"),
    "empty both": ("<think></think>", "", "", "none"),
    "empty, then thought": ("<think>\n</think>\nHm.\n</think>\nYes.", "Hm.", "Yes.", "complete"),
    "upper case": ("<THINK>Hm.</THINK>Yes.", "Hm.", "Yes.", "complete"),
    "mixed case": ("<Think>Hm.</think>Yes.", "Hm.", "Yes.", "complete"),
    "blanks in tags": ("< think >Hm.</ think >Yes.", "Hm.", "Yes.", "complete"),
    "line end in tag": ("<think\n>Hm.</think\n>Yes.", "Hm.", "Yes.", "complete"),
    "attributes": ('<think type="deep" n=1>Hm.</think>Yes.', "Hm.", "Yes.", "complete"),
    "escaped slash": ("<think>Hm.<\\/think>Yes.", "Hm.", "Yes.", "complete"),
    "windows lines": ("<think>\r\nHm.\r\n</think>\r\n\r\nYes.\r\n", "Hm.", "Yes.", "complete"),
    "byte order mark": ("\ufeff<think>Hm.</think>Yes.", "Hm.", "Yes.", "complete"),
    "zero width": ("\u200b<think>\u200bHm.</\u200bthink>\u200bYes.", "Hm.", "Yes.", "complete"),
    "end token": ("<think>Hm.</think>Yes.<|im_end|>", "Hm.", "Yes.", "complete"),
    "end tokens": ("<think>Hm.</think>Yes.</s>\n<|endoftext|>\n", "Hm.", "Yes.", "complete"),
    "turn header": ("<|im_start|>assistant\n<think>Hm.</think>Yes.", "Hm.", "Yes.", "complete"),
    "dangling quote": (
        '<think>\nThey ask "why.\n"  \n</think>\nYes "so".',
        'They ask "why.\n"',
        'Yes "so".',
        "complete",
    ),
    # repeated and nested
    "repeated": ("<think>a</think>b<think>c</think>d", "a\n\nc", "b\n\nd", "complete"),
    "repeated at once": ("<think>a</think><think>b</think>c", "a\n\nb", "c", "complete"),
    "repeated on lines": ("<think>\na\n</think>\nb\n<think>\nc\n</think>\nd", "a\n\nc", "b\n\nd", "complete"),
    "second one cut": ("<think>\na\n</think>\nb\n<think>\nc", "a\n\nc", "b", "truncated"),
    "opened twice": ("<think>\n<think>\nHm.\n</think>\nYes.", "Hm.", "Yes.", "complete"),
    "closed twice": ("<think>\nHm.\n</think>\n\n</think>\n\nYes.", "Hm.", "Yes.", "complete"),
    "closed again later": ("<think>\nHm.\n</think>\nYes.\n</think>\nSo.", "Hm.", "Yes.\n\nSo.", "complete"),
    "closed again at the end": ("<think>Hm.</think>Yes.</think>", "Hm.", "Yes.", "complete"),
    "nested": ("<think>a\n<think>b</think>\nc</think>d", "a\nb\nc", "d", "complete"),
    "pair told of in a thought": (
        "<think>They wrote <think>foo</think> there. Hm.</think>Yes.",
        *("They wrote <think>foo</think> there. Hm.", "Yes.", "complete"),
    ),
    "opened twice, closed at the end": ("<think>\n<think>Hm.</think>Yes.</think>", "Hm.", "Yes.", "complete"),
    "closed-only twice": ("a\n</think>\nb\n<think>\nc\n</think>\nd", "a\n\nc", "b\n\nd", "complete"),
    "wrong closing": ("<think>\nHm.\n</thinking>\nYes.", "Hm.", "Yes.", "complete"),
    # a preamble
    "preamble": ("Sure.\n<think>\nHm.\n</think>\nYes.", "Hm.", "Sure.\n\nYes.", "complete"),
    "preamble, one line": ("Sure. <think>Hm.</think> Yes.", "Hm.", "Sure.\n\nYes.", "complete"),
    # markdown
    "bold": ("**<think>**\nHm.\n**</think>**\nYes.", "Hm.", "Yes.", "complete"),
    "italic": ("*<think>*Hm.*</think>*Yes.", "Hm.", "Yes.", "complete"),
    "back-tick lines": ("`<think>`\nHm.\n`</think>`\nYes.", "Hm.", "Yes.", "complete"),
    "heading": ("### <think>\nHm.\n### </think>\nYes.", "Hm.", "Yes.", "complete"),
    "fenced thought": ("```\n<think>\nHm.\n</think>\n```\nYes.", "Hm.", "Yes.", "complete"),
    "fenced xml": ("```xml\n<think>Hm.</think>\n<answer>Yes.</answer>\n```", "Hm.", "Yes.", "complete"),
    # other names
    "thinking": ("<thinking>Hm.</thinking>Yes.", "Hm.", "Yes.", "complete"),
    "thought": ("<thought>\nHm.\n</thought>\n\nYes.", "Hm.", "Yes.", "complete"),
    "reasoning": ("<reasoning>Hm.</reasoning><answer>Yes.</answer>", "Hm.", "Yes.", "complete"),
    "reasoning, bare answer": ("<reasoning>Hm.</reasoning>\nYes.", "Hm.", "Yes.", "complete"),
    "seed": ("<seed:think>Hm.</seed:think>Yes.", "Hm.", "Yes.", "complete"),
    "longcat": ("<longcat_think>\nHm.\n</longcat_think>\nYes.", "Hm.", "Yes.", "complete"),
    "k2": ("<think_fast>Hm.</think_fast>Yes.", "Hm.", "Yes.", "complete"),
    "keye": ("<analysis>Simple.</analysis>Yes.", "Simple.", "Yes.", "complete"),
    "backslash": ("<think>Hm.<\\think>Yes.", "Hm.", "Yes.", "complete"),
    "s1": ("<|im_start|>think\nHm.\n<|im_start|>answer\nYes.", "Hm.", "Yes.", "complete"),
    "odd back-tick": ("<think>The ` key.</think>The `x`.", "The ` key.", "The `x`.", "complete"),
    "closed after a word": ("I go with </think>\n\nYes.", "I go with", "Yes.", "complete"),
    "the word tag after": ("Hm.\n</think>Tag it.", "Hm.", "Tag it.", "complete"),
    "answer closed only": ("<think>Hm.</think>Yes.</answer>", "Hm.", "Yes.", "complete"),
    "answer first": ("<answer>Yes.</answer><think>Hm.</think>", "Hm.", "Yes.", "complete"),
    "kimi": ("◁think▷Hm.◁/think▷Yes.", "Hm.", "Yes.", "complete"),
    "kimi closed only": ("Hm.◁/think▷Yes.", "Hm.", "Yes.", "complete"),
    "kimi cut": ("◁think▷Hm.◁/thi", "Hm.", "", "truncated"),
    "magistral": ("[THINK]Hm.[/THINK]Yes.", "Hm.", "Yes.", "complete"),
    "cohere": (
        "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>",
        *("Hm.", "Yes.", "complete"),
    ),
    "gemma": ("<|channel>thought\nHm.<channel|>Yes.<turn|>", "Hm.", "Yes.", "complete"),
    "gemma, no thought": ("<|channel>thought\n<channel|>Yes.", "", "Yes.", "none"),
    "openthinker": (
        "<|begin_of_thought|>\n\nHm.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nYes.\n\n<|end_of_solution|>",
        *("Hm.", "Yes.", "complete"),
    ),
    "openthinker cut": ("<|begin_of_thought|>\n\nHm.\n\n<|end_of_th", "Hm.", "", "truncated"),
    "marco": ("<Thought>\nHm.\n</Thought>\n<Output>\nYes.\n</Output>", "Hm.", "Yes.", "complete"),
    "ernie": ("<think>\nHm.\n</think>\n\n<response>\nYes.\n</response>\n", "Hm.", "Yes.", "complete"),
    "glm": (
        "<think>Hm.</think><answer>It is <|begin_of_box|>B<|end_of_box|>.</answer>",
        *("Hm.", "It is B.", "complete"),
    ),
    # answer tags
    "hunyuan": ("<think>\nHm.\n</think>\n<answer>\nYes.\n</answer>", "Hm.", "Yes.", "complete"),
    "answer cut": ("<think>Hm.</think><answer>Ye", "Hm.", "Ye", "complete"),
    "answer half closed": ("<think>Hm.</think><answer>Yes.</answ", "Hm.", "Yes.", "complete"),
    "answer in text": ("<think>Hm.</think>So: <answer>4</answer>.", "Hm.", "So: 4.", "complete"),
    "thought not closed": ("<think>Hm.\n<answer>Yes.</answer>", "Hm.", "Yes.", "complete"),
    "answer within thought": (
        "<think>Hm. <answer>4</answer></think>",
        *("Hm. <answer>4</answer>", "", "empty_answer"),
    ),
    "answer alone": ("<answer>Yes.</answer>", "", "Yes.", "none"),
    "text, then answer": ("We add two.\n<answer>4</answer>", "We add two.", "4", "complete"),
    "final answer tag": ("<think>Hm.</think>\n<final_answer>4</final_answer>", "Hm.", "4", "complete"),
    "empty answer tag": ("<think>Hm.</think><answer></answer>", "Hm.", "", "empty_answer"),
    # stages
    "llava-cot": (
        "<SUMMARY> S. </SUMMARY>\n\n<CAPTION> C. </CAPTION>\n\n<REASONING> R. </REASONING>\n\n"
        "<CONCLUSION> A </CONCLUSION>",
        *("S.\n\nC.\n\nR.", "A", "complete"),
    ),
    "llava-cot cut": ("<SUMMARY>S.</SUMMARY><CAPTION>C", "S.\n\nC", "", "truncated"),
    "llava-cot, no conclusion": ("<SUMMARY>S.</SUMMARY><REASONING>R.</REASONING>", "S.\n\nR.", "", "empty_answer"),
    "visionary": ("<info>I.</info><think>T.</think><answer>A</answer>", "I.\n\nT.", "A", "complete"),
    "html summary": ("<summary>All</summary> of it.", "", "<summary>All</summary> of it.", "none"),
    # harmony
    "harmony": (
        f"<|channel|>analysis<|message|>Hm.<|end|>{H}<|channel|>final<|message|>Yes.<|return|>",
        *("Hm.", "Yes.", "complete"),
    ),
    "harmony, full head": (
        f"{H}<|channel|>analysis<|message|>Hm.<|end|>{H}<|channel|>final<|message|>Yes.",
        *("Hm.", "Yes.", "complete"),
    ),
    "harmony cut": ("<|channel|>analysis<|message|>Hm", "Hm", "", "truncated"),
    "harmony, head cut": (f"<|channel|>analysis<|message|>Hm.<|end|>{H}<|chan", "Hm.", "", "empty_answer"),
    "harmony, no answer": ("<|channel|>analysis<|message|>Hm.<|end|>", "Hm.", "", "empty_answer"),
    "harmony, answer only": ("<|channel|>final<|message|>Yes.<|return|>", "", "Yes.", "none"),
    "harmony, commentary": (
        f"<|channel|>analysis<|message|>Hm.<|end|>{H}<|channel|>commentary to=functions.f "
        f"<|constrain|>json<|message|>{{}}<|call|>{H}<|channel|>final<|message|>Yes.<|return|>",
        *("Hm.\n\n{}", "Yes.", "complete"),
    ),
    "harmony, opened": (f"Hm.<|end|>{H}<|channel|>final<|message|>Yes.", "Hm.", "Yes.", "complete"),
    "harmony without tokens": ("analysisWe add.assistantfinalFour.", "We add.", "Four.", "complete"),
    "harmony without tokens, cut": ("analysisWe ad", "We ad", "", "truncated"),
    "the word analysis": ("analysis of variance is useful", "", "analysis of variance is useful", "none"),
    "harmony explained": (
        "A reply opens with <|channel|>analysis<|message|> and so on.",
        *("", "A reply opens with <|channel|>analysis<|message|> and so on.", "none"),
    ),
    # headings and phrases
    "mulberry": (MULBERRY + "B", MULBERRY.rpartition("###")[0].strip(), "B", "complete"),
    "mulberry cut": (MULBERRY[:90].strip(), MULBERRY[:90].strip(), "", "truncated"),
    "a described image": ("### Image Description:\nA cup.", "", "### Image Description:\nA cup.", "none"),
    "steps of a recipe": ("### Step 1:\nBoil.\n### Step 2:\nEat.", "", "### Step 1:\nBoil.\n### Step 2:\nEat.", "none"),
    "granite": ("Here is my thought process:\nHm.\nHere is my response:\nYes.", "Hm.", "Yes.", "complete"),
    "granite, one line": ("Here's my thought process: Hm. Here's my response: Yes.", "Hm.", "Yes.", "complete"),
    "apriel": (
        "Here are my reasoning steps:\nHm.\n[BEGIN FINAL RESPONSE]\nYes.\n[END FINAL RESPONSE]",
        *("Hm.", "Yes.", "complete"),
    ),
    "huatuo": ("## Thinking\n\nHm.\n\n## Final Response\n\nYes.", "Hm.", "Yes.", "complete"),
    # a thought that speaks about tags
    "code span in thought": (
        "<think>\nUse `</think>` here.\n</think>\nYes.",
        "Use `</think>` here.",
        "Yes.",
        "complete",
    ),
    "quoted in thought": (
        '<think>End with "</think>" then.</think>Yes.',
        'End with "</think>" then.',
        "Yes.",
        "complete",
    ),
    "spoken about in thought": (
        "<think>The </think> tag ends.</think>Yes.",
        "The </think> tag ends.",
        "Yes.",
        "complete",
    ),
    "fence in thought": (
        "<think>\n```\n</think>\n```\nHm.\n</think>\nYes.",
        *("```\n</think>\n```\nHm.", "Yes.", "complete"),
    ),
    "open fence in thought": (
        "<think>\n```python\nx = 1\n</think>\nYes.\n```python\ny\n```",
        *("```python\nx = 1", "Yes.\n```python\ny\n```", "complete"),
    ),
    "opening in thought": (
        "The <think> tag is asked for.\n</think>\nYes.",
        "The <think> tag is asked for.",
        "Yes.",
        "complete",
    ),
}

# Texts that only speak about marks, or show them: all of it is answer.
NO_TAGS = {
    "tag in prose": "Use the <think> tag.",
    "pair in prose": "Use <think> and </think> around thoughts.",
    "first in prose": "<think> and </think> are the tags of R1.",
    "first, then is": "<think> is the tag that begins thoughts.",
    "closing in prose": "Always end with the </think> tag.",
    "with dots": "Models write <think>...</think> before they answer.",
    "code spans": "Use `<think>` and `</think>`.",
    "code span of a pair": "Write `<think>x</think>` first.",
    "double quotes": 'The word "<think>" opens, "</think>" closes.',
    "curly quotes": "The word “<think>” opens, “</think>” closes.",
    "single quotes": "The word '<think>' opens, '</think>' closes.",
    "corner quotes": "用「<think>」开始，用「</think>」结束。",
    "chinese prose": "使用<think>和</think>标签包裹思考过程。",
    "code block": "Like this:\n```xml\n<think>\nx\n</think>\n```\nSee?",
    "tilde block": "Like this:\n~~~\n<think>\nx\n</think>\n~~~\nSee?",
    "block alone": "```xml\n<think>\nx\n</think>\n```",
    "code block in python": '```python\nprint("<think>")\nprint("</think>")\n```\nDone.',
    "json": '{"answer": "<think> a </think> b"}',
    "json closing": '{"text": "a </think> b", "n": 1}',
    "list of names": "- `<think>`\n- `</think>`",
    "answer tag in prose": "Put it in <answer> tags.",
    "empty answer tags": "Put it between <answer></answer>.",
    "maths": "If a <b and c> d then 1 < 2.",
    "html": "<details><summary>More</summary>text</details>",
    "no tag at all": "I am thinking </thinker> about <thinkers>.",
}


@pytest.mark.parametrize("name", CASES)
def test_what_models_emit(name: str) -> None:
    raw, reasoning, answer, state = CASES[name]
    assert split_thought(raw) == Split(reasoning, answer, state)


@pytest.mark.parametrize("name", NO_TAGS)
def test_a_mere_mention_is_not_a_tag(name: str) -> None:
    assert split_thought(NO_TAGS[name]) == Split("", NO_TAGS[name], "none")


@pytest.mark.parametrize("name", NO_TAGS)
def test_an_answer_may_speak_of_tags_after_a_thought(name: str) -> None:
    if name == "block alone":
        return
    split = split_thought(f"<think>\nHm.\n</think>\n\nWell: {NO_TAGS[name]}")
    assert split == Split("Hm.", f"Well: {NO_TAGS[name]}", "complete")


def test_a_template_that_opened_the_thought() -> None:
    assert split_thought("Hm", opened=True) == Split("Hm", "", "truncated")
    assert split_thought("Hm.\n</think>\nYes.", opened=True) == Split("Hm.", "Yes.", "complete")
    assert split_thought("The </think> Yes.", opened=True) == Split("The", "Yes.", "complete")
    assert split_thought("<think>Hm.</think>Yes.", opened=True) == Split("Hm.", "Yes.", "complete")
    assert split_thought("Hm. <answer>4</answer>", opened=True) == Split("Hm.", "4", "complete")
    assert split_thought("", opened=True).state == "truncated"


def test_hints() -> None:
    assert split_thought("<think>a</think>b", format="plain") == Split("", "<think>a</think>b", "none")
    qvq = "So we count.\n\n**Final Answer**\n\n\\boxed{4}"
    assert split_thought(qvq) == Split("", qvq, "none")
    assert split_thought(qvq, format="final_heading") == Split("So we count.", "\\boxed{4}", "complete")
    assert split_thought("<think>a</think>b", format="tags") == Split("a", "b", "complete")
    assert split_thought("<think>a</think>b", format="mulberry") == Split("a", "b", "complete")
    for name in FORMATS:
        assert split_thought("Yes.", format=name).answer == "Yes."
    with pytest.raises(UsageError, match="unknown thought format 'tgas'; known: tags"):
        split_thought("", format="tgas")


def test_a_field_of_its_own() -> None:
    assert split_thought("Yes.", native="Hm.\n") == Split("Hm.", "Yes.", "complete")
    assert split_thought("", native="Hm.") == Split("Hm.", "", "empty_answer")
    assert split_thought("Yes.", native="") == Split("", "Yes.", "none")
    assert split_thought("Yes.", native="", opened=True) == Split("", "Yes.", "none")
    assert split_thought("<think>Hm.</think>Yes.", native="") == Split("Hm.", "Yes.", "complete")
    assert split_thought("<think>\nHm.\n</think>\nYes.", native="Hm.") == Split("Hm.", "Yes.", "complete")
    assert split_thought("</think>\n\nYes.", native="Hm.") == Split("Hm.", "Yes.", "complete")
    assert split_thought("<think>More.</think>Yes.", native="Hm.") == Split("Hm.\n\nMore.", "Yes.", "complete")
    assert split_thought("<answer>Yes.</answer>", native="Hm.") == Split("Hm.", "Yes.", "complete")
    thought = "A thought that is long enough to be no coincidence."
    assert split_thought(f"{thought}\n\nYes.", native=thought) == Split(thought, "Yes.", "complete")
    assert split_thought("Use the <think> tag.", native="Hm.") == Split("Hm.", "Use the <think> tag.", "complete")


def test_what_the_caller_knows_besides() -> None:
    none, complete = Split("", "Yes.", "none"), Split("Hm.", "Yes.", "complete")
    assert with_withheld(none, 12).state == "withheld"
    assert with_withheld(none, 0) == none
    assert with_withheld(none, None) == none
    assert with_withheld(complete, 12) == complete
    cut = Split("Hm.", "", "empty_answer")
    assert with_finish(cut, "length", native=True).state == "truncated"
    assert with_finish(cut, "length", native=False) == cut
    assert with_finish(cut, "stop", native=True) == cut


# ---- properties -----------------------------------------------------------------------------------------------------

_MARKS = [
    *(f"<{name}>" for name in ("think", "THINK", "thinking", "answer", "reasoning", "SUMMARY", "CONCLUSION")),
    *(f"</{name}>" for name in ("think", "THINK", "thinking", "answer", "reasoning", "SUMMARY", "CONCLUSION")),
    *(
        "**<think>**",
        "`</think>`",
        "</thi",
        "<thi",
        "< think >",
        "```",
        "```xml\n",
        "~~~",
        "`",
        '"',
        "**",
        "\n",
        " ",
        "x",
        "Ab. ",
    ),
    *(
        "◁think▷",
        "◁/think▷",
        "<|channel|>analysis<|message|>",
        "<|channel|>final<|message|>",
        "<|end|>",
        "<|start|>assistant",
    ),
    *(
        "[THINK]",
        "[/THINK]",
        "<|begin_of_thought|>",
        "<|end_of_thought|>",
        "<|begin_of_box|>",
        "<|end_of_box|>",
        "</s>",
    ),
    *(
        "### Rationales:",
        "### Step 1:",
        "### The final answer is:",
        "Here is my thought process:",
        "Here is my response:",
    ),
    *(
        "analysisWe",
        "assistantfinal",
        "[BEGIN FINAL RESPONSE]",
        "[END FINAL RESPONSE]",
        "\ufeff",
        "\r\n",
        "the ",
        " tag ",
    ),
]
_SOUP = st.lists(st.sampled_from(_MARKS) | st.text(max_size=6), max_size=14).map("".join)
_SOUP_OR_TEXT = _SOUP | st.text()


@settings(max_examples=400, deadline=None)
@given(_SOUP_OR_TEXT, st.booleans(), st.sampled_from([None, *FORMATS]))
@example("```\n<think>a</think>b\n```", False, None)
def test_nothing_is_lost_or_doubled(raw: str, opened: bool, format: str | None) -> None:
    pieces, _ = cuts(raw, format=format, opened=opened)
    assert "".join(raw[c.start : c.end] for c in pieces) == raw
    assert all(a.end == b.start for a, b in pairwise(pieces))
    split = split_thought(raw, format=format, opened=opened)
    for kind, text in (("thought", split.reasoning), ("answer", split.answer)):
        kept = "".join(raw[c.start : c.end] for c in pieces if c.kind == kind)
        assert _bare(kept) == _bare(text)
        assert text == text.strip(BLANK)


@settings(max_examples=300, deadline=None)
@given(_SOUP_OR_TEXT, st.booleans())
def test_only_marks_are_removed(raw: str, opened: bool) -> None:
    """Every removed piece is blank or holds one of the known marks, and is short."""
    pieces, _ = cuts(raw, opened=opened)
    for piece in pieces:
        text = raw[piece.start : piece.end].strip(BLANK)
        if piece.kind in ("mark", "edge") and text:
            assert any(sign in text for sign in "<>◁▷[`~:#") or text in (
                "analysis",
                "assistantfinal",
                "assistantanalysis",
            )


@settings(max_examples=300, deadline=None)
@given(_SOUP_OR_TEXT, st.booleans(), st.none() | st.text(max_size=20))
def test_the_state_says_what_is_there(raw: str, opened: bool, native: str | None) -> None:
    split = split_thought(raw, native=native, opened=opened)
    if split.state == "none":
        assert split.reasoning == ""
    if split.state == "complete":
        assert split.reasoning
        assert split.answer
    if split.state == "empty_answer":
        assert split.reasoning
        assert not split.answer
    assert split.state != "withheld"


_WORDS = st.text(alphabet=st.characters(categories=["L", "Nd"], include_characters=" ,.\n"), min_size=1)
_CLEAN = _WORDS.map(lambda t: t.strip(BLANK)).filter(lambda t: t and not t.startswith("analysis"))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="<>◁▷[]#`~|")).filter(lambda t: "process" not in t))
def test_text_without_tags_is_an_answer(text: str) -> None:
    split = split_thought(text)
    if not text.strip(BLANK).startswith("analysis"):
        assert split == Split("", text.strip(BLANK), "none")
    assert split_thought(split.answer) == split


_BUILDERS = {
    "think": "<think>\n{t}\n</think>\n\n{a}",
    "closed only": "{t}\n</think>\n\n{a}",
    "answer": "<think>{t}</think><answer>{a}</answer>",
    "stages": "<SUMMARY>{t}</SUMMARY><CONCLUSION>{a}</CONCLUSION>",
    "harmony": "<|channel|>analysis<|message|>{t}<|end|><|start|>assistant<|channel|>final<|message|>{a}<|return|>",
    "solution": "<|begin_of_thought|>{t}<|end_of_thought|><|begin_of_solution|>{a}<|end_of_solution|>",
    "granite": "Here is my thought process:\n{t}\nHere is my response:\n{a}",
    "huatuo": "## Thinking\n\n{t}\n\n## Final Response\n\n{a}",
    "apriel": "Here are my reasoning steps:\n{t}\n[BEGIN FINAL RESPONSE]\n{a}\n[END FINAL RESPONSE]",
    **{name: f"<{name}>\n{{t}}\n</{name}>\n{{a}}" for name in sorted(THOUGHT_TAGS)},
    **{f"answer {name}": f"<think>{{t}}</think>\n<{name}>{{a}}</{name}>" for name in sorted(ANSWER_TAGS)},
    "kimi": "◁think▷{t}◁/think▷{a}",
    "magistral": "[THINK]{t}[/THINK]{a}",
    "cohere": "<|START_THINKING|>{t}<|END_THINKING|>{a}",
    "piped": "<|think|>{t}<|/think|>{a}",
    "gemma": "<|channel>thought\n{t}<channel|>{a}",
}


@pytest.mark.parametrize("name", _BUILDERS)
@settings(max_examples=15, deadline=None)
@given(thought=_CLEAN, answer=_CLEAN)
def test_round_trip(name: str, thought: str, answer: str) -> None:
    raw = _BUILDERS[name].format(t=thought, a=answer)
    assert split_thought(raw) == Split(thought, answer, "complete")


@pytest.mark.parametrize(
    "raw",
    [
        "x" * 3_000_000,
        "<" * 1_000_000,
        "`" * 1_000_000,
        " " * 2_000_000 + "x",
        "<think>" + "word " * 500_000 + "</think>" + "word " * 100_000,
        "#" * 1_000_000,
        "### " * 200_000,
        "<think " + "a" * 1_000_000,
        "<think>" * 30_000,
        "</think>" * 30_000,
        "the <think> tag " * 20_000,
        "<think>x</think>y " * 10_000,
        "<think>\n" * 20_000,
        "```\n" * 200_000,
        "<|end|>" * 100_000,
        "<|channel|>analysis" * 50_000,
        "<|channel|>analysis<|message|>x" * 30_000,
        "<answer>" * 30_000,
        "<|im_end|>" * 100_000,
        "[END FINAL RESPONSE]" * 50_000,
        "Here is my thought process:" + "Here is my response:" * 50_000,
        "<think>" + "</think> tag " * 20_000,
        "<think>" + "\n" * 1_000_000,
    ],
    ids=lambda raw: raw[:12].strip() or "blank",
)
def test_long_texts_take_linear_time(raw: str) -> None:
    start = time.perf_counter()
    split_thought(raw)
    split_thought(raw, opened=True)
    # Generous for a busy machine: a quadratic step would take minutes.
    assert time.perf_counter() - start < 10


def _bare(text: str) -> str:
    return "".join(c for c in text if c not in BLANK)


def test_the_tables_are_sound() -> None:
    assert not THOUGHT_TAGS & ANSWER_TAGS
    assert not STAGE_TAGS & (THOUGHT_TAGS | ANSWER_TAGS)
    assert len({name for name, *_ in PAIRS}) == len(PAIRS)
