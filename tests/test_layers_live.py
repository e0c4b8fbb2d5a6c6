"""What the device sees now, against the ranges that calibration chose."""

import json
from pathlib import Path

import bundles
import cv2
import numpy as np
import pytest
import textures
import tiny
import twins
from numpy.typing import NDArray

from agent.bundle import load
from calibration import layers
from calibration.check_result import LayerView
from calibration.layer.live import INPUTS, drawn, live_findings, live_inputs
from tools.cli import main

pytestmark = pytest.mark.runtime
DIM = twins.INPUTS[:16] * np.float32(0.3)


def viewed(model: bytes, real: NDArray[np.float32]) -> LayerView:
    return layers.view(
        model,
        twins.twin("float"),
        [twins.stored(model, one) for one in real],
        runtime=tiny.runtime(),
        real=list(real),
    )


def test_live_inputs_beyond_the_calibrated_range_are_said_with_their_numbers() -> None:
    """An input calibrated to half its range: dim golden pictures stay inside, bright ones do not."""
    good = twins.twin("good")
    short = twins.with_scale(good, twins.graph(good).inputs[0], 0.5)
    (said,) = live_findings(viewed(short, DIM), viewed(short, twins.INPUTS[:16]))
    assert said == (
        "live inputs: they reach -1 at serving_default_image:0 (input), calibrated to -0.498 (golden: -0.3). "
        "What lies beyond is cut off: calibrate again with representative inputs that include ones like "
        "these."
    )
    assert live_findings(viewed(short, twins.INPUTS[:16]), viewed(short, twins.INPUTS[16:32])) == ()


def test_a_well_calibrated_model_holds_other_inputs() -> None:
    good = twins.twin("good")
    assert live_findings(viewed(good, DIM), viewed(good, twins.INPUTS[:16])) == ()
    assert live_findings(viewed(good, twins.INPUTS[:16]), viewed(good, twins.INPUTS[16:32])) == ()


def test_inputs_are_drawn_and_always_the_same_ones() -> None:
    payloads = [bytes([number]) for number in range(200)]
    chosen = drawn(payloads)
    assert len(set(chosen)) == INPUTS and chosen == drawn(payloads)
    assert max(chosen) > bytes([100]) and chosen != tuple(payloads[:INPUTS])
    assert set(drawn(payloads[:5])) == set(payloads[:5])


@pytest.fixture(scope="module")
def short_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texture model with its input calibrated to half the range; textures hardly leave it."""
    folder = tmp_path_factory.mktemp("live")
    model = twins.with_scale(tiny.TWIN_INT8, twins.graph(tiny.TWIN_INT8).inputs[0], 0.5)
    (folder / "float.tflite").write_bytes(tiny.TWIN_FLOAT)
    return bundles.make_golden_bundle(folder, model_bytes=model)


def glaring(folder: Path) -> Path:
    """Black and white pictures, and a file that is none."""
    folder.mkdir()
    rng = np.random.default_rng(4)
    for number in range(20):
        cv2.imwrite(str(folder / f"{number}.png"), rng.choice(np.array([0, 255], np.uint8), (16, 16, 3)))
    (folder / "damaged.png").write_bytes(b"\x89PNG")
    return folder


def findings(capsys: pytest.CaptureFixture[str], bundle: Path, live: Path) -> list[str]:
    words = ("check", bundle, "--float", bundle.parent / "float.tflite", "--live", live, "--json")
    assert main([str(word) for word in words]) in (0, 1)
    said: list[str] = json.loads(capsys.readouterr().out)["layers"]["findings"]
    return [each for each in said if each.startswith("live inputs: ")]


def test_check_looks_at_live_inputs_too(
    short_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (said,) = findings(capsys, short_bundle, glaring(tmp_path / "glaring"))
    assert "(input), calibrated to" in said
    textures.write(tmp_path / "usual", 20, seed=77)
    (tmp_path / "usual" / "labels.csv").unlink()
    assert findings(capsys, short_bundle, tmp_path / "usual") == []


def test_vectors_come_from_a_csv(tmp_path: Path) -> None:
    bundle = load(bundles.make_bundle(tmp_path, vectors=True))
    table = bundles.write_vectors(tmp_path / "live.csv", 30, seed=9)
    found = live_inputs(bundle, table, tiny.runner(bundle.flatbuffer).input)
    assert len(found) == 16 and all(isinstance(one, np.ndarray) and one.shape == (1,) for one in found)


def test_live_inputs_that_cannot_be_used(
    short_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object) -> str:
        assert main(["check", str(short_bundle), *map(str, words)]) == 2
        return capsys.readouterr().err

    twin = short_bundle.parent / "float.tflite"
    assert "--live: needs --float" in refused("--live", tmp_path)
    assert f"--live: {tmp_path / 'no'}: no such file" in refused("--float", twin, "--live", tmp_path / "no")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    assert "no input can be used: broken.png" in refused("--float", twin, "--live", tmp_path)
