"""The run folder's files: what a torn write leaves, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safemlrm.errors import StoreError
from safemlrm.images import drawn_image, image_bytes
from safemlrm.runs.controls import blank_image
from safemlrm.runs.lookup import Lookup
from safemlrm.runs.reader import Manifest, Reader
from safemlrm.runs.records import ErrorRecord, encode, identity
from safemlrm.runs.store import Writer
from safemlrm.types import Image, Key, Message, Prompt, Response, Sample, Spec, Text, Verdict

KEY = Key("toy@1", "a")
VERDICTS = [Verdict(Spec("j"), part, "safe") for part in ("reasoning", "answer", "full")]  # type: ignore[arg-type]


def test_values_round_trip(tmp_path: Path) -> None:
    response = Response("answer \u2028 \U0001f600", "thought", "complete", raw="<think>thought</think>answer")
    prompt = Prompt((Message("user", (Text("x"), blank_image())),), image_source="drawn")
    sample = Sample("a", "toy@1", (Message("user", (Text("x"),)),), "refuse", "s", meta={"k": [1, {"z": None}]})
    with Writer(tmp_path) as store:
        store.add_samples([sample])
        store.add_prompt(KEY, prompt)
        store.add_response(KEY, "m@1", response)
        store.add_verdicts(KEY, "m@1", VERDICTS)
        store.add_error(ErrorRecord(KEY, "m@1", "ask", "timeout", "late"))
    reader = Reader(tmp_path)
    assert list(reader.samples()) == [sample]
    [read] = reader.responses()
    assert (read.answer, read.raw, read.key, read.model) == (response.answer, response.raw, KEY, "m@1")
    [stored] = reader.prompts()
    image = stored.messages[0].parts[1]
    assert isinstance(image, Image)
    assert image_bytes(image) == blank_image().data
    assert [v.part for v in reader.verdicts()] == ["reasoning", "answer", "full"]
    assert [e.kind for e in reader.errors()] == ["timeout"]
    lookup = Lookup(reader)
    assert lookup.sample(KEY) == sample
    found = lookup.prompt(msgspec.structs.replace(KEY, repeat=3, defense="x@1"))
    assert found is not None
    assert found.messages[0].parts[0] == Text("x")
    assert lookup.prompt(msgspec.structs.replace(KEY, attack="other@1")) is None


def test_drawn_image_of_a_sample_is_stored_by_hash(tmp_path: Path) -> None:
    sample = Sample("a", "toy@1", (Message("user", (blank_image(), Text("do as it says"))),), "refuse")
    with Writer(tmp_path) as store:
        store.add_samples([sample])
    assert len((tmp_path / "samples.jsonl").read_bytes()) < 400
    image = next(Reader(tmp_path).samples()).turns[0].parts[0]
    assert isinstance(image, Image)
    assert image_bytes(image) == blank_image().data


def write(folder: Path) -> None:
    with Writer(folder) as store:
        store.write_manifest(Manifest())
        for name in "abc":
            key = msgspec.structs.replace(KEY, sample=name)
            store.add_response(key, "m@1", Response(f"answer {name}"))
            store.add_verdicts(key, "m@1", VERDICTS)


@pytest.mark.parametrize("name", ["responses-0.jsonl", "verdicts-0.jsonl"])
def test_file_cut_anywhere_keeps_whole_records_only(tmp_path: Path, name: str) -> None:
    write(tmp_path / "whole")
    whole = (tmp_path / "whole" / name).read_bytes()
    unit = 3 if name.startswith("verdicts") else 1
    for cut in range(0, len(whole), 7):
        folder = tmp_path / f"cut{cut}"
        write(folder)
        (folder / name).write_bytes(whole[:cut])
        with Writer(folder):
            pass
        left = (folder / name).read_bytes()
        assert whole.startswith(left)
        assert left.count(b"\n") == whole[:cut].count(b"\n") // unit * unit
        assert not left or left.endswith(b"\n")


def test_same_judgement_twice_is_two_groups(tmp_path: Path) -> None:
    with Writer(tmp_path) as store:
        store.add_verdicts(KEY, "m@1", VERDICTS)
        store.add_verdicts(KEY, "m@1", VERDICTS)
    path = tmp_path / "verdicts-0.jsonl"
    whole = path.read_bytes()
    with Writer(tmp_path):
        assert path.read_bytes() == whole
    path.write_bytes(whole[:-3])
    with Writer(tmp_path):
        assert path.read_bytes().count(b"\n") == 3


def test_start_that_failed_over_its_data_leaves_no_samples(tmp_path: Path) -> None:
    with Writer(tmp_path) as store:
        store.add_samples([Sample("old", "toy@1", (), "refuse")])
    with Writer(tmp_path):
        assert list(Reader(tmp_path).samples()) == []


def test_lost_manifest_never_costs_responses(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "manifest.json").unlink()
    before = (tmp_path / "responses-0.jsonl").read_bytes()
    with pytest.raises(StoreError, match=r"holds responses but no manifest"), Writer(tmp_path):
        pass
    assert (tmp_path / "responses-0.jsonl").read_bytes() == before


def test_reader_skips_a_torn_last_line(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "responses-0.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert [r.key.sample for r in Reader(tmp_path).responses()] == ["a", "b"]


def test_torn_image_is_written_again(tmp_path: Path) -> None:
    prompt = Prompt((Message("user", (blank_image(),)),))
    path = tmp_path / "images" / blank_image().sha256
    with Writer(tmp_path) as store:
        store.add_prompt(KEY, prompt)
        path.write_bytes(path.read_bytes()[:50])
        store.add_prompt(KEY, prompt)
    assert path.read_bytes() == blank_image().data


def test_start_that_fails_gives_the_lock_back(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "verdicts-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b'{"key": 3}\n')
    with pytest.raises(StoreError, match="damaged line"), Writer(tmp_path):
        pass
    path.write_bytes(whole)
    with Writer(tmp_path):
        pass


def test_damaged_line_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "responses-0.jsonl"
    path.write_bytes(b'{"key": 3}\n' + path.read_bytes())
    with pytest.raises(StoreError, match=r"responses-0.jsonl, byte 0: damaged line"):
        list(Reader(tmp_path).responses())


def test_lone_surrogates_are_replaced_not_fatal(tmp_path: Path) -> None:
    with Writer(tmp_path) as store:
        store.add_response(KEY, "m@1", Response("bad \ud800 text"))
    [read] = Reader(tmp_path).responses()
    assert read.answer == "bad ? text"


def test_manifest_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with Writer(tmp_path) as store:
        store.write_manifest(Manifest(schema=99))
    with pytest.raises(StoreError, match="newer than this version"):
        Reader(tmp_path).manifest()
    with pytest.raises(StoreError, match="not a run folder"):
        Reader(tmp_path / "nowhere").manifest()


def test_records_begin_with_their_key(tmp_path: Path) -> None:
    write(tmp_path)
    first = json.loads((tmp_path / "verdicts-0.jsonl").read_text().splitlines()[0])
    assert list(first)[:3] == ["key", "model", "of"]


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 3)), unique=True, max_size=20))
def test_identities_differ(names: list[tuple[str, str, int]]) -> None:
    found = {identity(Key("b", sample, repeat=repeat), model) for sample, model, repeat in names}
    assert len(found) == len(names)


@given(st.text(st.characters(codec="utf-8")), st.binary(min_size=1, max_size=20))
def test_any_text_and_image_round_trips(text: str, data: bytes) -> None:
    prompt = Prompt((Message("user", (Text(text), drawn_image(data))),))
    assert msgspec.json.decode(encode(prompt), type=Prompt) == prompt
