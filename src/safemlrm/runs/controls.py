"""Controls: changes to a prompt that separate what an attack's image does from what its words do."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import msgspec

from safemlrm.errors import UsageError
from safemlrm.images import drawn_image
from safemlrm.registry import nearest
from safemlrm.types import Image, Message, Part, Prompt

CONTROLS = {
    "none": "the prompt as the attack made it",
    "blank_image": "every image replaced by a white one of 760 x 760 pixels",
    "text_only": "every image left out",
}


def check_control(name: str) -> str:
    """The name, if there is such a control.

    Raises:
        UsageError: there is none; suggests the nearest.
    """
    if name not in CONTROLS:
        raise UsageError(f"no control called '{name}'{nearest(name, CONTROLS)}; there are: {', '.join(CONTROLS)}")
    return name


def apply_control(name: str, prompt: Prompt) -> Prompt:
    """The prompt under a control."""
    if name == "none":
        return prompt
    messages = tuple(Message(m.role, tuple(_controlled(name, m.parts))) for m in prompt.messages)
    # The attack's image is no longer sent, so its source must not be told.
    source = "drawn" if name == "blank_image" and prompt.image_source != "none" else "none"
    return msgspec.structs.replace(prompt, messages=messages, image_source=source)


def _controlled(name: str, parts: tuple[Part, ...]) -> list[Part]:
    if name == "text_only":
        return [part for part in parts if not isinstance(part, Image)]
    return [blank_image() if isinstance(part, Image) else part for part in parts]


@cache
def blank_image(side: int = 760) -> Image:
    """A white square PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    pixels = zlib.compress((b"\0" + b"\xff" * side) * side)
    return drawn_image(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
