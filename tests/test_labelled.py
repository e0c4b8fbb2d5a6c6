"""Held-out inputs as people keep them, and one clear list of what is wrong with them."""

import math
from pathlib import Path

import numpy as np
import pytest

from agent.errors import FrameError, LabelError
from calibration.labelled import class_label, find_images, find_vectors, number_label

DIGITS = tuple("0123456789")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not decoded here")
    return path


def problems(call: object, *arguments: object) -> list[str]:
    assert callable(call)
    with pytest.raises(LabelError) as caught:
        call(*arguments)
    return list(caught.value.problems)


def test_a_csv_with_paths_relative_to_itself(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "one.png")
    picture(tmp_path / "two.jpg")
    table = tmp_path / "held_out.csv"
    table.write_text("\ufefffile,source,label\na/one.png,web,dog\ntwo.jpg,web,0\n\n")
    found = find_images(table, class_label(("cat", "dog"), 2))
    assert [(given.name, given.label) for given in found] == [("a/one.png", 1), ("two.jpg", 0)]
    assert found.inputs[0].payload() == b"not decoded here"


def test_a_csv_without_labels_and_with_empty_cells(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / name)
    (tmp_path / "plain.csv").write_text("file\na\nb\n")
    (tmp_path / "some.csv").write_text("file,label\na,\nb,1\n")
    read = class_label((), 3)
    assert [given.label for given in find_images(tmp_path / "plain.csv", read)] == [None, None]
    assert [given.label for given in find_images(tmp_path / "some.csv", read)] == [None, 1]


def test_a_folder_per_label_and_a_flat_folder(tmp_path: Path) -> None:
    for name in (
        "cats/dog/2.png",
        "cats/dog/1.JPG",
        "cats/cat/9.webp",
        "cats/cat/notes.txt",
        "cats/.x/a.png",
    ):
        picture(tmp_path / name)
    found = find_images(tmp_path / "cats", class_label(("cat", "dog"), 2))
    assert [(given.name, given.label) for given in found] == [
        ("cat/9.webp", 0),
        ("dog/1.JPG", 1),
        ("dog/2.png", 1),
    ]
    flat = find_images(tmp_path / "cats" / "dog", class_label(("cat", "dog"), 2))
    assert [(given.name, given.label) for given in flat] == [("1.JPG", None), ("2.png", None)]


