"""The appended zip: what is read, what is refused, and that other tools understand what is written."""

import io
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import archive
from agent.errors import BundleError

MODEL = b"\x1c\x00\x00\x00TFL3" + bytes(range(256))
NAMES = st.text("abcdefgh0123456789_-é", min_size=1, max_size=12).map(lambda name: f"folder/{name}")


def appended(*files: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Python's own zipfile behind the model, as TFLite Metadata tools do it."""
    stream = io.BytesIO(MODEL)
    with zipfile.ZipFile(stream, "a", method) as made:
        for name, content in files:
            made.writestr(name, content)
    return stream.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        opened = archive.read(data, where="x.tflite")
        for name in opened.entries:
            opened.read(name)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def patched(data: bytes, mark: bytes, offset: int, form: str, value: int) -> bytes:
    """``data`` with one field of the (last) record that begins with ``mark`` changed."""
    changed = bytearray(data)
    struct.pack_into(form, changed, data.rindex(mark) + offset, value)
    return bytes(changed)


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=6))
def test_what_is_written_is_read_back_by_us_and_by_zipfile(files: dict[str, bytes]) -> None:
    data = archive.append(MODEL, files)
    opened = archive.read(data, where="x.tflite")
    assert data[: opened.start] == MODEL
    assert {name: opened.read(name) for name in opened.entries} == files
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        assert {name: other.read(name) for name in other.namelist()} == files
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in other.infolist())


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=6), st.sampled_from([0, 8]))
def test_what_zipfile_writes_is_read(files: dict[str, bytes], method: int) -> None:
    data = appended(*files.items(), method=method)
    opened = archive.read(data, where="x.tflite")
    assert {name: opened.read(name) for name in opened.entries} == files
    assert data[: opened.start] == MODEL


def test_an_archive_glued_on_is_read() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("labels.txt", "a\nb\n")
    opened = archive.read(MODEL + stream.getvalue(), where="x.tflite")
    assert (opened.start, opened.read("labels.txt")) == (len(MODEL), b"a\nb\n")


def test_an_end_record_inside_the_weights_is_no_archive() -> None:
    assert not archive.carries_archive(MODEL + b"PK\x05\x06" + bytes(40))
    data = archive.append(MODEL + b"PK\x05\x06" + bytes(40), {"a": b"1"})
    assert archive.read(data, where="x").start == len(MODEL) + 44


def test_a_comment_at_the_end_is_skipped() -> None:
    stream = io.BytesIO(appended(("a", b"1")))
    with zipfile.ZipFile(stream, "a") as made:
        made.comment = b"made by somebody"
    assert archive.read(stream.getvalue(), where="x").read("a") == b"1"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../etc/passwd", "x.tflite: '../etc/passwd' is not an acceptable file name"),
        ("/etc/passwd", "x.tflite: '/etc/passwd' is not an acceptable file name"),
        ("a/./b", "x.tflite: 'a/./b' is not an acceptable file name"),
        ("a//b", "x.tflite: 'a//b' is not an acceptable file name"),
        ("c:\\x", "x.tflite: 'c:\\\\x' is not an acceptable file name"),
        ("a\x1b[31m", "x.tflite: 'a\\x1b[31m' is not an acceptable file name"),
        ("", "x.tflite: '' is not an acceptable file name"),
    ],
)
def test_names_that_escape_are_refused(name: str, message: str) -> None:
    assert refusal(archive.append(MODEL, {name: b""})) == message


def test_damaged_and_hostile_archives_are_refused_with_their_place() -> None:
    good = archive.append(MODEL, {"a.txt": b"hello", "b.txt": b"world"})
    local, central, end = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
    cases = {
        "x.tflite: a.txt: damaged (its checksum is wrong)": good.replace(b"hello", b"hellO"),
        "x.tflite: a.txt is in the archive twice": good.replace(b"b.txt", b"a.txt"),
        "x.tflite: b.txt: encrypted files are not supported": patched(good, central, 8, "<H", 0x0801),
        "x.tflite: b.txt: stored in a way that is not supported (method 12)": patched(
            good, central, 10, "<H", 12
        ),
        "x.tflite: b.txt: zip64 archives are not supported": patched(good, central, 24, "<L", 0xFFFFFFFF),
        "x.tflite: zip64 archives are not supported": patched(good, end, 10, "<H", 0xFFFF),
        "x.tflite: archives in several parts are not supported": patched(good, end, 4, "<H", 1),
        "x.tflite: b.txt: its header is damaged": patched(good, central, 42, "<L", 7),
        "x.tflite: b.txt: its header does not agree with the archive's directory": patched(
            good, local, 30, "<B", ord("c")
        ),
        "x.tflite: the archive's directory lies outside the file (truncated?)": patched(
            good, end, 12, "<L", 10**6
        ),
        "x.tflite: no zip archive at its end": good[:-5],
        "x.tflite: a file name in the archive is not UTF-8: b'\\xff.txt'": patched(
            good, central, 46, "<B", 0xFF
        ),
    }
    assert {message: refusal(data) for message, data in cases.items()} == {
        message: message for message in cases
    }


def test_limits_hold_before_anything_is_read() -> None:
    many = archive.append(MODEL, {f"{number}": b"" for number in range(archive.MAX_ENTRIES + 1)})
    assert refusal(many) == "x.tflite: 4097 files in the archive are more than the 4096 allowed"
    # Ten bytes that claim to inflate to 300 MB: refused by the claim.
    claimed = appended(("bomb", bytes(1000)), method=zipfile.ZIP_DEFLATED)
    huge = patched(claimed, b"PK\x01\x02", 24, "<L", 300 * 2**20)
    assert refusal(huge) == "x.tflite: the archive holds more than 268435456 bytes"
    # And 100 MB that claim to be 1,000 bytes: inflating stops there.
    lying = patched(
        appended(("bomb", bytes(100 * 2**20)), method=zipfile.ZIP_DEFLATED), b"PK\x01\x02", 24, "<L", 1000
    )
    tracemalloc.start()
    assert refusal(lying) == "x.tflite: bomb: damaged (not of its declared size)"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_overlapping_entries_are_refused() -> None:
    good = archive.append(MODEL, {"a": b"1" * 50, "b": b"2" * 50})
    # The first entry claims to reach over the second one's header (as nested overlap bombs do).
    first = good.index(b"PK\x01\x02")
    changed = bytearray(good)
    struct.pack_into("<LL", changed, first + 20, 120, 120)
    assert refusal(bytes(changed)) == "x.tflite: a and b overlap in the archive"
    second = good.rindex(b"PK\x01\x02")
    changed = bytearray(good)
    struct.pack_into("<LL", changed, second + 20, 120, 120)
    assert refusal(bytes(changed)) == "x.tflite: b: reaches into the archive's directory"


def test_reading_is_limited_and_names_what_is_missing() -> None:
    opened = archive.read(archive.append(MODEL, {"a": b"12345"}), where="x.tflite")
    with pytest.raises(BundleError, match=r"^x\.tflite: a: 5 bytes are more than the 4 allowed$"):
        opened.read("a", limit=4)
    with pytest.raises(BundleError, match=r"^x\.tflite: b is missing$"):
        opened.read("b")
