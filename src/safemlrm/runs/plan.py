"""From options to a plan: components built, names checked, samples chosen, every question named."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from safemlrm.errors import DataError, UsageError
from safemlrm.images import checked, map_images
from safemlrm.models.providers import ModelOptions, open_model
from safemlrm.registry import build, find, load_plugin, nearest, parse, short
from safemlrm.runs.controls import apply_control, check_control
from safemlrm.runs.options import RunOptions
from safemlrm.runs.select import choose
from safemlrm.settings import Settings
from safemlrm.types import Ask, Image, Judge, Key, Model, Prompt, Response, Sample, Spec

if TYPE_CHECKING:
    from safemlrm.models.limits import Limits

JUDGE_TOKENS = 2048


class Benchmark(Struct, frozen=True):
    """A benchmark of the plan; `name` is `name@pin`, as in every Key."""

    name: str
    loader: Any


class Attack(Struct, frozen=True):
    """An attack of the plan."""

    name: str
    spec: Spec
    make: Callable[[Sample], Prompt]


class Defense(Struct, frozen=True):
    """A chain of defenses of the plan, the outermost first."""

    name: str
    steps: tuple[Callable[[Prompt, Ask], Awaitable[Response]], ...]


class Target(Struct, frozen=True):
    """A model of the plan by the name it has in the run's files."""

    name: str
    model: Model


class Question(Struct, frozen=True):
    """One question to one model: the key, the prompt, and what to defend it with."""

    key: Key
    sample: Sample
    prompt: Prompt
    defense: Defense
    target: Target


class Plan:
    """Everything a run needs, checked before the first call; with `asking=False` its judges, and nothing to ask."""

    def __init__(self, options: RunOptions, settings: Settings, *, asking: bool = True) -> None:
        def asked(texts: list[str]) -> list[str]:
            return texts if asking else []

        for plugin in options.plugin:
            load_plugin(plugin)
        self.options = options
        self.settings = settings
        self.attacks = [_attack(text) for text in asked(options.attack)]
        self.defenses = [_defense(text) for text in asked(options.defense)]
        self.controls = [check_control(name) for name in asked(options.control)]
        servers: dict[str, Limits] = {}
        self.judges, self.judge_model = make_judges(options, settings, servers)
        names = dict.fromkeys(asked([*options.base, *options.model]))
        self.models = {name: open_model(name, model_options(options), settings, servers) for name in names}
        self.targets = [Target(short(model.spec), model) for model in self.models.values()]
        self.benchmarks = [_benchmark(text, options.data) for text in asked(options.benchmark)]
        named = {text.partition(":")[0] for text in options.benchmark}
        for name in options.data.keys() - named - {""}:
            raise UsageError(f"--data {name}=...: benchmark '{name}' is not part of this run{nearest(name, named)}")
        _refuse_twins("benchmark", [b.name for b in self.benchmarks])
        _refuse_twins("attack", [a.name for a in self.attacks])
        _refuse_twins("judge", [short(j.spec) for j in self.judges])

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(base, reasoning model) by the names used in the run's files."""
        return [(short(self.models[a].spec), short(self.models[b].spec)) for a, b in self.options.pairs]

    @property
    def conditions(self) -> int:
        """Questions per sample: attacks x defenses x controls x repeats x models."""
        grid = len(self.attacks) * len(self.defenses) * len(self.controls)
        return grid * self.options.repeats * len(self.models)

    def samples(self) -> Iterator[Sample]:
        """The chosen samples of all benchmarks, checked, with `benchmark` set to `name@pin`.

        Raises:
            DataError: bad files, a repeated id, or a benchmark without a sample.
        """
        for benchmark in self.benchmarks:
            limit = self.options.limit
            chosen = None if limit is None else choose(benchmark.loader.samples(), limit, self.options.seed)
            seen: set[str] = set()
            for sample in benchmark.loader.samples():
                if sample.id in seen:
                    raise DataError(f"benchmark '{benchmark.name}': id '{sample.id}' occurs twice; make the ids unique")
                seen.add(sample.id)
                if chosen is None or sample.id in chosen:
                    yield _checked(sample, benchmark.name)
            if not seen:
                raise DataError(f"benchmark '{benchmark.name}': no samples in its files; check --data")

    def prompts(self, sample: Sample) -> Iterator[tuple[Key, Callable[[], Prompt]]]:
        """For each attack and control: the key of the prompt and a function that makes it."""
        for attack, control in product(self.attacks, self.controls):
            key = Key(sample.benchmark, sample.id, attack=attack.name, control=control)
            yield key, partial(make_prompt, attack, control, sample)

    def keys(self, prompt_key: Key) -> Iterator[tuple[Key, Defense, Target]]:
        """The questions that share one prompt: each defense, repeat and model."""
        for defense, repeat in product(self.defenses, range(self.options.repeats)):
            key = msgspec.structs.replace(prompt_key, defense=defense.name, repeat=repeat)
            for target in self.targets:
                yield key, defense, target


