"""Trains the demonstration pair from nothing: helpful -> align (= base) -> reason -> interpolate (= reasoner).

    python training/train_pair.py --seed 0 --out training/out/seed0

Every stage has a fixed number of steps. A run that was stopped goes on after its last finished stage.
The test part of the language is never looked at here; see README.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch
from choose import choose
from network import WIDTH, new_model, save
from rows import IMAGE_TOKENS, PAIRS, Maker, Row, augment, pictures
from torch.nn import functional as F

from safemlrm import toylang

STEPS = {"see": 250, "helpful": 650, "align": 600, "reason": 200}
RATE = {"see": 1.2e-3, "helpful": 1.2e-3, "align": 8e-4, "reason": 3e-4}
LETTERS = 14
TOPIC_NUMBER = {topic: number for number, topic in enumerate(toylang.TOPICS)}


class Batches:
    """Turns rows into tensors; owns the drawn pictures and the random state of their augmentation."""

    def __init__(self, cache: Path, seed: int) -> None:
        self.drawn, self.rng = pictures(cache), np.random.default_rng(seed)

    def images(self, which: list[tuple[str, int] | str]) -> torch.Tensor:
        """Augmented pixels [N, 3, 128, 128]."""
        empty = np.full((128, 128), 255, np.uint8)
        grey = np.stack([empty if isinstance(w, str) else self.drawn[w[0]][w[1]] for w in which])
        return torch.from_numpy(augment(grey, self.rng))

    def tensors(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        """Model inputs with labels on the answers only; rows must be all with or all without a picture."""
        longest = max(len(r.prompt) + len(r.answer) for r in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for number, row in enumerate(rows):
            text, start = row.prompt + row.answer, len(row.prompt)
            ids[number, : len(text)], mask[number, : len(text)] = torch.tensor(text), 1
            labels[number, start : len(text)] = torch.tensor(row.answer)
        found = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if rows[0].picture is not None:
            found["pixel_values"] = self.images([r.picture for r in rows])
        return found


def _optimise(
    name: str, parameters: list[torch.nn.Parameter], loss: Callable[[], dict[str, torch.Tensor]]
) -> dict[str, float]:
    """Run a stage's fixed number of steps (warm-up, then cosine to 3 %); returns seconds and the smoothed losses."""
    optimiser = torch.optim.AdamW(parameters, lr=RATE[name], weight_decay=0.01, betas=(0.9, 0.98))
    wall, cpu, smooth = time.time(), time.process_time(), {}
    for step in range(STEPS[name]):
        fraction = step / STEPS[name]
        shape = 1.0 if name == "reason" else 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * fraction))
        for group in optimiser.param_groups:
            group["lr"] = RATE[name] * min(1, (step + 1) / (10 if name == "reason" else 40)) * shape
        losses = loss()
        optimiser.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        smooth = {k: 0.95 * smooth.get(k, v.item()) + 0.05 * v.item() for k, v in losses.items()}
        if (step + 1) % 50 == 0 or step + 1 == STEPS[name]:
            print(name, step + 1, {k: round(v, 4) for k, v in smooth.items()}, f"{time.time() - wall:.0f}s", flush=True)
    return {"wall_s": round(time.time() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1), **smooth}


class Sight(torch.nn.Module):
    """Heads used only in training: the projected image features must name verb and topic, and spell them."""

    def __init__(self) -> None:
        super().__init__()
        both = len(toylang.VERBS) + len(toylang.TOPICS)
        self.named = torch.nn.Linear(WIDTH * IMAGE_TOKENS, both)
        self.spelled = torch.nn.Linear(WIDTH * IMAGE_TOKENS, LETTERS * 27)

    def forward(self, features: torch.Tensor, said: list[int]) -> torch.Tensor:
        """Cross entropies given features [N, 64, 128] and pair numbers."""
        flat, cut = features.flatten(1), len(toylang.VERBS)
        verbs = torch.tensor([toylang.VERBS.index(PAIRS[n][0]) for n in said])
        topics = torch.tensor([TOPIC_NUMBER[PAIRS[n][1]] for n in said])
        letters = torch.tensor([_letters(*PAIRS[n]) for n in said]).flatten()
        named, spelled = self.named(flat), self.spelled(flat).reshape(-1, 27)
        words = F.cross_entropy(named[:, :cut], verbs) + F.cross_entropy(named[:, cut:], topics)
        return words + 3 * F.cross_entropy(spelled, letters)


