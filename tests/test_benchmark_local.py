"""Anyone's own file of requests, in any of its forms and with what people get wrong."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from safemlrm.errors import DataError, UsageError
from safemlrm.registry import build, parse
from safemlrm.runs.options import RunOptions
from safemlrm.runs.plan import Plan
from safemlrm.settings import Settings
from safemlrm.types import Image, Sample, Text


def write(folder: Path, text: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_rows(folder: Path, *rows: Any, name: str = "mine.jsonl") -> Path:
    return write(folder, "".join(json.dumps(row) + "\n" for row in rows), name)


def load(data: Path, options: str = "") -> list[Sample]:
    return list(build("benchmark", parse("benchmark", f"local:{options}"), data=data).samples())


def refused(data: Path, options: str = "") -> str:
    with pytest.raises(DataError) as error:
        load(data, options)
    told = str(error.value)
    assert told.startswith(str(data)), "names the file"
    assert "\n" not in told
    return told.removeprefix(str(data))


def asked(sample: Sample) -> str:
    return next(part.text for part in sample.turns[0].parts if isinstance(part, Text))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.CSV", "a.jsonl", "a.ndjson"])
def test_every_form_gives_the_same_samples(name: str, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "fold, please", "expect": "comply", "scenario": "paper", "group": "1", "reference": "so"},
        {"id": "b", "text": "zorp it", "expect": "REFUSE", "scenario": "zorp", "group": "1", "reference": ""},
    ]
    if name.endswith(("jsonl", "ndjson")):
        path = write_rows(tmp_path, *rows, name=name)
    else:
        mark = "\t" if name.endswith("tsv") else ","
        lines = [mark.join(rows[0]), *(mark.join(f'"{v}"' for v in row.values()) for row in rows)]
        path = write(tmp_path, "\n".join(lines), name)
    first, second = load(path)
    assert (first.id, asked(first), first.expect, first.scenario) == ("a", "fold, please", "comply", "paper")
    assert (first.group, first.reference, first.meta) == ("1", "so", {})
    assert (second.expect, second.reference) == ("refuse", "")


def test_columns_are_mapped_by_options(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Pillow.new("L", (8, 8)).save(tmp_path / "pictures" / "one.png")
    path = write(
        tmp_path, "nr,Question text,pic,Topic,noun\n7,What is it?,one.png,T,Steps to see it.\n8,And this?,,U,\n"
    )
    options = "text=Question text,id=nr,image=pic,images=pictures,scenario=Topic,instruction=noun,expect=careful"
    first, second = load(path, options)
    assert first.id == "7"
    picture, text = first.turns[0].parts
    assert isinstance(picture, Image)
    assert picture.path == str(tmp_path / "pictures" / "one.png")
    assert text == Text("What is it?")
    assert (first.expect, first.scenario, first.meta) == ("careful", "T", {"instruction": "Steps to see it."})
    assert second.turns[0].parts == (Text("And this?"),)
    assert second.meta == {}


def test_numbers_in_json_rows_are_texts_also_when_zero(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path,
        {"id": 0, "text": 17, "expect": "answer", "reference": 0, "scenario": 0, "group": 0},
        {"id": 1.5, "text": "x", "expect": "answer", "reference": None},
    )
    first, second = load(path)
    assert (first.id, asked(first), first.reference, first.scenario, first.group) == ("0", "17", "0", "0", "0")
    assert (second.id, second.reference) == ("1.5", "")


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, "text\none\n\ntwo\n")
    assert [s.id for s in load(path, "expect=comply")] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "options", "wanted"),
    [
        ("question\nx\n", "", ", line 2: no column 'text'; set local:text=COLUMN, one of: question"),
        ("text\nx\n", "", ", line 2: no column 'expect'; set local:expect=COLUMN, one of: text"),
        ("text\nx\n", "text=prompt", ", line 2: no column 'prompt'; set local:text=COLUMN, one of: text"),
        ("text\nx\n", "scenario=topic,expect=comply", "no column 'topic'; set local:scenario=COLUMN, one of: text"),
        ("text\nx\n", "image=pic,expect=comply", "no column 'pic'; set local:image=COLUMN, one of: text"),
        ("text,expect\nx,maybe\n", "", ", line 2: 'expect' is 'maybe'; use refuse, comply, careful or answer"),
        ("text,expect\nx,\n", "", ", line 2: 'expect' is empty; fill it or drop the row"),
        ("text,expect\n,comply\n", "", ", line 2: 'text' is empty; fill it or drop the row"),
        ("id,text\na,x\nb,y\na,z\n", "expect=comply", ", line 4: id 'a' was used on line 2; make the ids unique"),
        ("id,text\na,x\n,y\n", "expect=comply", ", line 3: 'id' is empty; fill it or drop the row"),
        ("text,text\nx,y\n", "expect=comply", ": column 'text' occurs twice; rename one of them"),
        ("text,expect\nx\n", "", ", line 2: fewer cells than the header has; fix the row"),
        ("text\nx\n".encode("utf-16"), "expect=comply", ": not UTF-8 ("),
    ],
)
def test_a_wrong_csv_is_one_line(text: str | bytes, options: str, wanted: str, tmp_path: Path) -> None:
    assert wanted in refused(write(tmp_path, text), options)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b'{"text": "x"}\n{"text": "y"\n', ", line 2: not a JSON object (Input data was truncated); fix the line"),
        (b'["x"]\n', ", line 1: not a JSON object (Expected `object`, got `array`); fix the line"),
        (b'{"text": "x"}{"text": "y"}\n', ", line 1: not a JSON object ("),
        (b'{"text": "x"}\n{"txt": "y"}\n', ", line 2: no column 'text'; set local:text=COLUMN, one of: txt"),
        (b'{"text": ["x"]}\n', ", line 1: 'text' is a list; write it as a text"),
        (b'{"text": {"a": 1}}\n', ", line 1: 'text' is an object; write it as a text"),
        (b'{"text": "x", "id": true}\n', ", line 1: 'id' is true or false; write it as a text"),
        (b'{"text": null}\n', ", line 1: 'text' is empty"),
        (b'{"text": "x", "id": 2}\n{"text": "y"}\n', ", line 2: id '2' was used on line 1; make the ids unique"),
        (b'{"text": "caf\xe9"}\n', ": not UTF-8 ("),
        (b'{"text": "\\ud800"}\n', ", line 1: not a JSON object"),
        (b"\x00\x01", ", line 1: not a JSON object"),
    ],
)
def test_a_wrong_jsonl_is_one_line(text: bytes, wanted: str, tmp_path: Path) -> None:
    assert wanted in refused(write(tmp_path, text, "mine.jsonl"), "expect=comply")


def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    (a,) = load(write(tmp_path, mark + b"text,expect\r\nx,comply\r\n"))
    (b,) = load(write(tmp_path, mark + b'{"text": "x", "expect": "comply"}\r\n', "mine.jsonl"))
    assert a == b


def test_other_scripts_and_quoted_newlines_stay(tmp_path: Path) -> None:
    text = 'Zeile eins\nZeile "zwei"\n第三行 😀 ‮right to left'
    (a,) = load(write(tmp_path, 'text,expect\n"' + text.replace('"', '""') + '",comply\n'))
    (b,) = load(write_rows(tmp_path, {"text": text, "expect": "comply"}))
    assert asked(a) == asked(b) == text


def test_images_that_are_missing_or_damaged_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "text,image,expect\nx,no.png,comply\n")
    told = refused(path)
    assert told == f", line 2: {tmp_path / 'no.png'}: image is missing; restore the file or drop its row"
    (tmp_path / "no.png").write_bytes(b"GIF89a")
    options = RunOptions(
        benchmark=["local"], data={"local": str(path)}, model=["openai/m"], base_url="http://127.0.0.1:9"
    )
    with pytest.raises(DataError, match=r"no\.png: not a readable image: GIF is cut short; replace the file or drop"):
        list(Plan(options, Settings()).samples())


def test_a_folder_with_one_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert refused(tmp_path) == ": holds 0 data files (none); give the file itself as --data"
    write(tmp_path, "text,expect\nx,comply\n")
    assert [asked(s) for s in load(tmp_path)] == ["x"]
    write_rows(tmp_path, {"text": "y"}, name="other.jsonl")
    assert refused(tmp_path) == ": holds 2 data files (mine.csv, other.jsonl); give the file itself as --data"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.csv") == ": file is missing; check --data"
    found = refused(write(tmp_path, "x", "mine.xlsx"))
    assert found == ": cannot read '.xlsx' files; give a .csv, .tsv, .jsonl or .ndjson file"
    with pytest.raises(UsageError, match="benchmark 'local' needs --data, a CSV or JSONL file or the folder"):
        list(build("benchmark", parse("benchmark", "local")).samples())


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_an_empty_file_is_one_line(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, "", name)
    options = RunOptions(benchmark=["local"], data={"": str(path)}, model=["openai/m"], base_url="http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"benchmark 'local@\w+': no samples in its files; check --data"):
        list(Plan(options, Settings()).samples())


rows = st.fixed_dictionaries(
    {"text": st.text(st.characters(blacklist_categories=("Cs",)), min_size=1).filter(str.strip)},
    optional={key: st.none() | st.integers() | st.text(max_size=5) for key in ("scenario", "group", "reference")},
)


@given(st.lists(rows, min_size=1, max_size=5))
def test_any_json_rows_come_through(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    path = write_rows(tmp_path_factory.mktemp("rows"), *rows)
    samples = load(path, "expect=comply")
    assert [asked(s) for s in samples] == [row["text"].strip() for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        for key in ("scenario", "group", "reference"):
            value = row.get(key)
            assert getattr(sample, key) == ("" if value is None else str(value).strip())


@given(st.binary(max_size=200), st.sampled_from(["mine.csv", "mine.tsv", "mine.jsonl"]))
def test_any_bytes_are_samples_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = write(tmp_path_factory.mktemp("bytes"), b"text,expect\n" + data, name)
    with contextlib.suppress(DataError):
        load(path)
