"""A run's folder: append-only files that survive a kill at any moment.

One write per record (verdicts of one judgement: one write), so that a kill leaves at most one torn last line, which is
cut off before anything is appended. One `flock` per run keeps a second writer out and vanishes with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from safemlrm.errors import StoreError
from safemlrm.registry import short
from safemlrm.runs.records import (
    ErrorRecord,
    PromptRecord,
    ResponseRecord,
    VerdictHead,
    VerdictRecord,
    encode,
    line,
)
from safemlrm.types import Image, Key, Message, Prompt, Response, Sample, Verdict

SCHEMA = 1
BLOCK = 256  # samples written at once
_Record = TypeVar("_Record")


class Manifest(Struct, kw_only=True):
    """`manifest.json`: what was asked for, with what, and how it ended."""

    schema: int = SCHEMA
    status: str = "running"
    started: str = ""
    finished: str = ""
    command: str = ""
    options: dict[str, Any] = {}
    versions: dict[str, str] = {}
    data: list[str] = []
    models: dict[str, dict[str, Any]] = {}
    judges: dict[str, dict[str, Any]] = {}
    pairs: list[tuple[str, str]] = []
    planned: int = 0
    notes: list[str] = []


class Reader:
    """Reads a run's folder; never writes, needs no lock, and skips a torn last line."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifest(self) -> Manifest:
        """The run's manifest.

        Raises:
            StoreError: there is no run here, it is damaged, or it was written by a newer version.
        """
        path = self.root / "manifest.json"
        if not path.is_file():
            raise StoreError(
                f"{self.root}: not a run folder (no manifest.json); give the folder of 'safemlrm run --out'"
            )
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise StoreError(f"{path}: damaged ({error}); restore it from a copy") from error
        if found.schema > SCHEMA:
            raise StoreError(f"{path}: schema {found.schema} is newer than this version reads; upgrade safemlrm")
        return found

    def _lines(self, pattern: str) -> Iterator[tuple[Path, int, bytes]]:
        for path in sorted(self.root.glob(pattern)):
            at = 0
            with open(path, "rb") as file:
                for raw in file:
                    if raw.endswith(b"\n"):
                        yield path, at, raw
                    at += len(raw)

    def _decoded(self, pattern: str, kind: type[_Record]) -> Iterator[_Record]:
        decoder = msgspec.json.Decoder(kind)
        for path, at, raw in self._lines(pattern):
            yield _decode(decoder, path, at, raw)

    def samples(self) -> Iterator[Sample]:
        """The samples of the run, in the order of their first use; drawn images point into its `images` folder."""
        return map(self.located_sample, self._decoded("samples.jsonl", Sample))

    def prompts(self) -> Iterator[PromptRecord]:
        """The prompts of the run; drawn images point into the run's `images` folder."""
        return (self.located(record) for record in self._decoded("prompts.jsonl", PromptRecord))

    def located(self, prompt: PromptRecord) -> PromptRecord:
        """The prompt with the paths of its drawn images filled in."""
        return msgspec.structs.replace(prompt, messages=_map_images(prompt.messages, self._with_path))

    def located_sample(self, sample: Sample) -> Sample:
        """The sample with the paths of its drawn images filled in."""
        return msgspec.structs.replace(sample, turns=_map_images(sample.turns, self._with_path))

    def _with_path(self, image: Image) -> Image:
        if image.path:
            return image
        return msgspec.structs.replace(image, path=os.path.abspath(self.root / "images" / image.sha256))

    def responses(self) -> Iterator[ResponseRecord]:
        """All responses with full text."""
        return self._decoded("responses-*.jsonl", ResponseRecord)

    def verdicts(self) -> Iterator[VerdictRecord]:
        """All verdicts; of several for the same key, model, judge and part the latest counts."""
        return self._decoded("verdicts-*.jsonl", VerdictRecord)

    def errors(self) -> Iterator[ErrorRecord]:
        """All failed try-outs, also those that succeeded later."""
        return self._decoded("errors-*.jsonl", ErrorRecord)

    def heads(self, pattern: str, kind: type[_Record]) -> Iterator[_Record]:
        """Only the leading fields of the lines of some files: cheap, since the texts are skipped."""
        return self._decoded(pattern, kind)

    def offsets(self, name: str, kind: type[_Record]) -> Iterator[tuple[int, _Record]]:
        """The lines of one file with the byte at which each begins."""
        decoder = msgspec.json.Decoder(kind)
        for path, at, raw in self._lines(name):
            yield at, _decode(decoder, path, at, raw)


def _map_images(messages: tuple[Message, ...], change: Callable[[Image], Image]) -> tuple[Message, ...]:
    return tuple(
        Message(m.role, tuple(change(part) if isinstance(part, Image) else part for part in m.parts)) for m in messages
    )


def _decode(decoder: msgspec.json.Decoder[_Record], path: Path, at: int, raw: bytes) -> _Record:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StoreError(f"{path}, byte {at}: damaged line ({error}); remove that line and run again") from error