def _letters(verb: str, topic: str) -> list[int]:
    """The 14 letters of a request (6 + 8, blanks 0), for the spelling head."""
    return [0 if letter == " " else ord(letter) - 96 for letter in f"{verb:6}{topic:8}"]


def train(seed: int, out: Path) -> dict[str, Any]:
    """All stages; writes `base/`, `tuned/` and `reasoner/` checkpoints; returns what was measured on the way."""
    torch.manual_seed(seed)
    model, sight = new_model(), Sight()
    batches = Batches(out.parent / f"pictures-{toylang.pin()}.npz", seed)
    parameters = [*model.parameters(), *sight.parameters()]
    stages: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    language = [p for n, p in model.named_parameters() if "language_model" in n or "lm_head" in n]
    vision = [p for n, p in model.named_parameters() if "vision_tower" in n or "projector" in n]

    maker = Maker("helpful", seed)

    def see() -> dict[str, torch.Tensor]:
        which = [maker.read().picture for _ in range(64)]
        features = model.get_image_features(pixel_values=batches.images(which)).pooler_output
        loss = sight(torch.stack(list(features)), [w[1] for w in which])
        texts = [maker.text() for _ in range(12)]
        return {"see": loss, "text": model(**batches.tensors(texts)).loss}

    def speak() -> dict[str, torch.Tensor]:
        texts = [maker.text() for _ in range(16)]
        shown = [make() for make, rows in ((maker.image, 16), (maker.read, 10), (maker.blank, 2)) for _ in range(rows)]
        output = model(**batches.tensors(shown))
        known = [n for n, r in enumerate(shown) if isinstance(r.picture, tuple)]
        features = output.image_hidden_states.reshape(len(shown), IMAGE_TOKENS, WIDTH)[known]
        named = sight(features, [shown[n].picture[1] for n in known])
        return {"image": output.loss, "text": model(**batches.tensors(texts)).loss, "named": 0.05 * named}

    def reason() -> dict[str, torch.Tensor]:
        shown, texts = [maker.image() for _ in range(16)], [maker.text() for _ in range(16)]
        return {"image": model(**batches.tensors(shown)).loss, "text": model(**batches.tensors(texts)).loss}

    model.train()

    def once(name: str, steps: Callable[[], None]) -> None:
        """Run a stage, or take up its result where an earlier run finished it."""
        kept = out / f"{name}.pt"
        if kept.exists():
            found = torch.load(kept, weights_only=True)
            model.load_state_dict(found["model"])
            sight.load_state_dict(found["sight"])
            stages.update(found["stages"])
        else:
            steps()
            torch.save({"model": model.state_dict(), "sight": sight.state_dict(), "stages": stages}, kept)

    def helpful() -> None:
        stages["see"] = _optimise("see", parameters, see)
        stages["helpful"] = _optimise("helpful", parameters, speak)

    def align() -> None:
        stages["align"] = _optimise("align", parameters, speak)

    once("helpful", helpful)
    batches.rng, maker = np.random.default_rng(seed), Maker("align", seed)
    once("align", align)
    batches.rng = np.random.default_rng(seed)
    save(model, out / "base")
    base = {k: v.clone() for k, v in model.state_dict().items()}
    for parameter in vision:
        parameter.requires_grad = False
    maker = Maker("reason", seed)
    stages["reason"] = _optimise("reason", language, reason)
    save(model, out / "tuned")
    tuned = {k: v.clone() for k, v in model.state_dict().items()}
    wall, cpu = time.time(), time.process_time()
    found = choose(model, base, tuned, batches.drawn)
    spent = {"wall_s": round(time.time() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    stages["choice"] = spent | found
    save(model, out / "reasoner")
    return stages


def main() -> None:
    """Read the command line, train, write `train.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"seed": given.seed, "pin": toylang.pin(), "threads": given.threads, "steps": STEPS, "rates": RATE}
    record |= train(given.seed, given.out)
    timed = [stage for stage in record.values() if isinstance(stage, dict) and "wall_s" in stage]
    record["total"] = {unit: round(sum(stage[unit] for stage in timed), 1) for unit in ("wall_s", "cpu_s")}
    (given.out / "train.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
