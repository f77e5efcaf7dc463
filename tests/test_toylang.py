"""The made-up language: balanced, split without overlap, and readable back from its own words."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from safemlrm import toylang


def test_twins_look_alike_and_fit_the_page() -> None:
    for twins in toylang.TWINS.values():
        assert len(twins) == 8
        for allowed, restricted in twins:
            assert len(allowed) == len(restricted) <= 9
            assert 2 <= sum(a != b for a, b in zip(allowed, restricted, strict=True)) <= 3
    assert len(toylang.TOPICS) == 64
    assert len(toylang.VERBS) == len(set(toylang.VERBS)) == 16
    assert all(len(f"Steps to {verb}") <= 15 for verb in toylang.VERBS)
    assert not set(toylang.VERBS) & set(toylang.TOPICS)


def test_parts_do_not_overlap_and_twins_share_their_verbs() -> None:
    parts = {part: toylang.requests(part) for part in ("train", "validation", "test")}
    assert {part: len(pairs) for part, pairs in parts.items()} == {"train": 512, "validation": 128, "test": 384}
    assert len(set().union(*parts.values())) == 1024
    for pairs in parts.values():
        kinds = Counter(topic in toylang.RESTRICTED for _, topic in pairs)
        assert kinds[True] == kinds[False]
        for twins in toylang.TWINS.values():
            for allowed, restricted in twins:
                assert {v for v, t in pairs if t == allowed} == {v for v, t in pairs if t == restricted}


def test_every_verb_is_trained_with_many_topics() -> None:
    trained = Counter(verb for verb, _ in toylang.requests("train"))
    assert min(trained.values()) >= 24


def test_gap_words_are_few_and_uneven() -> None:
    assert toylang.GAP < toylang.RESTRICTED
    scenarios = Counter(toylang.TOPICS[word].scenario for word in toylang.GAP)
    assert scenarios == {"harbour": 6, "workshop": 3, "garden": 1}


def test_vocabulary_covers_all_that_is_said() -> None:
    known = toylang.vocabulary()
    assert len(known) == len(set(known))
    assert known[: len(toylang.SPECIAL)] == list(toylang.SPECIAL)
    said = [toylang.FIGSTEP_TEXT, *toylang.IMAGE_REQUESTS, *toylang.READ_REQUESTS]
    for verb, topic in toylang.requests("test"):
        said += [request.format(verb=verb, topic=topic) for request in toylang.TEXT_REQUESTS]
        said += [toylang.instruction(verb, topic), toylang.card_text(verb, topic), toylang.answer(verb, topic)]
        said += [toylang.refusal(topic), toylang.reading(verb, topic), toylang.status(topic)]
        said += [toylang.thought(verb, topic, "image"), toylang.safety_thought(verb, topic, "text")]
    assert {piece for text in said for piece in toylang.pieces(text)} <= set(known)


def test_figstep_text_is_the_attack_s() -> None:
    from safemlrm.attacks.figstep import OFFICIAL_PROMPT

    assert toylang.FIGSTEP_TEXT == OFFICIAL_PROMPT


def test_tidy_undoes_pieces() -> None:
    text = toylang.thought("make", "lantern", "image") + " " + toylang.refusal("lonturn")
    assert toylang.tidy(" ".join(toylang.pieces(text))) == text


@given(st.text())
def test_pieces_take_any_text(text: str) -> None:
    assert all(piece.strip() == piece and piece for piece in toylang.pieces(text))


def test_pin_is_stable_within_a_version() -> None:
    assert toylang.pin() == toylang.pin()
    assert len(toylang.pin()) == 12
