"""Finds the sample and the prompt of a key in a run's files by offset, so that none of them stays in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from safemlrm.runs.reader import Reader
from safemlrm.runs.records import PromptHead, PromptRecord, SampleHead, identity
from safemlrm.types import Key, Prompt, Sample

_Record = TypeVar("_Record")


def prompt_key(key: Key) -> Key:
    """The key under which the prompt of a question is stored: without defense and repeat."""
    return Key(key.benchmark, key.sample, attack=key.attack, control=key.control)


class Lookup:
    """Offsets of the samples and prompts of a run. About 100 bytes a record."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.sample_at: dict[tuple[str, str], int] = {}
        self.prompt_at: dict[bytes, int] = {}
        for at, sample in reader.offsets("samples.jsonl", SampleHead):
            self.sample_at[sample.benchmark, sample.id] = at
        for at, prompt in reader.offsets("prompts.jsonl", PromptHead):
            self.prompt_at[identity(prompt.key)] = at

    def sample(self, key: Key) -> Sample:
        """The sample of a key."""
        return self.reader.located_sample(
            self._read("samples.jsonl", self.sample_at[key.benchmark, key.sample], Sample)
        )

    def prompt(self, key: Key) -> Prompt | None:
        """The prompt of a key, its images located; `None` where the attack failed to make one."""
        at = self.prompt_at.get(identity(prompt_key(key)))
        return None if at is None else self.reader.located(self._read("prompts.jsonl", at, PromptRecord))

    def _read(self, name: str, at: int, kind: type[_Record]) -> _Record:
        path: Path = self.reader.root / name
        with open(path, "rb") as file:
            file.seek(at)
            return msgspec.json.decode(file.readline(), type=kind)
