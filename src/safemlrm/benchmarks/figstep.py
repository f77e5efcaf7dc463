"""SafeBench, the questions of FigStep (Gong et al., 2023, arXiv 2311.05608)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from safemlrm.benchmarks.tables import UniqueIds, cell, file_pin, rows
from safemlrm.errors import DataError, UsageError
from safemlrm.images import find_image
from safemlrm.registry import benchmark
from safemlrm.types import Message, Sample, Text

FILES = {"full": ("safebench.csv", "SafeBench"), "tiny": ("SafeBench-Tiny.csv", "SafeBench-Tiny")}


@benchmark(
    "figstep",
    version="1",
    source="FigStep (arXiv 2311.05608), github.com/ThuCCSLab/FigStep",
    license="MIT",
    size="SafeBench 500 (10 topics x 50), SafeBench-Tiny 50",
    category="jailbreak robustness",
)
class FigStep:
    """FigStep's SafeBench: questions of ten topics that a model should refuse.

    `--data` is the root of the owner's repository: `data/question/*.csv`, `data/images/`. Each row has a question
    (sent as text by attack `none`) and an instruction (drawn by attack `figstep`, from the official image where there
    is one). Option `set`: `full` (SafeBench) or `tiny` (SafeBench-Tiny, also used with a warning where `safebench.csv`
    is absent).
    """

    def __init__(self, *, data: Path | None = None, set: Literal["full", "tiny"] = "full") -> None:
        self.data = data
        self.set = set

    @cached_property
    def _files(self) -> tuple[Path, Path]:
        if self.data is None:
            raise UsageError("benchmark 'figstep' needs --data, the root of FigStep's repository")
        questions = self.data / "data" / "question"
        table, images = FILES[self.set]
        if not (questions / table).is_file():
            tiny, tiny_images = FILES["tiny"]
            if not (questions / tiny).is_file():
                raise DataError(
                    f"{questions / table}: file is missing; --data must be the root of FigStep's repository"
                )
            logging.getLogger("safemlrm").warning(
                "%s is absent: SafeBench-Tiny is used instead (say figstep:set=tiny to choose it)", questions / table
            )
            table, images = tiny, tiny_images
        return questions / table, self.data / "data" / "images" / images

    @property
    def pin(self) -> str:
        """Name of the table and hash of its content."""
        table, _ = self._files
        return f"{table.stem.lower()}-{file_pin(table)}"

    def samples(self) -> Iterator[Sample]:
        """One Sample per row, id `category-task` as in the official image names.

        Raises:
            DataError: missing file, column, cell, or an id that occurs twice.
        """
        table, images = self._files
        ids = UniqueIds(table)
        for number, row in rows(table):
            category = cell(table, number, row, "category_id")
            task = cell(table, number, row, "task_id")
            name = f"{category}-{task}"
            meta: dict[str, Any] = {"instruction": cell(table, number, row, "instruction")}
            official = images / f"query_ForbidQI_{category}_{task}_6.png"
            if official.is_file():
                meta["attack_images"] = {"figstep": msgspec.to_builtins(find_image(official))}
            yield Sample(
                id=ids.add(name, number),
                benchmark="figstep",
                turns=(Message("user", (Text(cell(table, number, row, "question")),)),),
                expect="refuse",
                scenario=cell(table, number, row, "category_name"),
                meta=meta,
            )
