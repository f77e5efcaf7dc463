"""What a run's files already hold, as sets of 16-byte identities: what a resumed run must not do again."""

from __future__ import annotations

from safemlrm.registry import short
from safemlrm.runs.reader import Reader
from safemlrm.runs.records import PromptHead, ResponseHead, SampleHead, VerdictHead, identity
from safemlrm.types import Key


class Finished:
    """Identities of the samples, prompts, responses and judgements in a run. About 100 bytes each."""

    def __init__(self, reader: Reader) -> None:
        self.samples = {(s.benchmark, s.id) for s in reader.heads("samples.jsonl", SampleHead)}
        self.prompts = {identity(p.key) for p in reader.heads("prompts.jsonl", PromptHead)}
        self.responses = {identity(r.key, r.model) for r in reader.heads("responses-*.jsonl", ResponseHead)}
        self.judged = {identity(v.key, v.model, short(v.judge)) for v in reader.heads("verdicts-*.jsonl", VerdictHead)}

    def has_response(self, key: Key, model: str) -> bool:
        """Whether the question was answered."""
        return identity(key, model) in self.responses

    def is_judged(self, key: Key, model: str, judge: str) -> bool:
        """Whether that judge's verdicts on the response are there."""
        return identity(key, model, judge) in self.judged
