"""The demo's scene and models: what the demo claims to show is really there."""

import hashlib

import cv2
import numpy as np
import pytest

from agent.decode.regression import RegressionDecoder
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import differing_steps, parse
from agent.runtime.choice import choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from tools.demo import scene, sensor
from tools.demo.train import accuracy

COUNT = 600
"""Pictures per measurement: one of each held-out digit. The standard error is at most 2 points."""
MODELS = ["digits_float.tflite", "digits_int8.tflite"]


def spec_text(name: str) -> str:
    return (scene.ASSETS / name).read_text("utf-8")


def test_the_sprite_sheet_holds_the_original_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    original = datasets.load_digits()
    digits = scene.digits()
    np.testing.assert_array_equal(digits.pixels, original.images)
    np.testing.assert_array_equal(digits.labels, original.target)


def test_the_sprite_sheet_is_written_as_it_is_read() -> None:
    digits = scene.digits()
    assert (scene.ASSETS / "digits.png").stat().st_size < 80_000
    np.testing.assert_array_equal(
        scene.digits().pixels[:100],
        _read_back(scene.sprite_sheet(digits.pixels[:100]), 100),
    )


def _read_back(png: bytes, count: int) -> np.ndarray:
    sheet = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    tile = scene.TILE
    return np.array(
        [
            sheet[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            for row, column in (divmod(index, scene.COLUMNS) for index in range(count))
        ]
    )


def test_training_and_held_out_digits_are_disjoint_and_complete() -> None:
    def identities(digits: scene.Digits) -> list[bytes]:
        return [hashlib.sha256(pixels.tobytes()).digest() for pixels in digits.pixels]

    held_out, training = identities(scene.held_out()), identities(scene.training())
    assert (len(held_out), len(training)) == (600, 1197)
    assert not set(held_out) & set(training)
    assert sorted(held_out + training) == sorted(identities(scene.digits()))
    assert np.bincount(scene.held_out().labels).min() >= 50


def test_a_seed_fixes_the_picture_and_another_changes_it() -> None:
    digit = scene.held_out().pixels[0]
    first, again, other = (scene.render(digit, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    assert np.abs(first.astype(int) - other).mean() > 5


def test_pictures_in_a_row_are_not_alike() -> None:
    digits, rng = scene.held_out(), np.random.default_rng(1)
    means = np.array([scene.render(pixels, rng).mean((0, 1)) for pixels in digits.pixels[:400]])
    for channel in means.T:
        lag_1 = np.corrcoef(channel[:-1], channel[1:])[0, 1]
        # 3.3 standard errors of an independent series.
        assert abs(lag_1) < 3.3 / np.sqrt(len(channel))


def test_dusk_takes_light_and_detail() -> None:
    day = scene.render(scene.held_out().pixels[0], np.random.default_rng(2))
    np.testing.assert_array_equal(scene.dusk(day, 0.0), day)
    half, night = scene.dusk(day, 0.5), scene.dusk(day)
    assert night.mean() == pytest.approx(day.mean() * (1 - scene.DUSK_DARKNESS), rel=0.02)
    assert day.std() > half.std() > night.std()
    assert day.mean() > half.mean() > night.mean()


def test_the_legacy_preprocessing_is_another_resize_and_normalisation() -> None:
    trained, legacy = (parse(spec_text(name)) for name in ("preprocess.yaml", "legacy.yaml"))
    assert differing_steps(trained, legacy) == ("resize", "normalize")


@pytest.mark.runtime
@pytest.mark.parametrize("model", MODELS)
def test_faults_cost_what_the_demo_shows(model: str) -> None:
    assert (scene.ASSETS / model).stat().st_size < 120_000
    healthy = accuracy(model, "preprocess.yaml", count=COUNT)
    assert healthy >= 0.95
    assert accuracy(model, "legacy.yaml", count=COUNT) <= healthy - 0.15
    assert accuracy(model, "preprocess.yaml", scene.dusk, count=COUNT) <= healthy - 0.15


def test_the_expected_error_is_the_closed_form() -> None:
    best = sensor.Line(slope=10.0, intercept=-21.0)
    assert sensor.expected_mse(best, sensor.TRAINED) == pytest.approx(32.0)
    assert sensor.expected_mse(best, sensor.DEPLOYED) == pytest.approx(49.0)


def test_the_fit_is_the_best_line() -> None:
    line = sensor.fit(sensor.TRAINED.draw(1_000_000, np.random.default_rng(3)))
    # Standard errors .01 and .04.
    assert line.slope == pytest.approx(10.0, abs=0.04)
    assert line.intercept == pytest.approx(-21.0, abs=0.2)


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("operation", "expected"), [(sensor.TRAINED, 32.0), (sensor.DEPLOYED, 49.0)], ids=["trained", "deployed"]
)
def test_the_regression_device_errs_as_computed(operation: sensor.Operation, expected: float) -> None:
    runner = open_runner(
        Cpu(),
        (scene.ASSETS / "regression.tflite").read_bytes(),
        runtime=choose("auto", cache=None),
        threads=1,
    )
    compiled = compile_spec(parse(spec_text("regression.yaml")), runner.input)
    decoder = RegressionDecoder()
    x = operation.draw(20_000, np.random.default_rng(4))
    predicted = [
        decoder.decode(runner.run(compiled(np.array([value])).tensor), runner.outputs).values[0]
        for value in x
    ]
    squares = (np.array(predicted) - sensor.truth(x)) ** 2
    # Four standard errors of the mean of this sample: about 3.4 and 4.5.
    tolerance = 4 * squares.std() / np.sqrt(len(squares))
    assert tolerance < 6
    assert squares.mean() == pytest.approx(expected, abs=tolerance)
