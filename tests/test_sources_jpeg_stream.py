"""JPEG files are found in a stream of bytes however it is cut, and damage costs what is damaged."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.jpeg_stream import Damage, Jpeg, JpegStream


def jpeg(seed: int, *options: int, size: tuple[int, int] = (24, 32)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, list(options))[1])


def with_thumbnail(encoded: bytes, thumbnail: bytes) -> bytes:
    """As a camera writes it: a whole JPEG file inside the first segment of another."""
    body = b"Exif\0\0" + thumbnail
    return encoded[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + encoded[2:]


FILES = [
    jpeg(1),
    jpeg(2, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    jpeg(3, cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    with_thumbnail(jpeg(4), jpeg(5, size=(8, 8))),
    jpeg(6, cv2.IMWRITE_JPEG_QUALITY, 100),
    # Fill bytes in front of a marker are allowed.
    jpeg(7)[:-2] + b"\xff\xff\xff\xd9",
]


def fed(stream: bytes, cuts: list[int], *, max_bytes: int = 1 << 20) -> list[Jpeg | Damage]:
    """All that comes out when the stream comes in pieces that end at ``cuts``; times are piece numbers."""
    files, out = JpegStream(max_bytes=max_bytes), []
    ends = [*sorted(set(cuts)), len(stream)]
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        out += files.feed(stream[begin:end], number)
    return out


CUTS = st.lists(st.integers(0, 30_000), max_size=30)


@given(order=st.permutations(FILES), cuts=CUTS)
def test_whole_files_come_out_however_the_stream_is_cut(order: list[bytes], cuts: list[int]) -> None:
    assert [item.data for item in fed(b"".join(order), cuts) if isinstance(item, Jpeg)] == order


def test_byte_by_byte() -> None:
    stream = b"".join(FILES)
    out = fed(stream, list(range(len(stream))))
    assert [item.data for item in out if isinstance(item, Jpeg)] == FILES


def test_a_file_has_the_time_of_its_first_byte() -> None:
    files = JpegStream(max_bytes=1 << 20)
    one, two = FILES[0], FILES[1]
    assert files.feed(one[:10], 100) == []
    assert files.feed(one[10:-1], 200) == []
    assert files.feed(one[-1:] + two[:5], 300) == [Jpeg(one, 100)]
    assert files.feed(two[5:] + one, 400) == [Jpeg(two, 300), Jpeg(one, 400)]


@pytest.mark.parametrize(
    ("between", "reasons"),
    [
        (b"\r\n--frame\r\n", ["bytes that are no JPEG file"]),
        (FILES[0][:300], ["a damaged JPEG file"]),
        (FILES[0][:-200], ["a damaged JPEG file"]),
        (FILES[0][:300] + FILES[2][:250], ["a damaged JPEG file", "a damaged JPEG file"]),
        (b"\xff\xd8\xff\x00" + b"\0" * 999, ["a damaged JPEG file"]),
        (b"\xff\xd8\xff\xe0\x00\x01", ["a damaged JPEG file"]),
        (b"\xff\xd8", ["a damaged JPEG file"]),
        (b"\xff", ["bytes that are no JPEG file"]),
    ],
)
def test_what_is_damaged_costs_nothing_else(between: bytes, reasons: list[str]) -> None:
    stream = FILES[0] + between + FILES[4] + FILES[3]
    for cuts in ([], list(range(0, len(stream), 7))):
        out = fed(stream, cuts)
        assert [item.data for item in out if isinstance(item, Jpeg)] == [FILES[0], FILES[4], FILES[3]]
        assert [item.reason for item in out if isinstance(item, Damage)] == reasons


def test_a_thumbnail_of_a_file_cut_short_is_no_picture() -> None:
    whole = with_thumbnail(FILES[0], FILES[1])
    out = fed(whole[: len(whole) - 200] + FILES[4], [])
    assert out == [Damage("a damaged JPEG file"), Jpeg(FILES[4], 0)]


def test_a_file_without_end_is_not_kept() -> None:
    endless = FILES[0][:-2] + b"\x55" * 50_000
    out = fed(endless + FILES[4], list(range(0, 60_000, 1000)), max_bytes=10_000)
    assert out[0] == Damage("a JPEG file larger than 10,000 bytes")
    assert [item.data for item in out if isinstance(item, Jpeg)] == [FILES[4]]
    assert out[1:-1] == []
    assert fed(FILES[0], [], max_bytes=len(FILES[0]) - 1) == [
        Damage(f"a JPEG file larger than {len(FILES[0]) - 1:,} bytes")
    ]


@given(noise=st.binary(min_size=1, max_size=200).filter(lambda noise: b"\xff" not in noise), cuts=CUTS)
def test_other_bytes_between_files_cost_nothing_and_are_said_once(noise: bytes, cuts: list[int]) -> None:
    out = fed(FILES[0] + noise + FILES[4], cuts)
    assert [item.data for item in out if isinstance(item, Jpeg)] == [FILES[0], FILES[4]]
    assert [item for item in out if isinstance(item, Damage)] == [Damage("bytes that are no JPEG file")]


@given(
    pieces=st.lists(
        st.sampled_from([b"\xff", b"\xd8", b"\xd9", b"\xda", b"\x00", b"\xff\xd8\xff", b"a"]), max_size=60
    )
)
def test_no_stream_hangs_or_keeps_more_than_it_may(pieces: list[bytes]) -> None:
    files = JpegStream(max_bytes=100)
    for number, piece in enumerate(pieces * 10):
        for item in files.feed(piece, number):
            assert isinstance(item, Damage) or len(item.data) <= 100
    # Whatever came before: once a segment of 64 kB at most is over, whole files are found again.
    tail = FILES[0] * 200
    found = JpegStream(max_bytes=1 << 20)
    found.feed(b"".join(pieces), 0)
    assert Jpeg(FILES[0], 2) in [*found.feed(tail, 1), *found.feed(FILES[0] * 2, 2)]
