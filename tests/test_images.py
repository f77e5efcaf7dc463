"""Image files are accepted or refused with a reason, and a changed file is noticed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from safemlrm.errors import DataError
from safemlrm.images import checked, data_uri, drawn_image, find_image, image_bytes, media_type
from safemlrm.runs.controls import blank_image
from safemlrm.types import Image


def picture(form: str, side: int = 24, mode: str = "RGB") -> bytes:
    made = Pillow.linear_gradient("L").resize((side, side)).convert(mode)
    out = io.BytesIO()
    made.save(out, form)
    return out.getvalue()


PNG = picture("PNG")
FORMS = {form: f"image/{form.lower()}" for form in ("PNG", "JPEG", "WEBP", "GIF")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("side", [1, 24, 300])
def test_the_four_forms_that_servers_take_are_known(form: str, side: int) -> None:
    assert media_type(picture(form, side)) == FORMS[form]


def test_other_modes_of_png_are_accepted() -> None:
    for mode in ("1", "L", "P", "RGBA", "I;16"):
        assert media_type(picture("PNG", mode=mode)) == "image/png"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not a PNG, JPEG, WebP or GIF"),
        (b"<html>not found</html>", "not a PNG, JPEG, WebP or GIF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a PNG, JPEG, WebP or GIF"),
        (picture("BMP"), "not a PNG, JPEG, WebP or GIF"),
        (picture("TIFF"), "not a PNG, JPEG, WebP or GIF"),
        (PNG[:8], "PNG is cut short"),
        (PNG[:40] + bytes([PNG[40] ^ 1]) + PNG[41:], "PNG is damaged (checksum)"),
        (PNG[:8] + PNG[-12:], "PNG holds no picture"),
        (picture("JPEG")[:200], "JPEG is cut short"),
        (picture("WEBP")[:-1], "WebP is cut short"),
        (picture("GIF")[:-1], "GIF is cut short"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_its_reason(data: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        media_type(data)
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        checked(find_image(path))
    assert str(error.value) == f"{path}: not a readable image: {reason}; replace the file or drop its row"


def a_png(pixels: bytes, side: int, extra: bytes) -> bytes:
    """A valid grey PNG with a text chunk, made by hand so that its bytes vary."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    lines = b"".join(b"\0" + bytes((pixels * side)[:side]) for _ in range(side))
    body = chunk(b"tEXt", b"a\0" + extra) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


pngs = st.builds(a_png, st.binary(min_size=1, max_size=8), st.integers(1, 12), st.binary(max_size=40))


@given(pngs, st.data())
def test_a_png_cut_anywhere_is_noticed(png: bytes, data: st.DataObject) -> None:
    assert media_type(png) == "image/png"
    with pytest.raises(ValueError, match=r"empty file|not a PNG|cut short"):
        media_type(png[: data.draw(st.integers(0, len(png) - 1))])


@given(pngs, st.data())
def test_one_wrong_byte_in_a_png_is_noticed(png: bytes, data: st.DataObject) -> None:
    at, change = data.draw(st.integers(0, len(png) - 1)), data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="PNG"):
        media_type(png[:at] + bytes([png[at] ^ change]) + png[at + 1 :])


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF89a"]))
def test_any_bytes_are_a_form_or_a_reason(data: bytes, start: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert media_type(start + data) in FORMS.values()


def test_a_missing_image_names_its_file_and_the_remedy(tmp_path: Path) -> None:
    for path in (tmp_path / "no.png", tmp_path):
        with pytest.raises(DataError) as error:
            find_image(path)
        assert str(error.value) == f"{path}: image is missing; restore the file or drop its row"


def test_an_image_that_goes_away_or_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    image = checked(find_image(path))
    assert image == Image(hashlib.sha256(PNG).hexdigest(), "image/png", str(path))
    assert checked(image) is image
    assert image_bytes(image) == PNG
    path.write_bytes(picture("PNG", 25))
    with pytest.raises(DataError, match="image changed since the run began; restore the file or start a new run"):
        image_bytes(image)
    path.unlink()
    with pytest.raises(DataError, match=r"image cannot be read \(No such file or directory\); restore the file"):
        image_bytes(image)
    with pytest.raises(DataError, match="image cannot be read"):
        checked(Image("", path=str(path)))


def test_the_type_comes_from_the_content_not_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PNG)
    assert checked(find_image(path)).media == "image/png"


@pytest.mark.parametrize("form", FORMS)
def test_a_data_uri_holds_the_file_unchanged(form: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(picture(form))
    head, _, body = data_uri(checked(find_image(path))).decode().partition(",")
    assert head == f"data:{FORMS[form]};base64"
    assert base64.b64decode(body, validate=True) == picture(form)


def test_the_blank_image_is_white_and_always_the_same() -> None:
    image = blank_image()
    assert image == blank_image()
    assert image == drawn_image(image.data)
    opened = Pillow.open(io.BytesIO(image.data))
    assert opened.size == (760, 760)
    assert opened.convert("L").getextrema() == (255, 255)
