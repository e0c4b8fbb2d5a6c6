"""What inputs are called: never by where they lie on the machine that lists them."""

import csv
import json
import os
import shutil
from pathlib import Path, PurePath

import bundles
import numpy as np
import pytest
import textures
from hypothesis import given
from hypothesis import strategies as st

from calibration.foreign import load_tensors
from calibration.golden import choose
from calibration.input_names import names
from calibration.labelled import find_images
from tools.cli import main

PARTS = st.sampled_from(["a", "b", "x.jpg", "..", "."])
PATHS = st.tuples(st.sampled_from(["", "/", "/data/", "../"]), st.lists(PARTS, min_size=1, max_size=4)).map(
    lambda drawn: drawn[0] + "/".join(drawn[1])
)


def called(*listed: str) -> list[str]:
    found = names(listed, PurePath("/home/someone/set"))
    return [found[path] for path in listed]


def test_relative_paths_below_the_list_are_names_and_others_their_last_part() -> None:
    assert called("cat/1.jpg", "./2.jpg", "cat/../3.jpg") == ["cat/1.jpg", "2.jpg", "3.jpg"]
    assert called("/home/someone/images/1.jpg", "../images/2.jpg") == ["1.jpg", "2.jpg"]


def test_files_of_one_name_are_told_apart_by_as_little_as_it_takes() -> None:
    assert called("/d/cat/1.jpg", "/d/dog/1.jpg", "/d/dog/2.jpg") == ["cat/1.jpg", "dog/1.jpg", "2.jpg"]
    assert called("/d/cat/a/1.jpg", "/d/dog/a/1.jpg") == ["cat/a/1.jpg", "dog/a/1.jpg"]
    assert called("1.jpg", "/d/cat/1.jpg") == ["1.jpg", "cat/1.jpg"]
    assert called("../1.jpg", "/home/someone/1.jpg") == ["1.jpg", "1.jpg"]  # one file


@given(st.lists(PATHS, unique=True, max_size=8))
def test_no_name_is_absolute_leads_out_or_is_given_twice(listed: list[str]) -> None:
    folder = PurePath("/home/someone/set")
    found = names(listed, folder)
    assert set(found) == set(listed)
    for name in found.values():
        assert not PurePath(name).is_absolute()
        assert ".." not in PurePath(name).parts

    places = {os.path.normpath(folder / path): name for path, name in found.items()}
    assert len(set(places.values())) == len(places)


def write_list(path: Path, images: Path, *, relative: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (images / "labels.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    with path.open("w", newline="") as file:
        start = "../images" if relative else str(images)
        csv.writer(file).writerows([("file", "label"), *((f"{start}/{name}", label) for name, label in rows)])
    return path


def test_the_blind_choice_does_not_move_with_the_folder(tmp_path: Path) -> None:
    chosen = []
    for place in ("here", "quite/elsewhere"):
        images = tmp_path / place / "images"
        textures.write(images, 12)
        chosen.append([one.name for one in choose(find_images(images / "labels.csv", int))])
        for relative in (False, True):
            table = write_list(tmp_path / place / "lists" / "all.csv", images, relative=relative)
            chosen.append([one.name for one in choose(find_images(table, int))])
    assert all(order == chosen[0] for order in chosen)
    assert len(chosen[0]) == 12


@pytest.mark.runtime
def test_no_path_of_the_packing_machine_is_in_a_bundle_or_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, held_out = tmp_path / "sources" / "golden", tmp_path / "sources" / "held_out"
    textures.write(images, 30, seed=22)
    textures.write(held_out, 30)
    made = bundles.pack_twin(
        tmp_path / "packing",
        golden=write_list(tmp_path / "lists" / "golden.csv", images),
        held_out=write_list(tmp_path / "lists" / "held_out.csv", held_out),
        golden_count=12,
        golden_margin=4,
    )
    device = tmp_path.parent / f"{tmp_path.name}-device"
    device.mkdir()
    (device / "bundle.tflite").write_bytes(made.data)
    shutil.rmtree(tmp_path / "sources")
    page = device / "check.html"
    assert main(["check", str(device / "bundle.tflite"), "--html", str(page), "--json"]) in (0, 1)
    said = capsys.readouterr().out
    json.loads(said)
    for content in (made.data, page.read_bytes(), said.encode()):
        for path in (str(tmp_path) + "/", "sources/", "../"):
            assert path.encode() not in content


def test_dumped_tensors_are_looked_for_inside_their_folder_only(tmp_path: Path) -> None:

    (tmp_path / "dump").mkdir()
    np.save(tmp_path / "secret.npy", np.zeros(2))
    np.save(tmp_path / "dump" / "b.npy", np.ones(2))
    found = load_tensors(tmp_path / "dump", ["../secret.png", str(tmp_path / "secret"), "/x/b.png", ".."])
    assert list(found) == ["/x/b.png"]
