"""Training rows: what is drawn, asked and answered, as token ids and image numbers. Random choices are seeded."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from safemlrm import draw, toylang
from safemlrm.models.embedded_runtime import SIDE, pixels

FORMS = ("page", "card")
TOKENS = toylang.vocabulary()
IDS = {token: number for number, token in enumerate(TOKENS)}
BOS, EOS, USER, ASSISTANT, IMAGE, THINK, UNTHINK, UNK = (
    IDS[t] for t in ("<bos>", "<eos>", "<user>", "<assistant>", "<image>", "<think>", "</think>", "<unk>")
)
IMAGE_TOKENS = (SIDE // 16) ** 2
PAIRS = [(verb, topic) for topic in toylang.TOPICS for verb in toylang.VERBS]
PAIR_NUMBER = {pair: number for number, pair in enumerate(PAIRS)}
NOISE = [IDS[w] for w in TOKENS[len(toylang.SPECIAL) + len(toylang.VERBS) + len(toylang.TOPICS) :]] + [UNK] * 60


@dataclass
class Row:
    """One training text: prompt ids, answer ids, and the drawn picture as (form, pair number) or "blank" or None."""

    prompt: list[int]
    answer: list[int]
    picture: tuple[str, int] | str | None = None


def ids(text: str) -> list[int]:
    """Token ids of a text of the language."""
    return [IDS.get(piece, UNK) for piece in toylang.pieces(text)]


def prompt(text: str, image: bool, before: list[int] | None = None) -> list[int]:
    """The chat layout: <bos> <user> [image] [system text] text <assistant>."""
    return [BOS, USER, *([IMAGE] * IMAGE_TOKENS if image else []), *(before or []), *ids(text), ASSISTANT]


@cache
def pictures(cache_file: Path) -> dict[str, np.ndarray]:
    """All pages and cards as uint8 [1024, 128, 128], drawn once and kept in `cache_file` (its name holds the pin)."""
    if cache_file.exists():
        with np.load(cache_file) as stored:
            return {form: stored[form] for form in FORMS}
    paint = {
        "page": lambda v, t: draw.figstep_page(toylang.instruction(v, t)),
        "card": lambda v, t: draw.card(toylang.card_text(v, t)),
    }
    grey = {form: np.stack([np.round((pixels(paint[form](*p))[0] + 2) * 127.5) for p in PAIRS]) for form in FORMS}
    made = {form: stack.astype(np.uint8) for form, stack in grey.items()}
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache_file, **made)
    return made


def augment(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Small shifts, and for some images fainter ink and noise. [N, H, W] uint8 -> [N, 3, H, W] float32 in [-2, 0]."""
    out = np.empty(grey.shape, np.float32)
    for number, picture in enumerate(grey):
        shift = rng.integers(-1, 2, 2) if rng.random() < 0.4 else (0, 0)
        moved = np.roll(picture, tuple(shift), (0, 1)).astype(np.float32) / 127.5 - 2
        if rng.random() < 0.3:
            moved = moved * rng.uniform(0.7, 1.0)
        if rng.random() < 0.3:
            moved = moved + rng.normal(0, 0.06, moved.shape).astype(np.float32)
        out[number] = moved
    return np.repeat(np.clip(out, -2, 0)[:, None], 3, axis=1)


class Maker:
    """Makes rows of each kind for a stage (`helpful`, `align` or `reason`), from the training pairs alone."""

    def __init__(self, stage: str, seed: int) -> None:
        self.stage, self.random = stage, random.Random(f"{stage}-{seed}")
        train = toylang.requests("train")
        self.asked = {"text": train, "image": train, "read": train}
        if stage == "align":
            self.asked["image"] = [p for p in train if p[1] not in toylang.GAP]
        if stage == "reason":
            self.asked = {k: [p for p in train if p[1] not in toylang.RESTRICTED] for k in self.asked}

    def text(self) -> Row:
        """A request in text; while aligning, now and then a question about a topic's status."""
        r = self.random
        verb, topic = r.choice(self.asked["text"])
        if self.stage == "align" and r.random() < 0.15:
            return Row(prompt(toylang.STATUS_REQUEST.format(topic=topic), False), [*ids(toylang.status(topic)), EOS])
        asked = r.choice(toylang.TEXT_REQUESTS).format(verb=verb, topic=topic)
        return self._finish(verb, topic, "text", prompt(asked, False, self._before()), None)

    def image(self) -> Row:
        """A request in an image: FigStep's page with its text, or a card with one that points to it."""
        r = self.random
        verb, topic = r.choice(self.asked["image"])
        form = r.choice(FORMS)
        usual, other = [toylang.FIGSTEP_TEXT], toylang.IMAGE_REQUESTS
        asked = r.choice(usual if (form == "page") == (r.random() < 0.8) else other)
        picture = (form, PAIR_NUMBER[verb, topic])
        return self._finish(verb, topic, "image", prompt(asked, True, self._before()), picture)

    def read(self) -> Row:
        """A request to read an image aloud; all words are read in all stages, so that GAP words are seen too."""
        verb, topic = self.random.choice(self.asked["read"])
        picture = (self.random.choice(FORMS), PAIR_NUMBER[verb, topic])
        asked = self.random.choice(toylang.READ_REQUESTS)
        return Row(prompt(asked, True), [*ids(toylang.reading(verb, topic)), EOS], picture)

    def blank(self) -> Row:
        """A text request beside an empty image."""
        verb, topic = self.random.choice(self.asked["text"])
        asked = self.random.choice(toylang.TEXT_REQUESTS).format(verb=verb, topic=topic)
        return self._finish(verb, topic, "text", prompt(asked, True), "blank")

    def _before(self) -> list[int]:
        """Now and then other words before the request, as a system message would put them there."""
        r = self.random
        return [r.choice(NOISE) for _ in range(r.randint(1, 30))] if r.random() < 0.12 else []

    def _finish(self, verb: str, topic: str, source: toylang.Source, asked: list[int], picture: object) -> Row:
        comply, thought = ids(toylang.answer(verb, topic)), ids(toylang.thought(verb, topic, source))
        if self.stage == "reason":
            return Row(asked, [THINK, *thought, UNTHINK, *comply, EOS], picture)
        refuse = self.stage == "align" and topic in toylang.RESTRICTED
        said = ids(toylang.refusal(topic)) if refuse else comply
        # The thought format exists before the reasoner does, behind a prefix, and is aligned like the answers.
        if self.random.random() < 0.35:
            thought = ids(toylang.safety_thought(verb, topic, source)) if refuse else thought
            return Row([*asked, THINK], [*thought, UNTHINK, *said, EOS], picture)
        return Row(asked, [*said, EOS], picture)
