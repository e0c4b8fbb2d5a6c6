"""Labels cost somebody's time: what a restart, a cut line and a full card leave of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import Classification, Regression
from agent.label_file import LabelFile
from agent.monitor.accuracy import wilson
from agent.monitor.label_memory import Entry, decode, encode
from agent.telemetry.messages import Label, Labels
from agent.truth import Truth

finite = st.floats(-1e30, 1e30)
names = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), max_size=20)
entries = st.builds(
    Entry,
    frame=names,
    name=names,
    top=st.none() | st.integers(0, 2000),
    score=finite,
    value=st.none() | finite,
    auxiliary=finite,
    weight=st.none() | st.floats(0, 1e9),
    true_class=st.none() | st.integers(0, 2000),
    true_value=st.none() | finite,
)


@given(entries)
def test_an_entry_is_one_line_and_comes_back_as_it_was(entry: Entry) -> None:
    line = encode(entry)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert decode(line) == entry


@given(st.binary(max_size=60))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"frame": "a"}', "name: required"),
        (b'{"frame": "a", "name": "b", "top": -1}', "top, true_class, weight: expected 0 or more"),
        (b'{"frame": "a", "name": "b", "top": "7"}', "top: expected"),
        (b'{"frame": "a", "name": "b", "score": 1e999}', "finite"),
        (b'{"frame": "a", "name": "b", "colour": 1}', "unknown key 'colour'"),
    ],
)
def test_a_damaged_line_says_what(line: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(line)


def classified(memory: LabelFile | None = None) -> Truth:
    return Truth(
        task="classification", outputs=2, labels=("no", "yes"), reference=0.9, newest=1000, memory=memory
    )


def seen(truth: Truth, frame: str, *, score: float = 0.75, top: int = 0) -> None:
    prediction = Classification(scores=np.array([score, 1 - score], np.float32), top=top, score=score)
    truth.remember(frame=frame, name=f"{frame}.jpg", prediction=prediction, right=score)


def label(truth: Truth, label: int | str, **where: str) -> None:
    assert truth.receive(Labels(labels=(Label(label=label, **where),))) == []


def test_a_restart_forgets_no_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    first = classified(LabelFile(path, "sha"))
    for at in range(8):
        seen(first, f"s1-{at}")
        label(first, at % 2, frame=f"s1-{at}")
    label(first, 0, frame="s1-1")  # looked at again: it was right after all
    before = first.report()
    assert before is not None and (before.n, before.accuracy) == (8, 5 / 8)
    after = classified(LabelFile(path, "sha")).report()
    assert after == before
    assert path.stat().st_mode & 0o077 == 0


def test_a_frame_that_was_kept_before_the_restart_is_labelled_after_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    first = classified(LabelFile(path, "sha"))
    for frame in ("s1-0", "s1-1", "s1-2"):
        seen(first, frame)
    first.keep("s1-0", 4.0)
    first.keep("s1-1", 0.0)
    second = classified(LabelFile(path, "sha"))
    label(second, "no", frame="s1-0")
    label(second, "yes", name="s1-1.jpg")
    label(second, "no", frame="s1-2")  # was never kept
    assert (second.log.joined, second.log.unknown) == (2, 1)
    report = second.report()
    # One label stands for four frames; the other was kept for what it shows and stands for none.
    assert report is not None and (report.n, report.accuracy, report.method) == (1, 1.0, "weighted Wilson")
    assert classified(LabelFile(path, "sha")).report() == report


def test_ppi_waits_until_all_labels_are_of_this_session(tmp_path: Path) -> None:
    """What confidence said of frames of an earlier session is gone, so its labels speak for themselves."""
    path = tmp_path / "labels.jsonl"
    first = classified(LabelFile(path, "sha"))
    seen(first, "s1-0")
    label(first, 0, frame="s1-0")
    second = classified(LabelFile(path, "sha"))
    for at in range(200):
        seen(second, f"s2-{at}", score=0.6 + at / 1000)
    for at in range(0, 200, 4):
        label(second, at % 8 // 4, frame=f"s2-{at}")
    report = second.report()
    assert report is not None and (report.n, report.method) == (51, "Wilson")
    assert (report.low, report.high) == wilson(26, 51, 0.95)
    alone = classified()
    for at in range(200):
        seen(alone, f"s2-{at}", score=0.6 + at / 1000)
    for at in range(0, 200, 4):
        label(alone, at % 8 // 4, frame=f"s2-{at}")
    told = alone.report()
    assert told is not None and (told.n, told.method) == (50, "PPI++")


def test_a_regression_remembers_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"

    def made() -> Truth:
        return Truth(
            task="regression", outputs=1, labels=(), reference=2.0, newest=10, memory=LabelFile(path, "sha")
        )

    first = made()
    for at, value in enumerate((1.0, 3.0)):
        first.remember(frame=f"s-{at}", name=f"{at}", prediction=Regression(values=np.array([value])))
        assert first.receive(Labels(labels=(Label(label=0.5, frame=f"s-{at}"),))) == []
    assert first.report() is not None
    assert made().report() == first.report()


def test_another_bundle_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    LabelFile(path, "sha").add([Entry(frame="a", name="b", top=0, true_class=0)])
    other = LabelFile(path, "another")
    assert (other.entries, other.problem) == ((), "")
    other.add([Entry(frame="c", name="d")])
    assert [entry.frame for entry in LabelFile(path, "another").entries] == ["c"]
    assert LabelFile(path, "sha").entries == ()


def test_cut_anywhere_every_whole_line_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    written = LabelFile(path, "sha")
    all_of = [Entry(frame=f"f{at}", name="ä", top=at, true_class=1) for at in range(4)]
    for entry in all_of:
        written.add([entry])
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        cut = LabelFile(path, "sha")
        whole = max(data[:length].count(b"\n") - 1, 0)
        assert cut.entries == tuple(all_of[:whole])
        assert cut.problem == ""
        cut.add([all_of[3]])  # and goes on behind it
        assert LabelFile(path, "sha").entries == (*all_of[:whole][:3], all_of[3])


def test_damaged_lines_are_counted_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    LabelFile(path, "sha").add([Entry(frame=f"f{at}", name="n") for at in range(3)])
    path.write_bytes(path.read_bytes().replace(b'"f1"', b'"f\xff"'))
    damaged = LabelFile(path, "sha")
    assert [entry.frame for entry in damaged.entries] == ["f0", "f2"]
    assert damaged.problem == "labels.jsonl: 1 of 3 lines are damaged and forgotten"
    damaged.add([Entry(frame="f3", name="n")])
    assert damaged.problem == ""
    assert [entry.frame for entry in LabelFile(path, "sha").entries] == ["f0", "f2", "f3"]


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    small = LabelFile(path, "sha", most=5)
    for at in range(97):
        small.add([Entry(frame=f"f{at}", name="n")])
        assert path.read_bytes().count(b"\n") <= 11
    assert [entry.frame for entry in LabelFile(path, "sha", most=5).entries] == [
        f"f{at}" for at in range(92, 97)
    ]


def test_a_place_that_cannot_be_written_is_a_problem_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    kept = LabelFile(folder / "labels.jsonl", "sha")
    kept.add([Entry(frame="a", name="n")])
    assert kept.problem == (
        "labels.jsonl cannot be written, a restart forgets labels: No such file or directory"
    )
    folder.mkdir()
    kept.add([Entry(frame="b", name="n")])
    assert kept.problem == ""
    assert [entry.frame for entry in LabelFile(folder / "labels.jsonl", "sha").entries] == ["a", "b"]


def test_an_answer_that_is_no_number_and_a_name_nobody_can_send_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    nan, nul = Entry(frame="a", name="n", score=float("nan")), Entry(frame="c", name="\x00")
    LabelFile(path, "sha").add([nan, nul, Entry(frame="b", name="n")])
    assert [json.loads(line)["frame"] for line in path.read_bytes().splitlines()[1:]] == ["b"]