def test_detection_takes_a_csv_with_a_row_per_box(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text("file,label,x\na.png,bowl,1\na.png,spoon,2\n")
    assert [(given.name, given.label) for given in find_images(tmp_path / "boxes.csv", None)] == [
        ("a.png", None)
    ]


def test_every_problem_of_a_csv_with_its_line(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    table.write_text("file,label\na.png,bird\nb.png,1\na.png,1\n")
    assert problems(find_images, table, class_label(("cat", "dog"), 2)) == [
        f"{table}: line 2: label 'bird' is neither an output index nor a line of the labels file",
        f"{table}: line 3: no file b.png",
        f"{table}: line 4: a.png is already on line 2",
    ]


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,label\n" + "".join(f"{number}.png,1\n" for number in range(50)))
    found = problems(find_images, table, class_label((), 2))
    assert len(found) == 21
    assert found[-1] == f"{table}: and 30 more problems"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.png,1\n", "line 1: the header has no column 'file' (expected: file,label)"),
        ("file,file\na,b\n", "line 1: the column 'file' appears twice"),
        ("file,label\na.png\n", "line 2: 1 cells, the header has 2"),
        ("", "line 1: the header has no column 'file' (expected: file,label)"),
        ("file,label\n", "no inputs found (.jpg, .jpeg, .png, .webp, .bmp, .gif, .ppm, .pgm, .pnm)"),
    ],
)
def test_a_csv_of_another_form(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    assert problems(find_images, table, None) == [f"{table}: {message}"]


def test_a_file_that_is_no_text_or_absent(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"file,label\n\xff\xfe,1\n")
    (found,) = problems(find_images, table, None)
    assert found.startswith(f"{table}: not a CSV file: 'utf-8' codec")
    assert problems(find_images, tmp_path / "no.csv", None) == [
        f"{tmp_path / 'no.csv'}: cannot be read: No such file or directory"
    ]


def test_folders_and_images_side_by_side_are_ambiguous(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "1.png")
    picture(tmp_path / "2.png")
    assert problems(find_images, tmp_path, class_label(("cat",), 1)) == [
        f"{tmp_path}: holds both images and folders: one folder per label, or only images"
    ]


@pytest.mark.parametrize(
    ("labels", "outputs", "text", "expected"),
    [
        (("cat", "dog"), 2, "dog", 1),
        (("cat", "dog"), 2, "0", 0),
        ((), 1001, "1000", 1000),
        (DIGITS, 10, "7", 7),
        (("cat ", "dog"), 2, "cat", 0),
    ],
)
def test_a_class_label_is_an_index_or_a_line(
    labels: tuple[str, ...], outputs: int, text: str, expected: int
) -> None:
    assert class_label(labels, outputs)(text) == expected


@pytest.mark.parametrize(
    ("labels", "outputs", "text", "message"),
    [
        ((), 10, "10", "'10' is beyond the model's 10 outputs (0 to 9)"),
        ((), 10, "-1", "'-1' is neither an output index nor a line of the labels file"),
        ((), 10, "9" * 40, f"'{'9' * 40}' is neither an output index nor a line of the labels file"),
        (
            ("crane", "x", "crane"),
            3,
            "crane",
            "'crane' stands on 2 lines of the labels file: use the output index",
        ),
        (("1", "2", "3"), 3, "2", "'2' is output 2 by index and output 1 by the labels file: ambiguous"),
        (("a", "b", "c"), 2, "c", "'c' is beyond the model's 2 outputs (0 to 1)"),
    ],
)
def test_a_class_label_that_cannot_be_used(
    labels: tuple[str, ...], outputs: int, text: str, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        class_label(labels, outputs)(text)
    assert str(caught.value) == message


def test_vectors_with_labels_ids_and_missing_values(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,temperature,label,humidity\na,1.5,3,2\n,,4.5,nan\n")
    found = find_vectors(table, number_label)
    assert found.columns == ("temperature", "humidity")
    assert [(given.name, given.label) for given in found] == [("a", 3.0), ("t.csv:3", 4.5)]
    first, second = (given.payload() for given in found)
    assert isinstance(first, np.ndarray)
    assert first.tolist() == [1.5, 2.0]
    assert isinstance(second, np.ndarray)
    assert all(math.isnan(value) for value in second)


def test_every_problem_of_vectors_with_its_line(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,x,label\na,1,1\na,2,2\nb,inf,1\nc,x,1\nd,1,much\n")
    assert problems(find_vectors, table, number_label) == [
        f"{table}: line 4: x: 'inf' is not a finite number",
        f"{table}: line 5: x: 'x' is not a finite number",
        f"{table}: line 6: label 'much' is not a finite number",
        f"{table}: the name 'a' appears twice",
    ]
    table.write_text("label\n1\n")
    assert problems(find_vectors, table, number_label) == [f"{table}: no rows of values"]


def test_an_image_that_vanished_is_a_frame_error(tmp_path: Path) -> None:
    gone = picture(tmp_path / "a.png")
    found = find_images(tmp_path, None)
    gone.unlink()
    with pytest.raises(FrameError, match=r"^a\.png: cannot be read: No such file or directory$"):
        found.inputs[0].payload()


def test_every_format_that_is_decoded_is_found_and_tiff_is_named(tmp_path: Path) -> None:
    for suffix in ("jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "pgm", "PNM"):
        picture(tmp_path / "cat" / f"a.{suffix}")
    found = find_images(tmp_path, class_label(("cat",), 1))
    assert len(found) == 9
    scan, other = picture(tmp_path / "cat" / "b.TIF"), picture(tmp_path / "c.tiff")
    expected = [f"{other}: TIFF is not read: convert it", f"{scan}: TIFF is not read: convert it"]
    assert problems(find_images, tmp_path, class_label(("cat",), 1)) == expected
    (tmp_path / "t.csv").write_text("file\ncat/a.jpg\ncat/b.TIF\n")
    assert problems(find_images, tmp_path / "t.csv", None) == [
        f"{tmp_path}/t.csv: line 3: cat/b.TIF: TIFF is not read: convert it"
    ]
