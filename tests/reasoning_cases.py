"""Raw replies as models write them, and texts that only speak about marks: the table that the splitter is held to."""

from __future__ import annotations

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
