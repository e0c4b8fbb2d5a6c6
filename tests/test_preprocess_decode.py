"""Decoding: formats, EXIF, what becomes of grey, transparent and 16-bit files, and bad files."""

import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FrameError
from agent.preprocess import decoding
from agent.preprocess.decoding import Decode
from agent.preprocess.image_header import Header, read_header

PLAIN = Decode(exif="ignore")


def encoded(image: np.ndarray, extension: str) -> bytes:
    # Without a quality OpenCV writes lossless WebP.
    options = [cv2.IMWRITE_WEBP_QUALITY, 95] if extension == ".webp" else []
    return cv2.imencode(extension, image, options)[1].tobytes()


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    """RGB without noise, so that lossy formats keep it."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 5, columns * 5, 250 - rows * 3], axis=-1).astype(np.uint8)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG file with an EXIF segment that holds one tag, 0x0112."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


@pytest.mark.parametrize("extension", [".png", ".bmp", ".ppm"])
@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_lossless_files_give_their_rgb_pixels(extension: str, exif: Any) -> None:
    image = picture()
    made = Decode(exif=exif).apply(encoded(image[..., ::-1], extension))
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, image)


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_lossy_files_keep_the_channels_in_order(extension: str) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (200, 120, 40)
    made = PLAIN.apply(encoded(image[..., ::-1], extension))
    assert np.abs(made.astype(int) - image).max() <= 3


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation_is_applied_only_when_asked(orientation: int) -> None:
    plain = encoded(picture(24, 32)[..., ::-1], ".jpg")
    turned = with_orientation(plain, orientation)
    stored = PLAIN.apply(plain)
    np.testing.assert_array_equal(PLAIN.apply(turned), stored)
    np.testing.assert_array_equal(Decode(exif="apply").apply(turned), ORIENTED[orientation](stored))


def test_grey_transparent_and_16_bit_files() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(PLAIN.apply(encoded(grey, ".png")), np.repeat(grey[..., None], 3, axis=2))
    transparent = np.dstack([picture()[..., ::-1], np.zeros((20, 30), np.uint8)])
    np.testing.assert_array_equal(PLAIN.apply(encoded(transparent, ".png")), picture())
    deep = np.array([[0x0100, 0x12FF], [0xFF00, 0x80FF]], np.uint16)
    assert PLAIN.apply(encoded(deep, ".png"))[..., 0].tolist() == [[0x01, 0x12], [0xFF, 0x80]]


def test_decoded_pixels_pass_unchanged() -> None:
    image = picture()
    assert PLAIN.apply(image) is image


@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".webp"])
def test_an_opencv_without_rgb_decoding_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, exif: Any, extension: str
) -> None:
    data = encoded(picture(24, 32)[..., ::-1], extension)
    if extension == ".jpg":
        data = with_orientation(data, 6)
    here = Decode(exif=exif).apply(data)
    monkeypatch.setattr(decoding, "_RGB", None)
    np.testing.assert_array_equal(Decode(exif=exif).apply(data), here)


@pytest.mark.parametrize(
    "payload",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(3),
        "text",
    ],
)
def test_other_payloads_are_refused(payload: Any) -> None:
    with pytest.raises(FrameError, match="decode: expected an image file or H×W×3 uint8 pixels, got"):
        PLAIN.apply(payload)


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def resized_header(extension: str, width: int, height: int) -> bytes:
    """A small file whose header claims width × height."""
    data = bytearray(encoded(picture(), extension))
    if extension == ".jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif extension == ".bmp":
        data[18:26] = struct.pack("<ii", width, -height)
    elif extension == ".ppm":
        data = bytearray(b"P6\n# comment\n%d %d\n255\n" % (width, height)) + data[15:]
    elif extension == ".webp":
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize("extension", [".jpg", ".bmp", ".ppm"])
def test_a_header_that_claims_too_much_is_refused_unread(extension: str) -> None:
    data = resized_header(extension, 60_000, 50_000)
    with pytest.raises(FrameError, match=r"decode: 60000x50000 pixels, more than max_pixels \(50,000,000\)"):
        PLAIN.apply(data)


def test_a_png_whose_chunk_claims_two_gigabytes_is_refused_before_room_is_made_for_it() -> None:
    whole = bytearray(encoded(picture(), ".png"))
    at = whole.index(b"IDAT")
    whole[at - 4 : at] = (0x7FFF_0000).to_bytes(4, "big")
    with pytest.raises(FrameError, match="decode: the PNG file is cut short"):
        PLAIN.apply(bytes(whole))


def test_a_png_bomb_is_refused_and_the_limit_is_a_parameter() -> None:
    with pytest.raises(FrameError, match=r"100000x100000 pixels, more than max_pixels"):
        PLAIN.apply(png_bomb(100_000, 100_000))
    small = Decode(exif="ignore", max_pixels=599)
    with pytest.raises(FrameError, match=r"decode: 30x20 pixels, more than max_pixels \(599\)"):
        small.apply(encoded(picture(), ".png"))
    assert Decode(exif="ignore", max_pixels=600).apply(encoded(picture(), ".png")).shape == (20, 30, 3)


def webp(chunk: bytes) -> bytes:
    body = b"WEBP" + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_header_sizes_of_every_webp_and_gif_form() -> None:
    extended = webp(b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x0f\x27\x00" + b"\x87\x13\x00" + bytes(8))
    lossless = webp(b"VP8L" + struct.pack("<I", 9) + b"\x2f" + struct.pack("<I", 999 | 499 << 14) + bytes(8))
    for data, size in (
        (extended, (10_000, 5_000)),
        (lossless, (1000, 500)),
        (resized_header(".webp", 1234, 567), (1234, 567)),
        (b"GIF89a" + struct.pack("<HH", 640, 480), (640, 480)),
    ):
        header = read_header(data)
        assert (header.width, header.height) == size


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_a_file_cut_short_is_refused(extension: str) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), extension)
    with pytest.raises(FrameError, match=r"decode: the (JPEG|PNG|WebP) file is (cut short|damaged)"):
        PLAIN.apply(data[: len(data) // 2])


def test_a_thumbnails_end_marker_does_not_make_a_cut_file_whole() -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), ".jpg")
    thumbnail = encoded(picture(), ".jpg")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert PLAIN.apply(data).shape == (64, 64, 3)
    with pytest.raises(FrameError, match="cut short"):
        PLAIN.apply(data[:-100])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "decode: the file is empty; JPEG"),
        (b"hello world", r"decode: not an image \(begins with 68 65 6c 6c 6f 20 77 6f\); JPEG"),
        (b"\xff\xd8\xff\xe0", "decode: the image's header is damaged"),
        (b"P6 x", "decode: the image's header is damaged"),
        (b"GIF89a" + struct.pack("<HH", 0, 5), "decode: the image's header is damaged"),
        (b"BM" + bytes(60), "decode: the image's header is damaged"),
    ],
)
def test_what_is_no_image(data: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        PLAIN.apply(data)


@given(data=st.data(), extension=st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".ppm"]))
@settings(deadline=None, max_examples=150)
def test_damaged_files_give_pixels_or_a_frame_error(data: st.DataObject, extension: Literal[".jpg"]) -> None:
    file = bytearray(encoded(picture(), extension))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    del file[data.draw(st.integers(1, len(file))) :]
    try:
        made = Decode(exif="apply", max_pixels=100_000).apply(bytes(file))
    except FrameError:
        return
    assert made.dtype == np.uint8
    assert made.ndim == 3
    assert made.shape[2] == 3


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_jpeg_pixels_are_pillows(exif: Any) -> None:
    """The decoders are separate builds of libjpeg; at this quality they must not disagree by much."""
    pytest.importorskip("PIL")
    import io

    from PIL import Image, ImageOps

    data = with_orientation(encoded(picture(64, 48)[..., ::-1], ".jpg"), 6)
    opened = Image.open(io.BytesIO(data))
    expected = np.asarray(ImageOps.exif_transpose(opened) if exif == "apply" else opened)
    made = Decode(exif=exif).apply(data)
    assert made.shape == expected.shape
    assert np.abs(made.astype(int) - expected).max() <= 2


def tiff_named_webp(width: int, height: int) -> bytes:
    """A TIFF of zeros whose free bytes 8 to 29 read like the header of a WebP of 1x1 pixels."""
    strip = bytes(width * height)
    start = b"II*\0" + struct.pack("<I", 64) + b"WEBPVP8L" + bytes(4) + b"\x2f"
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 256), (277, 3, 1), (278, 4, height), (279, 4, len(strip))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    return (start.ljust(64, b"\0") + directory).ljust(256, b"\0") + strip


def test_a_tiff_that_says_webp_is_no_webp() -> None:
    data = tiff_named_webp(40, 30)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (30, 40, 3)
    with pytest.raises(FrameError, match=r"decode: not an image \(begins with 49 49 2a 00"):
        PLAIN.apply(data)


def jpeg_behind_a_stuffed_zero() -> bytes:
    """libjpeg passes over FF 00 and finds 40x30 pixels; by segments a frame of 1x1 would be next."""
    inner = encoded(picture(30, 40), ".jpg")[2:]
    decoy = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 1, 1, 1) + bytes(3)
    return b"\xff\xd8\xff\0" + struct.pack(">H", len(inner) + 2) + inner + decoy + b"\xff\xd9"


@pytest.mark.parametrize(
    "data",
    [
        jpeg_behind_a_stuffed_zero(),
        b"P6\n10#300 \n 7\n255\n" + bytes(9000),  # OpenCV: 10x300
        b"P6\n#\r100 30\n255\n#\n1 1 \n" + bytes(9000),  # OpenCV: 100x30
    ],
    ids=["JPEG", "PNM number", "PNM comment"],
)
def test_a_header_is_read_as_opencv_reads_it_or_not_at_all(data: bytes) -> None:
    try:
        header = read_header(data)
    except FrameError:
        return
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (header.height, header.width, 3)


@pytest.mark.parametrize(("exif", "turned"), [("ignore", False), ("apply", True)])
def test_pixels_of_another_size_than_the_headers_are_refused(
    monkeypatch: pytest.MonkeyPatch, exif: Any, turned: bool
) -> None:
    data = encoded(picture(20, 30), ".png")
    for width, height, good in ((30, 20, True), (20, 30, turned), (30, 19, False)):
        said = Header(format="PNG", width=width, height=height)
        monkeypatch.setattr(decoding, "read_header", lambda _, said=said: said)
        if good:
            assert Decode(exif=exif).apply(data).shape == (20, 30, 3)
        else:
            with pytest.raises(
                FrameError, match=f"^decode: 30x20 pixels, the PNG header says {width}x{height}$"
            ):
                Decode(exif=exif).apply(data)
