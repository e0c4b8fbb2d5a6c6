"""What a device falls back on: what it keeps is what ran, and nothing costs it what it had."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import BundleError
from agent.last_good import Attempts, LastGood, stamp


def is_it(content: bytes) -> Callable[[Path], bool]:
    return lambda file: file.read_bytes() == content


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.tflite"
    path.write_bytes(b"one" * 1000)
    return path


@pytest.fixture
def last_good(tmp_path: Path, bundle: Path) -> LastGood:
    """One config and bundle are kept."""
    kept = LastGood(tmp_path / "state" / "last-good")
    assert keep(kept, "one", bundle)
    return kept


def keep(last_good: LastGood, text: str, bundle: Path, override: str | None = None) -> bool:
    """As after a run of exactly these."""
    ran = bundle.read_bytes()
    return last_good.keep(text, bundle=bundle, override=override, stamp=f"of {text}", verify=is_it(ran))


def content(last_good: LastGood) -> tuple[str, bytes, str | None, str]:
    kept = last_good.read()
    assert kept is not None
    return (
        kept.text,
        kept.bundle.read_bytes(),
        kept.override.read_text() if kept.override else None,
        kept.stamp,
    )


def names(last_good: Path) -> list[str]:
    return sorted(path.name for path in last_good.parent.iterdir())


def test_nothing_is_kept_before_anything_ran(tmp_path: Path) -> None:
    assert LastGood(tmp_path / "last-good").read() is None
    assert list(tmp_path.iterdir()) == []


def test_the_same_is_written_once(last_good: LastGood, bundle: Path, tmp_path: Path) -> None:
    assert content(last_good) == ("one", b"one" * 1000, None, "of one")
    file = tmp_path / "state" / "last-good" / "bundle.tflite"
    before = file.stat()
    assert not keep(last_good, "one", bundle)
    assert file.stat() == before
    assert keep(last_good, "two", bundle, "steps: []\n")
    assert content(last_good) == ("two", b"one" * 1000, "steps: []\n", "of two")
    assert keep(last_good, "two", bundle)
    assert content(last_good) == ("two", b"one" * 1000, None, "of two")
    assert names(tmp_path / "state" / "last-good") == ["last-good"]


def test_a_bundle_touched_since_is_known_by_its_new_time(last_good: LastGood, bundle: Path) -> None:
    verify = is_it(bundle.read_bytes())
    assert not last_good.keep("one", bundle=bundle, override=None, stamp="new", verify=verify)
    assert content(last_good) == ("one", b"one" * 1000, None, "new")


def test_a_bundle_replaced_since_it_was_loaded_is_not_kept(
    last_good: LastGood, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="no longer the bundle that runs"):
        last_good.keep("two", bundle=bundle, override=None, stamp="of two", verify=is_it(b"two"))
    assert content(last_good) == ("one", b"one" * 1000, None, "of one")
    assert names(tmp_path / "state" / "last-good") == ["last-good"]


def test_a_kept_copy_that_is_damaged_is_replaced(last_good: LastGood, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "state" / "last-good" / "bundle.tflite").write_bytes(b"half a download")
    assert keep(last_good, "one", bundle)
    assert content(last_good) == ("one", b"one" * 1000, None, "of one")


def test_a_full_disk_costs_nothing_of_what_was_kept(
    last_good: LastGood, bundle: Path, tmp_path: Path
) -> None:
    bundle.write_bytes(b"two" * 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            keep(last_good, "two", bundle)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(last_good) == ("one", b"one" * 1000, None, "of one")
    assert names(tmp_path / "state" / "last-good") == ["last-good"]
    assert keep(last_good, "two", bundle)
    assert content(last_good) == ("two", b"two" * 1000, None, "of two")


@pytest.mark.parametrize("cut", ["half written", "between the renames", "before the old one is gone"])
def test_a_cut_leaves_the_whole_of_one(last_good: LastGood, bundle: Path, tmp_path: Path, cut: str) -> None:
    folder = tmp_path / "state" / "last-good"
    if cut == "between the renames":
        folder.rename(folder.with_name("last-good.old"))
    left = folder.with_name("last-good.old" if cut == "before the old one is gone" else "last-good.new")
    left.mkdir()
    (left / "bundle.tflite").write_bytes(b"o")
    assert content(last_good) == ("one", b"one" * 1000, None, "of one")
    assert keep(last_good, "two", bundle)
    assert content(last_good) == ("two", b"one" * 1000, None, "of two")
    assert names(folder) == ["last-good"]


def test_a_stamp_knows_a_config_and_its_files_from_others(bundle: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    stamps = [stamp("a", bundle), stamp("b", bundle), stamp("a"), stamp("a", missing)]
    bundle.write_bytes(b"longer" * 1000)
    stamps.append(stamp("a", bundle))
    assert len(set(stamps)) == 5
    assert stamp("a", bundle) == stamps[-1]


def test_attempts_are_counted_until_one_is_over(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "trying")
    assert [attempts.begin("a"), attempts.begin("a"), attempts.begin("b"), attempts.begin("b")] == [
        0,
        1,
        0,
        1,
    ]
    attempts.over()
    assert attempts.begin("b") == 0
    (tmp_path / "trying").write_bytes(b"\xff damaged")
    assert attempts.begin("b") == 0


def test_attempts_on_a_disk_that_refuses_are_not_counted(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path / "nowhere" / "trying")
    assert [attempts.begin("a"), attempts.begin("a")] == [0, 0]
    attempts.over()
