"""Images as values: read and checked from a file, or made from drawn bytes; encoded for the wire once."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from safemlrm.errors import DataError
from safemlrm.types import Image

_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


def read_image(path: Path) -> Image:
    """Check that `path` is a readable image of a kind that servers accept, and return it by hash and path.

    Raises:
        DataError: the file is missing, is not an image, is truncated, or has a format no server takes.
    """
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: image cannot be read ({error.strerror}); restore the file or drop its row") from error
    try:
        with Pillow.open(path) as picture:
            kind = picture.format or ""
            picture.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error}); replace the file or drop its row") from error
    if kind not in _MEDIA:
        raise DataError(f"{path}: image format {kind} is not taken by model servers; convert it to PNG or JPEG")
    return Image(sha256=hashlib.sha256(data).hexdigest(), media=_MEDIA[kind], path=str(path.resolve()))


def drawn_image(png: bytes) -> Image:
    """An image made by us, from its PNG bytes."""
    return Image(sha256=hashlib.sha256(png).hexdigest(), media="image/png", data=png)


def image_bytes(image: Image) -> bytes:
    """The encoded bytes of an image, wherever they are.

    Raises:
        DataError: the file is gone, or its content is no longer what the hash says.
    """
    if image.data:
        return image.data
    try:
        data = Path(image.path).read_bytes()
    except OSError as error:
        raise DataError(f"{image.path}: image cannot be read ({error.strerror}); restore the file") from error
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise DataError(f"{image.path}: image changed since the run began; restore the file or start a new run")
    return data


@lru_cache(maxsize=64)
def data_uri(image: Image) -> str:
    """The image as a `data:` URI. Cached, so that one image sent to several models is read and encoded once."""
    return f"data:{image.media};base64,{base64.b64encode(image_bytes(image)).decode('ascii')}"
