"""The runtimes themselves: which one is chosen and why, and what a runner does with a model."""

import csv
import json
import os
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import standin
import tiny
from contract_delegate import DelegateContract, image
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.errors import BundleError, DelegateError, RuntimeUnavailableError
from agent.runtime import KINDS
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.delegation import delegated
from agent.runtime.edgetpu import EdgeTpu
from agent.runtime.external import External
from agent.runtime.flatbuffer import check
from agent.runtime.interpreter import _check_inputs, _line, open_runner
from agent.runtime.probe import PROBE_MODEL
from agent.structure import load_kind, structure_kind

pytestmark = pytest.mark.runtime

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ("auto", "xnnpack", "builtin", "reference")


class TestCpu(DelegateContract):
    kind = "cpu"


class StandInContract(DelegateContract):
    """Hardware, here in this process; the child that runs it in production has tests of its own."""

    linear, classifier, detector, free_batch = (
        standin.model("linear"),
        standin.CLASSIFIER_TWIN,
        standin.model("detector"),
        standin.model("relu"),
    )

    def delegate(self) -> Any:
        options = {"kind": self.kind, "library": str(standin.library())}
        return structure_kind(options, KINDS, root="model.delegate")


class TestExternal(StandInContract):
    kind = "external"


class TestEdgeTpu(StandInContract):
    kind = "edgetpu"


def test_every_kind_keeps_the_contract() -> None:
    assert {TestCpu.kind, *(cls.kind for cls in StandInContract.__subclasses__())} == set(KINDS)


def test_kinds_say_what_they_are() -> None:
    kinds = {name: load_kind(KINDS, name) for name in KINDS}
    made = {"cpu": kinds["cpu"](), "edgetpu": kinds["edgetpu"](), "external": kinds["external"](library="a")}
    assert {name: (one.name, one.hardware, one.twin) for name, one in made.items()} == {
        "cpu": ("cpu", False, "cpu"),
        "edgetpu": ("edgetpu", True, "edgetpu"),
        "external": ("external", True, "cpu"),
    }
    assert kinds["external"](library="a", model="edgetpu").twin == "edgetpu"


@pytest.mark.parametrize("device", ["auto", "usb", "pci", "usb:0", "pci:12"])
def test_an_edge_tpu_is_named_as_its_library_names_it(device: str) -> None:
    assert EdgeTpu(device=device).problems() == []


@pytest.mark.parametrize("device", ["", "usb:", "usb:x", "0", "apex_0", "pci:0 ", "usb:١"])
def test_another_name_for_an_edge_tpu_is_refused(device: str) -> None:
    message = f"device: must be auto, usb, pci, or usb:N or pci:N with a number, got {device!r}"
    assert EdgeTpu(device=device).problems() == [message]


def test_a_delegate_without_a_library_is_refused() -> None:
    assert External(library="").problems() == ["library: must name a shared library"]
    assert EdgeTpu(library="").problems() == ["library: must name a shared library"]


def test_an_edge_tpu_that_is_not_there_says_what_it_may_be(tmp_path: Path) -> None:
    # libedgetpu itself says nothing when it finds no device.
    nameless = tmp_path / "nameless.so"
    source = "void *tflite_plugin_create_delegate() { return 0; } void tflite_plugin_destroy_delegate() {}"
    command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(nameless)]
    standin.library()  # skips where there is no compiler
    subprocess.run(command, input=source.encode(), check=True)
    with pytest.raises(DelegateError) as caught:
        EdgeTpu(library=str(nameless), device="usb:1").load(tiny.runtime())
    assert str(caught.value) == (
        f"delegate edgetpu: Failed to load delegate from {nameless}; no such Edge TPU answers here, or "
        "another process has it; type: litewatch doctor"
    )


def test_options_reach_the_library_as_text() -> None:
    refusing = External(library=str(standin.library()), options={"slow_ms": 1, "refuse_create": True})
    with pytest.raises(DelegateError, match="stand-in: refused as asked"):
        refusing.load(tiny.runtime())
    quiet = External(
        library=str(standin.library()), options={"off_by_one": False, "wrong": 0}, model="edgetpu"
    )
    (scores,) = quiet.open(tiny.EDGETPU, runtime=tiny.runtime(), threads=1).run(image(200, 60, 0))
    (expected,) = tiny.runner(tiny.CLASSIFIER, kernels="reference").run(image(200, 60, 0))
    assert np.array_equal(scores, expected)


