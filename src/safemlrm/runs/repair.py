"""Cuts off what a kill in the middle of a write leaves at the end of a file, before anything is appended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from safemlrm.registry import short
from safemlrm.runs.reader import decode_line
from safemlrm.runs.records import VerdictHead


def cut_torn_line(path: Path) -> None:
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


def cut_torn_group(path: Path) -> None:
    """Truncate the verdicts of the last judgement if not all of its lines were written."""
    if not path.is_file():
        return
    decoder = msgspec.json.Decoder(VerdictHead)
    with open(path, "r+b") as file:
        start, seen, last = 0, 0, None
        for at, raw in _last_lines(file, 16):
            head = decode_line(decoder, path, at, raw)
            mark = (head.key, head.model, short(head.judge), head.of)
            full = last is not None and seen == last[3]
            if mark != last or full:
                start, seen, last = at, 0, mark
            seen += 1
        if last is not None and seen < last[3]:
            file.truncate(start)


def _last_lines(file: BinaryIO, count: int) -> list[tuple[int, bytes]]:
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
