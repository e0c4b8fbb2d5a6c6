"""Preprocessing that is not ours: loading a function, loading dumped tensors, fitting them to the input."""

import sys
from pathlib import Path

import bundles
import numpy as np
import pytest

from agent.contracts import TensorSpec
from agent.errors import InputError
from agent.preprocess.spec import parse
from calibration.foreign import fit, load_callable, load_tensors
from calibration.recorded.training_tensors import TrainingTensors

TENSOR = TensorSpec(name="input", shape=(1, 2, 2, 3), dtype="float32")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("their_pipeline", "their_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    file = tmp_path / "their_pipeline.py"
    file.write_text(
        "import numpy as np\n"
        "def length(data): return np.full((2, 2, 3), len(data), np.float32)\n"
        "def broken(data): return [][0]\n"
        "def words(data): return [data, None]\n"
        "def ragged(data): return [[1.0], [2.0, 3.0]]\n"
        "def texts(data): return np.array(['a'])\n"
        "def leaves(data): raise SystemExit(3)\n"
        "def talks(data):\n"
        "    print('frame', len(data))\n"
        "    return np.zeros(3)\n"
        "print('their banner')\n"
        "class Their:\n"
        "    @staticmethod\n"
        "    def ones(data): return np.ones((2, 2, 3))\n"
        "number = 3\n"
    )
    return file


def test_a_function_of_the_working_directory_is_found_and_called(module: Path) -> None:
    assert module.is_file()
    np.testing.assert_array_equal(load_callable("their_pipeline:length")(b"abc"), np.full((2, 2, 3), 3.0))
    np.testing.assert_array_equal(load_callable("their_pipeline:Their.ones")(b""), np.ones((2, 2, 3)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("their_pipeline", "expected module:function"),
        (":length", "expected module:function"),
        ("their_missing:f", "module their_missing cannot be imported: ModuleNotFoundError"),
        ("their_pipeline:absent", "module their_pipeline has no function absent"),
        ("their_pipeline:number", "something else, called number"),
    ],
)
def test_what_cannot_be_loaded_is_said(module: Path, text: str, said: str) -> None:
    assert module.is_file()
    with pytest.raises(InputError, match=said):
        load_callable(text)


def test_a_module_that_fails_while_it_is_imported_is_input_not_a_crash(module: Path) -> None:
    module.with_name("their_broken.py").write_text("raise RuntimeError('no camera')")
    with pytest.raises(InputError, match="their_broken cannot be imported: RuntimeError: no camera"):
        load_callable("their_broken:f")


def test_what_the_function_raises_or_returns_wrongly_names_it(module: Path) -> None:
    assert module.is_file()
    with pytest.raises(InputError, match="their_pipeline:broken: raised IndexError"):
        load_callable("their_pipeline:broken")(b"")
    for name, said in (
        ("words", "expected an array of numbers, got list"),
        ("ragged", "expected an array of numbers, got list that is none"),
        ("texts", "expected an array of numbers, got values of type <U1"),
        ("leaves", "raised SystemExit: 3"),
    ):
        with pytest.raises(InputError, match=f"their_pipeline:{name}: {said}"):
            load_callable(f"their_pipeline:{name}")(b"")


def test_what_the_function_prints_stays_out_of_the_result(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.is_file()
    load_callable("their_pipeline:talks")(b"abc")
    said = capsys.readouterr()
    assert said.out == "" and said.err == "their banner\nframe 3\n"


def test_a_module_that_ends_the_program_is_input(module: Path) -> None:
    module.with_name("their_broken.py").write_text("import sys\nsys.exit(0)")
    with pytest.raises(InputError, match="their_broken cannot be imported: SystemExit: 0"):
        load_callable("their_broken:f")


def test_tensors_are_found_by_file_name_or_stem(tmp_path: Path) -> None:
    np.save(tmp_path / "a.jpg.npy", np.full(3, 1))
    np.save(tmp_path / "b.npy", np.full(3, 2))
    found = load_tensors(tmp_path, ["a.jpg", "folder/b.png"])
    assert {name: int(array[0]) for name, array in found.items()} == {"a.jpg": 1, "folder/b.png": 2}


def test_what_was_not_dumped_is_left_out_unless_it_is_everything(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full(3, 1))
    assert set(load_tensors(tmp_path, ["a.jpg", "b.jpg"])) == {"a.jpg"}
    with pytest.raises(InputError, match=r"no tensor of any of the 2 golden inputs \(such as b.jpg.npy\)"):
        load_tensors(tmp_path, ["b.jpg", "c.jpg"])


def test_every_unreadable_tensor_is_reported_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError) as caught:
        load_tensors(tmp_path, ["a.jpg", "pickled.jpg", "short.jpg"])
    pickled, short = caught.value.problems
    assert "pickled.npy: cannot be read as a .npy array" in pickled
    assert "short.npy: cannot be read as a .npy array" in short
    with pytest.raises(InputError, match="not a folder"):
        load_tensors(tmp_path / "absent", ["a.jpg"])


def test_fit_adds_the_batch_axis_and_keeps_every_value() -> None:
    made = fit(np.arange(12, dtype=np.float64).reshape(2, 2, 3), TENSOR)
    assert (made.shape, made.dtype) == ((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(made.reshape(-1), np.arange(12))


def test_fit_refuses_another_shape_and_values_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="preprocessing gave 2x2x4, the model's input is 1x2x2x3"):
        fit(np.zeros((2, 2, 4)), TENSOR)
    with pytest.raises(InputError, match="uint8 values that the model's int8 input cannot hold"):
        fit(np.full((2, 2, 3), 200, np.uint8), TensorSpec(name="input", shape=(1, 2, 2, 3), dtype="int8"))
    with pytest.raises(InputError, match="float64 values that the model's uint8 input cannot hold"):
        fit(np.full((2, 2, 3), 0.5), TensorSpec(name="input", shape=(1, 2, 2, 3), dtype="uint8"))


def test_training_tensors_are_read_as_carefully(tmp_path: Path) -> None:
    spec = parse(bundles.IMAGE_SPEC)
    for made, said in (
        (np.save, "is a single number, the model's input 1x2x2x3"),
        (np.savez, "is no .npy array of numbers: is an .npz archive"),
    ):
        with (tmp_path / "a.npy").open("wb") as file:
            made(file, np.float32(3))
        tensors = TrainingTensors.open(tmp_path, ["a.jpg"])
        with pytest.raises(InputError, match=said):
            tensors.tensor("a.jpg", spec, TENSOR)
