"""Runs the embedded pair without torch: pixels, tokens, and batched generation on onnxruntime.

Imported only by `models.embedded` when a model is built, so numpy may stand at the top.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

SIDE = 128
CONTEXT = 512


def pixels(data: bytes) -> NDArray[np.float32]:
    """An encoded image as the tower sees it: [3, 128, 128] float32 in [-1, 1].

    The shortest edge is resized to 128 (bicubic, Pillow) and the centre cropped: what transformers' CLIPImageProcessor
    does with the settings of the packaged checkpoint, to the bit.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    if width <= height:
        size = (SIDE, int(SIDE * height / width))
    else:
        size = (int(SIDE * width / height), SIDE)
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    picture = picture.crop((left, top, left + SIDE, top + SIDE))
    scaled = np.asarray(picture, np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