# Which runtime.


def in_a_process(code: str, *, path: Path) -> subprocess.CompletedProcess[str]:
    """``code`` in a fresh interpreter whose packages come from ``path`` first."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def choosing(preference: str) -> str:
    return (
        "from agent.runtime.choice import choose\n"
        "from agent.errors import RuntimeUnavailableError\n"
        f"try: print(choose({preference!r}, cache=None).name)\n"
        "except RuntimeUnavailableError as error: print(error)\n"
    )


def installed(folder: Path, distribution: str, version: str, interpreter: str) -> Path:
    """``folder`` as a place where ``distribution`` is installed with this ``interpreter.py``."""
    package = folder / distribution.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(interpreter)
    info = folder / f"{package.name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    return folder


def tflite_runtime_package() -> Path | None:
    """The site-packages of an environment with the genuine tflite-runtime, if one is at hand."""
    roots = [Path(os.environ["LITEWATCH_TFLITE_ENV"])] if "LITEWATCH_TFLITE_ENV" in os.environ else []
    roots += [ROOT / ".venv-tflite"]
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = [root / "lib" / version / "site-packages" for root in roots]
    return next((path for path in packages if (path / "tflite_runtime").is_dir()), None)


def test_the_chosen_runtime_is_the_installed_one() -> None:
    runtime = tiny.runtime()
    assert runtime.version == metadata.version(runtime.name)
    assert hasattr(import_module(runtime.module), "Interpreter")


def test_the_probe_runs_the_linear_model() -> None:
    assert PROBE_MODEL == tiny.LINEAR


def test_a_second_start_spawns_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "state" / "runtime.json"
    first = choose("auto", cache=cache)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))  # a spawn would fail
    assert choose("auto", cache=cache) == first
    with pytest.raises(RuntimeUnavailableError, match="cannot start"):
        choose("auto", cache=None)


def test_other_versions_are_tried_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "runtime.json"
    choose("auto", cache=cache)
    (pairing,) = json.loads(cache.read_text())["problems"]
    numpy = metadata.version("numpy")
    assert f"numpy {numpy} " in pairing
    other = pairing.replace(f"numpy {numpy} ", "numpy 1.0 ")
    cache.write_text(json.dumps({"problems": {other: ""}}))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    with pytest.raises(RuntimeUnavailableError, match="cannot start"):
        choose("auto", cache=cache)


def test_a_remembered_failure_is_tried_again_before_giving_up(tmp_path: Path) -> None:
    cache = tmp_path / "runtime.json"
    runtime = choose("auto", cache=cache)
    (pairing,) = json.loads(cache.read_text())["problems"]
    cache.write_text(json.dumps({"problems": {pairing: "the disk was full that day"}}))
    assert choose("auto", cache=cache) == runtime
    assert json.loads(cache.read_text())["problems"] == {pairing: ""}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"problems": {"a": 1}}', "\udcff"])
def test_a_damaged_cache_is_written_anew(tmp_path: Path, content: str) -> None:
    cache = tmp_path / "runtime.json"
    cache.write_bytes(content.encode("utf-8", "surrogateescape"))
    choose("auto", cache=cache)
    assert list(json.loads(cache.read_text())["problems"].values()) == [""]


def test_a_cache_that_cannot_be_written_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert choose("auto", cache=tmp_path / "file" / "runtime.json") == tiny.runtime()


def test_a_runtime_that_is_not_installed_says_what_to_type() -> None:
    here = tiny.runtime().name
    preference, name = (
        ("tflite", "tflite-runtime") if here == "ai-edge-litert" else ("litert", "ai-edge-litert")
    )
    with pytest.raises(RuntimeUnavailableError) as caught:
        choose(preference, cache=None)  # type: ignore[arg-type]  # one of the two literals above
    first, second = str(caught.value).splitlines()
    assert first == "no TFLite runtime works here:"
    assert second.startswith(f"{name}: not installed; type: pip install {name}")


def test_tflite_runtime_beside_numpy_2_is_named_with_the_cure(tmp_path: Path) -> None:
    numpy, package = metadata.version("numpy"), tflite_runtime_package()
    if numpy.startswith("1."):
        pytest.skip("skipped: needs numpy 2 (the first environment)")
    if package is None:
        pytest.skip("skipped: no tflite-runtime at hand (LITEWATCH_TFLITE_ENV names its environment)")
    for found in package.glob("tflite_runtime*"):
        (tmp_path / found.name).symlink_to(found)
    python = ".".join(map(str, sys.version_info[:3]))
    assert in_a_process(choosing("tflite"), path=tmp_path).stdout.splitlines() == [
        "no TFLite runtime works here:",
        f"tflite-runtime 2.14.0 with numpy {numpy} on Python {python} does not work: built for numpy 1 "
        "(_ARRAY_API not found); type: pip install tflite-runtime==2.14.0 'numpy<2' "
        "'opencv-python-headless<4.12'",
    ]
    # Chosen all the same (a stale cache), it fails with the same words.
    opening = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import tiny\n"
        "from agent.runtime.choice import Runtime\n"
        "from agent.errors import RuntimeUnavailableError\n"
        "broken = Runtime(name='tflite-runtime', module='tflite_runtime.interpreter', version='2.14.0')\n"
        "try: tiny.open_runner(tiny.Cpu(), tiny.LINEAR, runtime=broken, threads=1)\n"
        "except RuntimeUnavailableError as error: print(error)\n"
    )
    said = in_a_process(opening, path=tmp_path).stdout
    assert said.startswith(f"tflite-runtime 2.14.0 with numpy {numpy} on Python {python} does not work: ")
    assert said.endswith("type: pip install tflite-runtime==2.14.0 'numpy<2' 'opencv-python-headless<4.12'\n")
    # And it is no obstacle to the one that works.
    assert in_a_process(choosing("auto"), path=tmp_path).stdout.strip() == tiny.runtime().name


@pytest.mark.parametrize(
    ("interpreter", "reason"),
    [
        ("import os\nos.kill(os.getpid(), 11)\n", "killed by signal 11 while running a model"),
        ("raise ImportError('libGLESv2.so: cannot open')\n", "ImportError: libGLESv2.so: cannot open"),
        ("import sys\nsys.exit(3)\n", "exit code 3"),
    ],
)
def test_a_runtime_that_dies_is_passed_over_or_explained(
    tmp_path: Path, interpreter: str, reason: str
) -> None:
    installed(tmp_path, "ai-edge-litert", "99.0", interpreter)
    assert (
        f": {reason}; type: pip install ai-edge-litert"
        in in_a_process(choosing("litert"), path=tmp_path).stdout
    )
    chosen = in_a_process(choosing("auto"), path=tmp_path).stdout.strip()
    if tiny.runtime().name == "tflite-runtime":
        assert chosen == "tflite-runtime"
    else:  # now nothing works: every reason is told
        assert chosen.splitlines()[2].startswith("tflite-runtime: not installed")


WRONG = """
import numpy
class Interpreter:
    def __init__(self, **options): pass
    def allocate_tensors(self): pass
    def get_input_details(self): return [{"index": 0}]
    get_output_details = get_input_details
    def set_tensor(self, index, value): pass
    def invoke(self): pass
    def get_tensor(self, index): return numpy.array([[8.0]], numpy.float32)
