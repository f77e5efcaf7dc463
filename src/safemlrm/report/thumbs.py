"""Thumbnails: an image that was sent, made small and encoded anew, so that nothing else of its file is in the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from safemlrm.report.view import Picture

LARGEST = 320


def thumbnail(picture: Picture, largest: int = LARGEST) -> str:
    """The image as a JPEG `data:` URI, at most `largest` pixels a side; "" where it cannot be read as an image."""
    from PIL import Image, UnidentifiedImageError

    try:
        data = picture.data or Path(picture.path).read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (2 * largest, 2 * largest))
            opened.thumbnail((largest, largest))
            flat = Image.new("RGB", opened.size, "white")
            clear = opened.convert("RGBA")
            flat.paste(clear, mask=clear)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return ""
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