def make_prompt(attack: Attack, control: str, sample: Sample) -> Prompt:
    """The prompt of a sample under an attack and a control, images checked."""
    prompt = apply_control(control, attack.make(sample))
    return msgspec.structs.replace(prompt, messages=map_images(prompt.messages, checked), attack=attack.spec)


def _checked(sample: Sample, benchmark: str) -> Sample:
    for image in sample.meta.get("attack_images", {}).values():
        checked(msgspec.convert(image, Image))
    return msgspec.structs.replace(sample, benchmark=benchmark, turns=map_images(sample.turns, checked))


def _benchmark(text: str, data: dict[str, str]) -> Benchmark:
    spec = parse("benchmark", text)
    context: dict[str, Any] = {}
    folder = data.get(spec.name, data.get(""))
    if folder is not None:
        path = Path(folder).expanduser()
        if not path.exists():
            raise DataError(f"--data {folder}: no such file or folder")
        if "data" not in inspect.signature(find("benchmark", spec.name).target).parameters:
            raise UsageError(
                f"benchmark '{spec.name}' reads no files; leave --data out, or name another: --data NAME=DIR"
            )
        context["data"] = path
    loader = build("benchmark", spec, **context)
    return Benchmark(f"{spec.name}@{loader.pin}", loader)


def _attack(text: str) -> Attack:
    spec = parse("attack", text)
    return Attack(short(spec), spec, build("attack", spec))


def _defense(text: str) -> Defense:
    specs = [parse("defense", piece) for piece in text.split("+")]
    return Defense("+".join(map(short, specs)), tuple(build("defense", spec) for spec in specs))


def _refuse_twins(kind: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{kind} {name} is given twice; give each once")


def model_options(options: RunOptions) -> ModelOptions:
    """The part of a run's options that its models need."""
    shared = {f: getattr(options, f) for f in ModelOptions.__struct_fields__}
    return ModelOptions(**shared)


def make_judges(
    options: RunOptions, settings: Settings, servers: dict[str, Limits]
) -> tuple[list[Judge], Model | None]:
    """The judges of a run and the model they ask. A judge's Spec names that model.

    Raises:
        UsageError: a judge needs a model and none is given, or one is given that no judge needs.
    """
    judges: list[Judge] = [build("judge", parse("judge", text)) for text in options.judge]
    asking = [judge for judge in judges if judge.needs_model]
    if not asking:
        if options.judge_model:
            raise UsageError(f"--judge-model is given but no judge asks a model; judges: {', '.join(options.judge)}")
        return judges, None
    if not options.judge_model:
        raise UsageError(f"judge '{asking[0].spec.name}' asks a model: give --judge-model, e.g. openai/NAME")
    judge_options = ModelOptions(
        max_tokens=JUDGE_TOKENS,
        temperature=0.0,
        base_url=options.judge_base_url or options.base_url,
        concurrency=options.concurrency,
        timeout=options.timeout,
        retries=options.retries,
    )
    model = open_model(options.judge_model, judge_options, settings, servers)
    for judge in asking:
        judge.spec = msgspec.structs.replace(judge.spec, params={**judge.spec.params, "model": model.spec.name})
    return judges, model


def component_notes(plan: Plan) -> list[str]:
    """Warnings a reader of the run should see first."""
    embedded = [name for name in plan.models if name.startswith("embedded/")]
    if not embedded:
        return []
    return [
        f"{' and '.join(embedded)}: tiny demonstration models that only know a made-up toy language; "
        "their figures say nothing about any real model."
    ]
