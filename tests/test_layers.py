"""The view over depth as a user gets it: rows, the jump, and what ran."""

import numpy as np
import pytest
import tiny
import twins

from agent.errors import BundleError, InputError
from agent.preprocess.spec import parse
from calibration import layers
from calibration.check_result import LayerView
from calibration.tflite_metadata import read

pytestmark = pytest.mark.runtime


def viewed(name: str = "good", *, float_twin: str = "float", inputs: int = 16) -> LayerView:
    model = twins.twin(name)
    return layers.view(
        model,
        twins.twin(float_twin),
        twins.stored_all(model)[:inputs],
        runtime=tiny.runtime(),
        real=list(twins.INPUTS[:inputs]),
    )


def test_the_last_row_is_the_difference_of_the_models_outputs() -> None:
    shown = viewed()
    model = twins.twin("good")
    ours, theirs = tiny.runner(model, kernels="builtin"), tiny.runner(twins.twin("float"), kernels="builtin")
    spec = ours.outputs[0]
    here = [ours.run(tensor)[0].astype(float) for tensor in twins.stored_all(model)[:16]]
    real = (np.array(here) - spec.zero_point) * spec.scale
    wanted = np.array([theirs.run(one[None])[0] for one in twins.INPUTS[:16]], np.float64)
    last = shown.layers[-1]
    assert last.op == "SOFTMAX"
    assert last.snr_db == pytest.approx(
        10 * np.log10(np.sum(wanted**2) / np.sum((wanted - real) ** 2)), abs=0.01
    )
    assert last.seen == pytest.approx((wanted.min(), wanted.max()))
    assert last.calibrated == pytest.approx((0, 255 / 256))


def test_a_healthy_model_has_no_jump_and_no_culprit() -> None:
    shown = viewed()
    assert (shown.jump, shown.findings) == (None, ())
    assert {one.culprit for one in shown.layers} == {""}
    assert [one.depth for one in shown.layers] == list(range(9))


@pytest.mark.parametrize(("name", "depth"), [("zero_to_one", 0), ("per_tensor", 2)])
def test_the_jump_is_where_the_damage_was_done(name: str, depth: int) -> None:
    shown = viewed(name)
    assert shown.jump == shown.layers[depth].name
    assert shown.layers[depth].culprit


def test_the_same_view_from_a_twin_with_other_names() -> None:
    one, other = viewed("per_tensor"), viewed("per_tensor", float_twin="float_unfused")
    assert other.jump == one.jump and other.findings == one.findings
    for first, second in zip(one.layers, other.layers, strict=True):
        assert second.snr_db == pytest.approx(first.snr_db, abs=0.01)


def test_it_says_whether_production_runs_these_kernels() -> None:
    model, tensors = twins.twin("good"), twins.stored_all(twins.twin("good"))[:4]
    for kernels, same in (("builtin", True), ("reference", False)):
        runner = tiny.runner(model, kernels=kernels)
        shown = layers.view(model, twins.twin("float"), tensors, runtime=tiny.runtime(), production=runner)
        assert shown.production == same
        assert "the built-in kernels of" in shown.kernels and "every tensor kept" in shown.kernels
    default = layers.view(model, twins.twin("float"), tensors, runtime=tiny.runtime())
    info = tiny.runner(model).info
    assert default.production == (info.ops_delegated == 0)
    if info.ops_delegated:
        taken = f"production runs xnnpack, which takes {info.ops_delegated} of {info.ops_total} operators"
        assert taken in default.kernels


def test_rows_for_a_terminal() -> None:
    shown = viewed("per_tensor")
    rows = layers.table(shown)
    assert {len(row) for row in rows} == {len(layers.HEADINGS)}
    assert rows[0][:3] == ("0", "input", "serving_default_image:0")
    assert rows[0][6:8] == ("-0.996 to 1", "-1 to 1")
    assert rows[2][8].startswith("per-tensor weights: channel ranges")
    assert max(len(row[2]) for row in rows) == 40


def test_points_for_a_plot() -> None:
    shown = viewed("zero_to_one")
    points = layers.plot_points(shown)
    assert [point.jump for point in points] == [True] + [False] * 8
    assert all(-10 <= point.snr_db <= 60 for point in points)
    same = twins.twin("float")
    against_itself = layers.view(same, same, [twins.INPUTS[:1]], runtime=tiny.runtime())
    assert [point.snr_db for point in layers.plot_points(against_itself)] == [60.0] * 9


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    model = twins.twin("good")
    layers.view(
        model, twins.twin("float"), twins.stored_all(model)[:3], runtime=tiny.runtime(),
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(1, 3), (2, 3), (3, 3)]


SPEC = """
version: "1"
steps:
- decode: {exif: ignore}
- color: {order: rgb}
- normalize: {divisor: 127.5, mean: [1], std: [1]}
- cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""


def test_real_inputs_are_what_the_steps_give_before_rounding() -> None:
    model = twins.twin("zero_to_one")
    tensor = read(model, where="model").inputs[0]
    pixels = np.round((twins.INPUTS[0] + 1) * 127.5).astype(np.uint8)
    found = layers.real_inputs(parse(SPEC), tensor, [pixels])
    assert found is not None
    np.testing.assert_allclose(found[0], twins.INPUTS[:1], atol=1e-6)
    assert found[0].min() < -0.5, "not cut to the model's 0 to 1"
    raw = SPEC[: SPEC.index("- normalize")] + "- cast: {mode: raw, rounding: half_even, layout: nhwc}\n"
    assert layers.real_inputs(parse(raw), tensor, [pixels]) is None


def test_what_cannot_be_compared_is_refused() -> None:
    model = twins.twin("good")
    tensors = twins.stored_all(model)[:2]
    with pytest.raises(InputError, match="layers: expected inputs, got 0"):
        layers.view(model, twins.twin("float"), [], runtime=tiny.runtime())
    with pytest.raises(InputError, match="got 2 and 1 as real numbers"):
        layers.view(model, twins.twin("float"), tensors, runtime=tiny.runtime(), real=[twins.INPUTS[0]])
    with pytest.raises(BundleError, match="is it the model that was quantized"):
        layers.view(model, tiny.CLASSIFIER, tensors, runtime=tiny.runtime())
    with pytest.raises(BundleError, match="float model: the model is damaged"):
        layers.view(model, twins.twin("float")[:500], tensors, runtime=tiny.runtime())
