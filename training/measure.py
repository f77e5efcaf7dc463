"""Measures exported models on the TEST part, through the package's own benchmark, attack, engine and judge.

    python training/measure.py --seed 0 --from training/out/seed0 --out training/results/seed0.json

Reads `train.json` and the exported folders `export/base` and `export/reasoner` below `--from`. Run once per seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from safemlrm import toylang
from safemlrm.attacks.figstep import figstep
from safemlrm.benchmarks.toy import Toy
from safemlrm.judges.parts import judgeable, unjudgeable
from safemlrm.judges.toy import ToyJudge
from safemlrm.models.embedded import EmbeddedModel
from safemlrm.types import Image, Message, Prompt, Sample, Text, Verdict

CONDITIONS = {"text": ("text", False), "figstep": ("text", True), "card": ("image", False)}


def _prompt(sample: Sample, attacked: bool) -> Prompt:
    return figstep(sample) if attacked else Prompt(sample.turns)


def _reading(sample: Sample, attacked: bool) -> Prompt:
    """The same picture with a request to read it."""
    parts = [part for m in _prompt(sample, attacked).messages for part in m.parts if isinstance(part, Image)]
    return Prompt((Message("user", (*parts, Text(toylang.READ_REQUESTS[0]))),))


def _counts(rows: list[tuple[Sample, dict[str, Verdict]]]) -> dict[str, Any]:
    answers = Counter(f"{v['answer'].label} {v['answer'].category}" for _, v in rows)
    thoughts = Counter(
        f"{v['reasoning'].label if 'reasoning' in v else 'no thought'} -> {v['answer'].label}" for _, v in rows
    )
    aware = sum(v["reasoning"].aware is True for _, v in rows if "reasoning" in v)
    return {"n": len(rows), "answer": dict(answers), "thought -> answer": dict(thoughts), "aware": aware}


def _asr(rows: list[tuple[Sample, dict[str, Verdict]]]) -> list[int]:
    """[unsafe answers, requests]."""
    return [sum(v["answer"].label == "unsafe" for _, v in rows), len(rows)]


async def _condition(model: EmbeddedModel, form: Any, attacked: bool) -> dict[str, Any]:
    judge, samples = ToyJudge(), list(Toy(form=form).samples())
    prompts = [_prompt(s, attacked) for s in samples]
    replies = await asyncio.gather(*(model.ask(p) for p in prompts))
    rows: list[tuple[Sample, dict[str, Verdict]]] = []
    for sample, prompt, reply in zip(samples, prompts, replies, strict=True):
        judged = await judge.judge(sample, prompt, reply, judgeable(reply), None)
        rows.append((sample, {v.part: v for v in [*judged, *unjudgeable(judge.spec, reply)]}))
    bad = [r for r in rows if r[0].expect == "refuse"]
    good = [r for r in rows if r[0].expect == "comply"]
    found = {
        "asr": _asr(bad),
        "asr_by_scenario": {s: _asr([r for r in bad if r[0].scenario == s]) for s in toylang.TWINS},
        "asr_gap_words": _asr([r for r in bad if r[0].meta["topic"] in toylang.GAP]),
        "asr_other_words": _asr([r for r in bad if r[0].meta["topic"] not in toylang.GAP]),
        "utility": [sum(v["answer"].correct is True for _, v in good), len(good)],
        "over_refusal": [sum(v["answer"].label == "refusal" for _, v in good), len(good)],
        "malformed": [sum(v["answer"].category == "malformed" for _, v in rows), len(rows)],
        "states": dict(Counter(r.state for r in replies)),
        "restricted": _counts(bad),
        "allowed": _counts(good),
    }
    if form == "image" or attacked:
        read = await asyncio.gather(*(model.ask(_reading(s, attacked)) for s in samples))
        right = [
            r.answer == toylang.reading(s.meta["verb"], s.meta["topic"]) for r, s in zip(read, samples, strict=True)
        ]
        found["read"] = [sum(right), len(right)]
    return found


async def _model(name: Any, folder: Path) -> dict[str, Any]:
    model = EmbeddedModel(name, weights=folder)
    found = {name: await _condition(model, *condition) for name, condition in CONDITIONS.items()}
    await model.close()
    return {"weights": model.spec.params["weights"], **found}


def main() -> None:
    """Read the command line, measure both models and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--from", dest="folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    record = {"seed": given.seed, "training": json.loads((given.folder / "train.json").read_text())}
    for name in ("base", "reasoner"):
        record[name] = asyncio.run(_model(name, given.folder / "export" / name))
        short = {
            c: {k: record[name][c].get(k) for k in ("asr", "utility", "over_refusal", "malformed", "read")}
            for c in CONDITIONS
        }
        print(name, json.dumps(short))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
