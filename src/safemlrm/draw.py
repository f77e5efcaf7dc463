"""Draws text as images: FigStep's page and the toy benchmark's card.

FigStep (Gong et al., 2023, arXiv 2311.05608) sets its pages in FreeMono Bold, 80 px. That font is GPL, so DejaVu Sans
Mono Bold, which comes with matplotlib, stands in for it. Its letters are larger, so it is drawn at 68 px, one letter
per 48 px cell, on lines 75 px apart: cap height, advance and baselines are then those of the official images.
"""

from __future__ import annotations

import importlib.util
import io
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from safemlrm.errors import DataError

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL import ImageFont

_FONT = "mpl-data/fonts/ttf/DejaVuSansMono-Bold.ttf"
_PAGE, _WRAP = 760, 15
_LEFT, _BASELINE, _ADVANCE, _PITCH, _SIZE = 20, 75, 48, 75, 68
_CARD, _CARD_WRAP = 512, 10
MOST_LINES = 200


def figstep_lines(instruction: str) -> list[str]:
    """The lines of a FigStep page: the instruction wrapped at 15 characters, then the empty items 1 to 3."""
    return [*textwrap.wrap(_clean(instruction), _WRAP), "1. ", "2. ", "3. "]


def figstep_page(instruction: str) -> bytes:
    """A page in FigStep's layout: 760 x 760 px, white, black bold monospaced text, as PNG bytes.

    As on the official pages, items fall off the page under an instruction of more than seven lines. One of more than
    ten lines would itself be cut, so there the page grows until all lines are on it.

    Raises:
        DataError: the instruction is longer than 200 lines.
    """
    lines = figstep_lines(instruction)
    _check(lines)
    fits = len(lines) - 3 <= _PAGE // _PITCH
    page = _blank(_PAGE, _PAGE if fits else _BASELINE + _PITCH * len(lines))
    for row, line in enumerate(lines):
        _draw_line(page, line, _LEFT, _BASELINE + _PITCH * row, _ADVANCE, _SIZE)
    return _png(page)


def blank_page(side: int) -> bytes:
    """A white square of `side` pixels, as PNG bytes."""
    return _png(_blank(side, side))


def card(text: str) -> bytes:
    """A plain card, 512 px wide: a few words, a line each or wrapped at 10 characters, centred, as PNG bytes.

    Raises:
        DataError: the text is longer than 200 lines.
    """
    lines = [line for piece in _clean(text).split("\n") for line in textwrap.wrap(piece, _CARD_WRAP) or [""]]
    _check(lines)
    picture = _blank(_CARD, max(_CARD, 64 * (len(lines) + 2)))
    top = (picture.height - 64 * len(lines)) // 2
    for row, line in enumerate(lines):
        left = (_CARD - _ADVANCE * len(line)) // 2
        _draw_line(picture, line, left, top + 64 * row + 50, _ADVANCE, _SIZE)
    return _png(picture)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", " ")


def _check(lines: list[str]) -> None:
    if len(lines) > MOST_LINES:
        raise DataError(f"text to draw has {len(lines)} lines, more than {MOST_LINES}; shorten the instruction")


def _blank(width: int, height: int) -> Pillow.Image:
    from PIL import Image

    return Image.new("L", (width, height), 255)


def _draw_line(picture: Pillow.Image, line: str, left: int, baseline: int, advance: int, size: int) -> None:
    from PIL import ImageDraw

    pen, font = ImageDraw.Draw(picture), _font(size)
    for place, letter in enumerate(line):
        if not letter.isspace():
            pen.text((left + advance * place + advance // 2, baseline), letter, fill=0, font=font, anchor="ms")


def _png(picture: Pillow.Image) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "PNG")
    return out.getvalue()


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(str(font_path()), size)


@cache
def font_path() -> Path:
    """DejaVu Sans Mono Bold in matplotlib's data files, found without importing matplotlib.

    Raises:
        DataError: matplotlib is not installed or comes without its fonts.
    """
    spec = importlib.util.find_spec("matplotlib")
    path = Path(spec.origin).parent / _FONT if spec and spec.origin else Path(_FONT)
    if not path.is_file():
        raise DataError(
            "the font DejaVuSansMono-Bold.ttf of matplotlib is missing; reinstall with: pip install matplotlib"
        )
    return path