"""


def test_a_runtime_that_computes_nonsense_is_refused(tmp_path: Path) -> None:
    installed(tmp_path, "ai-edge-litert", "99.0", WRONG)
    assert (
        "ArithmeticError: 2 * 3 + 1 came out as 8.0" in in_a_process(choosing("litert"), path=tmp_path).stdout
    )


def test_a_runtime_that_vanished_since_it_was_chosen_is_named() -> None:
    gone = Runtime(name="ai-edge-litert", module="ai_edge_litert.moved", version="0.0")
    message = r"^ai-edge-litert 0\.0 with numpy .* does not work: No module"
    with pytest.raises(RuntimeUnavailableError, match=message):
        open_runner(Cpu(), tiny.LINEAR, runtime=gone, threads=1)


# Kernel families and the share of operators delegated.


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("model", "operators"), [(tiny.LINEAR, 1), (tiny.CLASSIFIER, 3), (tiny.DETECTOR, 6)])
def test_the_kernels_named_are_those_that_run(model: bytes, operators: int, kernels: Any) -> None:
    info = tiny.runner(model, kernels=kernels).info
    assert info.ops_total == operators
    if kernels in ("builtin", "reference"):
        assert (info.kernels, info.ops_delegated) == (kernels, 0)
    else:
        assert info.kernels == ("xnnpack" if info.ops_delegated else "builtin")


def test_xnnpack_takes_float_models_in_both_runtimes_and_8_bit_ones_in_litert_only() -> None:
    taken = [tiny.runner(model).info.ops_delegated for model in (tiny.LINEAR, tiny.CLASSIFIER)]
    assert taken == ([1, 2] if tiny.runtime().name == "ai-edge-litert" else [1, 0])


@pytest.mark.parametrize("kernels", KERNELS)
def test_all_kernel_families_agree(kernels: Any) -> None:
    (scores,) = tiny.runner(tiny.CLASSIFIER, kernels=kernels).run(image(40, 20, 30))
    (expected,) = tiny.runner(tiny.CLASSIFIER, kernels="reference").run(image(40, 20, 30))
    assert np.abs(scores.astype(int) - expected.astype(int)).max() <= 1


def op(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


CHAIN = [op("CONV_2D", [0, 10], [1]), op("RELU", [1], [2]), op("ADD", [2, 2], [3]), op("SOFTMAX", [3], [4])]


@pytest.mark.parametrize(
    ("groups", "share"),
    [
        ([], 0),
        ([op("DELEGATE", [0, 10], [4])], 4),
        ([op("DELEGATE", [0, 10], [2])], 2),
        ([op("DELEGATE", [0, 10], [1]), op("DELEGATE", [3], [4])], 2),
        ([op("DELEGATE", [1], [3])], 2),
        # A tensor needed inside and outside its group is one of the group's outputs.
        ([op("DELEGATE", [0, 10], [2, 3])], 3),
    ],
)
def test_the_operators_a_group_replaced_are_counted(groups: list[dict[str, Any]], share: int) -> None:
    assert delegated([*CHAIN, *groups]) == (4, share)


# Files that are not whole.


def test_every_truncation_is_found() -> None:
    for length in range(len(tiny.CLASSIFIER)):
        with pytest.raises(BundleError, match=r"^model: (damaged or truncated|not a \.tflite file)"):
            check(tiny.CLASSIFIER[:length])


@pytest.mark.parametrize("path", sorted(tiny.FOLDER.glob("*.tflite")), ids=lambda path: path.stem)
def test_whole_files_pass(path: Path) -> None:
    check(path.read_bytes())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_else(tail: bytes) -> None:
    with pytest.raises(BundleError):
        check(b"\x1c\x00\x00\x00TFL3" + tail)


ALTERED = """
import random, sys
sys.path.insert(0, "tests")
from importlib import import_module
import tiny
from agent.errors import BundleError
from agent.runtime.flatbuffer import check
interpreter = import_module(tiny.runtime().module).Interpreter
chance, refused, read = random.Random(7), 0, 0
for _ in range(1000):
    model = bytearray(chance.choice([tiny.LINEAR, tiny.CLASSIFIER, tiny.EDGETPU, tiny.TWO_INPUTS]))
    for _ in range(chance.choice([1, 1, 2, 4])):
        model[chance.randrange(8, len(model))] = chance.choice([0, 1, 255, chance.randrange(256)])
    try:
        check(bytes(model))
    except BundleError:
        refused += 1
        continue
    read += 1
    try:
        interpreter(model_content=bytes(model))
    except (ValueError, RuntimeError, MemoryError):
        pass