class Writer(Reader):
    """The one process that adds to a run. Use as a context manager."""

    def __init__(self, root: Path, worker: str = "0") -> None:
        super().__init__(root)
        self.worker = worker
        self._files: dict[str, int] = {}
        self._lock = -1

    def __enter__(self) -> Writer:
        try:
            (self.root / "images").mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"{self.root}: cannot be written ({error.strerror}); choose another --out") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StoreError(f"{self.root}: another process is writing this run; wait for it or stop it") from error
        self._open_files()
        return self

    def _open_files(self) -> None:
        fresh = not (self.root / "manifest.json").is_file()
        if fresh and any(path.stat().st_size for path in self.root.glob("responses-*.jsonl")):
            os.close(self._lock)
            raise StoreError(f"{self.root}: holds responses but no manifest.json; restore it or choose another --out")
        for kind in ("samples", "prompts", "responses", "errors", "verdicts"):
            shared = kind in ("samples", "prompts")
            path = self.root / (f"{kind}.jsonl" if shared else f"{kind}-{self.worker}.jsonl")
            _cut_torn_line(path)
            if kind == "verdicts":
                _cut_torn_group(path)
            # Without a manifest no run ever began: what is there is of a start that failed over its data.
            mode = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (os.O_TRUNC if fresh and shared else 0)
            self._files[kind] = os.open(path, mode, 0o644)

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        os.close(self._lock)

    def _append(self, kind: str, data: bytes) -> None:
        try:
            complete = os.write(self._files[kind], data) == len(data)
        except OSError as error:
            raise StoreError(f"{self.root}: cannot write ({error.strerror}); mend that and run again") from error
        if not complete:  # the torn line is cut off on the next start
            raise StoreError(f"{self.root}: the disk is full; free some space and run the same command again")

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest in one step."""
        path = self.root / "manifest.json"
        fresh = path.with_suffix(".tmp")
        fresh.write_bytes(msgspec.json.format(encode(manifest), indent=2) + b"\n")
        fresh.replace(path)

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Store the samples' drawn images by hash, then the samples without their bytes, many in one write."""
        lines: list[bytes] = []
        for sample in samples:
            stored = msgspec.structs.replace(sample, turns=_map_images(sample.turns, self._store))
            lines.append(encode(stored) + b"\n")
            if len(lines) == BLOCK:
                self._append("samples", b"".join(lines))
                lines.clear()
        self._append("samples", b"".join(lines))

    def add_prompt(self, key: Key, prompt: Prompt) -> None:
        """Store a prompt's drawn images by hash, then the prompt without their bytes."""
        stored = msgspec.structs.replace(prompt, messages=_map_images(prompt.messages, self._store))
        self._append("prompts", line({"key": key}, stored))

    def _store(self, image: Image) -> Image:
        if not image.data:
            return image
        path = self.root / "images" / image.sha256
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == len(image.data):  # a write cut short by a kill has another size
                return msgspec.structs.replace(image, data=b"")
        path.write_bytes(image.data)
        return msgspec.structs.replace(image, data=b"")

    def add_response(self, key: Key, model: str, response: Response) -> None:
        """Append a response."""
        self._append("responses", line({"key": key, "model": model}, response))

    def add_verdicts(self, key: Key, model: str, verdicts: Sequence[Verdict]) -> None:
        """Append the verdicts of one judge on one response in one write."""
        head = {"key": key, "model": model, "of": len(verdicts)}
        self._append("verdicts", b"".join(line(head, verdict) for verdict in verdicts))

    def add_error(self, error: ErrorRecord) -> None:
        """Append a failed try-out."""
        self._append("errors", encode(error) + b"\n")


def _cut_torn_line(path: Path) -> None:
    """Truncate a file after its last newline."""
    if not path.is_file():
        return
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            start = max(0, at - 65536)
            file.seek(start)
            newline = file.read(at - start).rfind(b"\n")
            if newline >= 0:
                at = start + newline + 1
                break
            at = start
        if at != end:
            file.truncate(at)


def _cut_torn_group(path: Path) -> None:
    """Truncate the verdicts of the last judgement if not all of its lines were written."""
    if not path.is_file():
        return
    decoder = msgspec.json.Decoder(VerdictHead)
    with open(path, "r+b") as file:
        start, seen, last = 0, 0, None
        for at, raw in _last_lines(file, 16):
            head = _decode(decoder, path, at, raw)
            mark = (head.key, head.model, short(head.judge), head.of)
            full = last is not None and seen == last[3]
            if mark != last or full:
                start, seen, last = at, 0, mark
            seen += 1
        if last is not None and seen < last[3]:
            file.truncate(start)


def _last_lines(file: Any, count: int) -> list[tuple[int, bytes]]:
    """The last `count` whole lines of a file with their offsets."""
    end = file.seek(0, os.SEEK_END)
    size = 1 << 16
    while True:
        start = max(0, end - size)
        file.seek(start)
        block = file.read(end - start)
        if start == 0 or block.count(b"\n") > count:
            break
        size *= 4
    found: list[tuple[int, bytes]] = []
    at = start
    for raw in block.splitlines(keepends=True):
        found.append((at, raw))
        at += len(raw)
    return found[-count:] if start == 0 else found[1:][-count:]
