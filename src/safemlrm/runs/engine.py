"""Works through a plan: asks what is not answered, judges what is not judged, writes each result as it comes.

A fixed number of workers draw from one stream of jobs, so that at most `concurrency` requests are in flight and memory
does not grow with the run. A worker judges a response right after it has stored it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import chain
from typing import Any

from msgspec import Struct

from safemlrm.errors import ModelError, SafeMLRMError, StoreError, UsageError
from safemlrm.registry import short
from safemlrm.runs.asking import ask_question
from safemlrm.runs.budget import Budget
from safemlrm.runs.costs import judging_cost, response_cost
from safemlrm.runs.finished import Finished
from safemlrm.runs.interrupts import Interrupts
from safemlrm.runs.judging import judge_response
from safemlrm.runs.lookup import Lookup
from safemlrm.runs.plan import Defense, Plan, Question, Target
from safemlrm.runs.progress import Progress
from safemlrm.runs.records import ErrorRecord, ResponseHead, ResponseRecord, identity
from safemlrm.runs.store import Writer
from safemlrm.types import Judge, Key, Model, Prompt, Response, Sample


class Outcome(Struct):
    """How a start of the engine ended. `stopped` is "", "interrupted", or the reason it stopped by itself.

    `cost` is what the run has cost so far where prices are known; for `estimated` calls the server counted no tokens.
    """

    planned: int = 0
    answered: int = 0
    failed: int = 0
    judge_failed: int = 0
    stopped: str = ""
    cost: float = 0.0
    estimated: int = 0

    @property
    def complete(self) -> bool:
        """Whether every planned question has a response and all verdicts."""
        return not self.stopped and not self.failed and not self.judge_failed


Job = Callable[[], Coroutine[Any, Any, None]]


class Engine:
    """One start of a run: made for a plan and an open store, used once."""

    def __init__(self, plan: Plan, store: Writer, budget: Budget, *, quiet: bool = False) -> None:
        self.plan = plan
        self.store = store
        self.budget = budget
        self.quiet = quiet
        self.seed = plan.options.seed
        self.finished = Finished(store)
        self.outcome = Outcome()
        self.judges = [(short(judge.spec), judge) for judge in plan.judges]
        self.progress = Progress(0)
        self.interrupts = Interrupts()

    def prepare(self) -> None:
        """Check every planned sample and store those that are new, so that bad data stops a run before its first call.

        Raises:
            DataError: as `Plan.samples` does.
        """
        count = 0

        def new() -> Iterator[Sample]:
            nonlocal count
            for sample in self.plan.samples():
                count += 1
                if (sample.benchmark, sample.id) not in self.finished.samples:
                    yield sample

        self.store.add_samples(new())
        self.outcome.planned = count * self.plan.conditions

    async def run(self) -> Outcome:
        """Do all that is left to do. Ctrl-C ends it cleanly with `stopped == "interrupted"`."""
        unjudged = set(_unjudged(self))
        done = min(len(self.finished.responses), self.outcome.planned) - len(unjudged)
        self.progress = Progress(self.outcome.planned, done, quiet=self.quiet)
        with self.progress, self.interrupts.listening():
            try:
                await self._work(chain(judging_jobs(self, unjudged), self.asking_jobs()))
            except asyncio.CancelledError:
                if not self.interrupts.came:
                    raise
                self.outcome.stopped = "interrupted"
            finally:
                await close_all([*self.plan.models.values(), self.plan.judge_model])
        self.outcome.cost, self.outcome.estimated = self.budget.spending.cost, self.budget.spending.estimated
        return self.outcome

    async def _work(self, jobs: Iterator[Job]) -> None:
        """Do the jobs with `concurrency` workers until a limit is hit; what is in flight then is finished first."""

        async def worker() -> None:
            while not self.outcome.stopped and (job := next(jobs, None)) is not None:
                await job()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.plan.options.concurrency):
                    group.create_task(worker())
        except ExceptionGroup as errors:  # the first one tells; the others were cancelled or say the same
            raise errors.exceptions[0] from None

    def asking_jobs(self) -> Iterator[Job]:
        """A job for each question that lacks a response; prompts are made and stored as they are needed."""
        for sample in self.store.samples():
            if self.outcome.stopped:
                return
            for prompt_key, make in self.plan.prompts(sample):
                left = [k for k in self.plan.keys(prompt_key) if not self.finished.has_response(k[0], k[2].name)]
                prompt = self._prompt(prompt_key, make, left) if left else None
                if prompt is None:
                    continue
                for key, defense, target in left:
                    question = Question(key, sample, prompt, defense, target)
                    yield partial(self._ask, question)

    def _prompt(self, key: Key, make: Callable[[], Prompt], left: list[tuple[Key, Defense, Target]]) -> Prompt | None:
        """The prompt that some questions share, stored; `None` where the attack failed, recorded for each of them."""
        try:
            prompt = make()
        except Exception as error:  # an attack may be anyone's code, and one sample's failure is not the run's
            failure = ModelError(f"attack {key.attack}: {type(error).__name__}: {error}", kind="attack")
            for each, _, target in left:
                self.outcome.failed += 1
                self._failed(ErrorRecord(each, target.name, "ask", failure.kind, str(failure)), target.model, failure)
            return None
        for _, _, target in left:
            if prompt.prefill and not target.model.prefills:
                raise UsageError(f"{key.attack} begins the reply, which {target.name} does not take")
        return self._stored(key, prompt)

    def _stored(self, key: Key, prompt: Prompt) -> Prompt:
        if identity(key) not in self.finished.prompts:
            self.store.add_prompt(key, prompt)
        return prompt

    async def _ask(self, question: Question) -> None:
        key, name, model = question.key, question.target.name, question.target.model
        try:
            response = await ask_question(question, self.seed)
        except Exception as error:  # a defense may be anyone's code
            failure = as_failure(error, f"defense {key.defense}")
            self.outcome.failed += 1
            self._failed(ErrorRecord(key, name, "ask", failure.kind, str(failure), failure.status), model, failure)
            return
        self.store.add_response(key, name, response)
        self.outcome.answered += 1
        self.budget.success(model.spec.name)
        if await self.judge_all(key, name, question.sample, question.prompt, response):
            self.progress.finished()
        if self.budget.prices:
            self._stop_for(response_cost(self.budget, model.spec.name, question.prompt, response))

    async def judge_all(self, key: Key, name: str, sample: Sample, prompt: Prompt, response: Response) -> bool:
        """Let each judge that has not yet judged this response do so; whether all have now."""
        complete = True
        for judge_name, judge in self.judges:
            if not self.finished.is_judged(key, name, judge_name):
                complete = await self._judge(judge, key, name, sample, prompt, response) and complete
        return complete

    async def _judge(
        self, judge: Judge, key: Key, name: str, sample: Sample, prompt: Prompt, response: Response
    ) -> bool:
        model = self.plan.judge_model if judge.needs_model else None
        try:
            verdicts = await judge_response(judge, model, key, sample, prompt, response, self.seed)
        except Exception as error:  # a judge may be anyone's code
            failure = as_failure(error, f"judge {judge.spec.name}")
            self.outcome.judge_failed += 1
            record = ErrorRecord(key, name, "judge", failure.kind, str(failure), failure.status, judge.spec)
            self._failed(record, model, failure)
            return False
        self.store.add_verdicts(key, name, verdicts)
        if model is not None:
            self.budget.success(model.spec.name)
            if self.budget.prices:
                self._stop_for(judging_cost(self.budget, model.spec.name, response, verdicts))
        return True

    def _failed(self, record: ErrorRecord, model: Model | None, error: ModelError) -> None:
        self.store.add_error(record)
        self.progress.failed()
        self._stop_for(self.budget.error(model.spec.name if model else "", error))

    def _stop_for(self, reason: str) -> None:
        self.outcome.stopped = self.outcome.stopped or reason


def as_failure(error: Exception, where: str) -> ModelError:
    """What is recorded of an exception: a ModelError as it is, a component's own bug by its type and message.

    Raises:
        SafeMLRMError: the given one, where it is about the command, the data or the store and not about one question.
    """
    if isinstance(error, ModelError):
        return error
    if isinstance(error, SafeMLRMError):
        raise error
    return ModelError(f"{where}: {type(error).__name__}: {error}", kind="component")


def judging_jobs(engine: Engine, unjudged: set[bytes]) -> Iterator[Job]:
    """A job for each stored response that is named in `unjudged`."""
    if not unjudged:
        return
    lookup = Lookup(engine.store)
    for record in engine.store.responses():
        if identity(record.key, record.model) in unjudged:
            yield partial(_judge_stored, engine, lookup, record)


def _unjudged(engine: Engine) -> Iterator[bytes]:
    for head in engine.store.heads("responses-*.jsonl", ResponseHead):
        if not all(engine.finished.is_judged(head.key, head.model, name) for name, _ in engine.judges):
            yield identity(head.key, head.model)


async def _judge_stored(engine: Engine, lookup: Lookup, record: ResponseRecord) -> None:
    sample, prompt = lookup.sample(record.key), lookup.prompt(record.key)
    if prompt is None:
        raise StoreError(f"{engine.store.root}: prompts.jsonl lacks the prompt of a response; restore the file")
    if await engine.judge_all(record.key, record.model, sample, prompt, record):
        engine.progress.finished()


async def close_all(models: list[Model | None]) -> None:
    """Close the connections of all models."""
    for model in models:
        if model is not None:
            await model.close()