print(refused > 200, read > 200, refused + read)
"""


def test_altered_files_that_pass_never_kill_the_runtime_that_reads_them(tmp_path: Path) -> None:
    # In a process of its own: tflite-runtime takes it down on most of those that are refused.
    finished = in_a_process(ALTERED, path=tmp_path)
    assert (finished.returncode, finished.stdout.strip()) == (0, "True True 1000"), finished.stderr[-2000:]


# Edge TPU models and real ones.


def refusal(model: bytes) -> str:
    with pytest.raises(DelegateError) as caught:
        tiny.runner(model)
    return str(caught.value)


NEEDS_EDGE_TPU = (
    "model: compiled for the Edge TPU, so it needs the Edge TPU delegate and cannot run on delegate 'cpu'; "
    "use the .tflite file that was given to edgetpu_compiler"
)


def test_an_edge_tpu_model_on_the_cpu_says_what_it_needs() -> None:
    assert refusal(tiny.EDGETPU) == NEEDS_EDGE_TPU


def test_a_real_edge_tpu_model_on_the_cpu_says_the_same(data: Path) -> None:
    twin = data / "models" / "coral_edgetpu_mobilenet_v2_1.0_224_quant_edgetpu.tflite"
    assert refusal(twin.read_bytes()) == NEEDS_EDGE_TPU


def rgb(path: Path) -> np.ndarray:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.cvtColor(cv2.imread(str(path), flags), cv2.COLOR_BGR2RGB)


def test_mobilenet_gives_what_the_bare_runtime_gives(data: Path) -> None:
    content = (data / "models" / "mobilenet_v1_0.25_224_quant.tflite").read_bytes()
    runner = tiny.runner(content)
    bare = import_module(tiny.runtime().module).Interpreter(model_content=content, num_threads=1)
    bare.allocate_tensors()
    decoder = ClassificationDecoder(values="scores")
    assert decoder.check(runner.outputs) == ()
    for path in sorted((data / "images" / "imagenet_sample").glob("*.JPEG"))[:5]:
        tensor = cv2.resize(rgb(path), (224, 224))[np.newaxis]
        bare.set_tensor(bare.get_input_details()[0]["index"], tensor)
        bare.invoke()
        expected = bare.get_tensor(bare.get_output_details()[0]["index"])
        outputs = runner.run(tensor)
        assert np.array_equal(outputs[0], expected)
        prediction = decoder.decode(outputs, runner.outputs)
        assert prediction.top == int(np.argmax(expected))
        assert prediction.score == expected.max() / 256


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (ymin, xmin, ymax, xmax)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0)))
    return common / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


@pytest.mark.parametrize(("picture", "found"), [("000000000154.jpg", {23}), ("000000000009.jpg", {50, 55})])
def test_ssd_finds_what_people_marked(data: Path, picture: str, found: set[int]) -> None:
    model = data / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    runner = tiny.runner(model.read_bytes(), threads=2)
    decoder = DetectionDecoder(threshold=0.65)
    assert decoder.check(runner.outputs) == ()
    name = f"coco_train2017/{picture}"
    tensor = cv2.resize(rgb(data / "images" / name), (300, 300))[np.newaxis]
    prediction = decoder.decode(runner.run(tensor), runner.outputs)
    marked = []
    with (data / "boxes_coco.csv").open() as file:
        for row in csv.DictReader(file):
            x, y, width, height = (float(row[key]) for key in ("x_centre", "y_centre", "width", "height"))
            corners = np.array([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
            if row["file"] == name:
                marked.append((int(row["ssd_output_index"]), corners))
    assert set(prediction.classes.tolist()) == found
    for box, index in zip(prediction.boxes, prediction.classes, strict=True):
        assert max(overlap(box, corners) for label, corners in marked if label == index) >= 0.5


def test_what_a_model_says_cannot_reach_the_terminal() -> None:
    def slot(name: str, shape: list[int]) -> dict[str, Any]:
        return {"name": name, "shape": shape, "shape_signature": shape, "dtype": np.float32}

    with pytest.raises(BundleError) as caught:
        _check_inputs([slot("a\x1b]0;title\x07" + "b" * 200, [2, 3])])
    shown = "a\ufffd]0;title\ufffd" + "b" * 88 + "…"
    assert str(caught.value) == f"model: input '{shown}' has a batch of 2, shape (2, 3); export it with 1"
    with pytest.raises(BundleError) as caught:
        _check_inputs([slot(f"{number}\r", [1]) for number in range(12)])
    names = ", ".join(f"{number}\ufffd" for number in range(10))
    assert str(caught.value) == f"model: expected one input, got 12 ({names}, …)"
    assert _line(ValueError("node\x1b[2J\n  failed")) == "node\ufffd[2J failed"
    assert len(_line(ValueError("x" * 9000))) == 500
