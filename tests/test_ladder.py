"""The ladder on tiny bundles: healthy, and with one fault on each rung."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pytest
import tiny

from agent import golden_tensor
from agent.bundle import Bundle
from agent.contracts import Array, Runner, RunnerInfo, TensorSpec
from agent.errors import BundleError
from agent.golden import GoldenInput, GoldenSet
from agent.preprocess.spec import parse
from calibration.check_result import CheckResult, Rung
from calibration.ladder import climb
from calibration.paired import ALPHA
from calibration.rung.machine import Kernels, Runners
from calibration.rung.preparing import Foreign
from calibration.task import Choice

pytestmark = pytest.mark.runtime


class Altered:
    """A runner whose input or output tensors pass through a function: hardware that computes wrongly."""

    def __init__(self, runner: Runner, change: Callable[[Array], Array]) -> None:
        self._runner, self._change = runner, change

    @property
    def info(self) -> RunnerInfo:
        return replace(self._runner.info, delegate="altered")

    @property
    def input(self) -> TensorSpec:
        return self._runner.input

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._runner.outputs

    def run(self, tensor: Array) -> tuple[Array, ...]:
        return self._runner.run(self._change(tensor))

    def close(self) -> None:
        self._runner.close()


def healthy(bundle: Bundle) -> Runners:
    return Runners(cpu=lambda kernels: tiny.runner(bundle.flatbuffer, kernels=kernels))


def half(tensor: Array) -> Array:
    """Contrast and brightness halved: an operator that scales wrongly."""
    return (tensor.astype(np.int16) // 2).astype(tensor.dtype)


def rung(result: CheckResult, name: str) -> Rung:
    return next(found for found in result.rungs if found.name == name)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundles.pack_twin(tmp_path_factory.mktemp("twin")).bundle


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("readings")
    golden = bundles.write_vectors(folder / "golden.csv", 40, seed=9)
    return bundles.pack_vectors(folder, golden=golden, golden_count=32, golden_margin=0).bundle


def test_a_healthy_device_is_ok(twin: Bundle) -> None:
    result = climb(twin, runners=healthy(twin))
    assert (result.verdict, result.cause) == ("ok", None)
    assert [found.name for found in result.rungs] == ["float", "quantized", "kernels", "preprocess"]
    assert [found.compared for found in result.rungs] == [None, "float", "quantized", "kernels"]
    own = rung(result, "preprocess")
    assert (own.flips, own.points, own.p) == (0, 0.0, 1.0)
    assert "equal to the last bit" in own.sentence
    reference = rung(result, "kernels").families[0]
    assert (reference.name, reference.flips, reference.error.largest) == ("reference", 0, 0.0)
    assert result.origin == "self-made" and any("self-made" in note for note in result.notes)
    assert dict(result.environment)["delegate"] == "cpu"


def test_accuracy_is_that_of_the_random_stratum(twin: Bundle) -> None:
    result = climb(twin, runners=healthy(twin))
    chosen = twin.golden.stratum("random")
    right = sum(int(given.outputs[0].argmax()) == given.label for given in chosen)
    quantized = rung(result, "quantized")
    assert quantized.accuracy == right / len(chosen)
    assert (quantized.inputs, quantized.margin_inputs) == (len(chosen), len(twin.golden.stratum("margin")))


def test_a_delegate_that_computes_wrongly(twin: Bundle) -> None:
    runners = Runners(cpu=healthy(twin).cpu, delegate=lambda: Altered(tiny.runner(twin.flatbuffer), half))
    result = climb(twin, runners=runners)
    assert result.verdict != "ok" and result.cause == "delegate"
    assert rung(result, "kernels").verdict == "ok" and rung(result, "preprocess").verdict == "ok"
    assert (
        rung(result, "delegate").compared == "kernels" and rung(result, "preprocess").compared == "delegate"
    )


def test_kernels_of_production_that_compute_wrongly(twin: Bundle) -> None:
    def cpu(kernels: Kernels) -> Runner:
        runner = tiny.runner(twin.flatbuffer, kernels=kernels)
        return Altered(runner, half) if kernels == "auto" else runner

    result = climb(twin, runners=Runners(cpu=cpu))
    assert result.verdict != "ok" and result.cause == "kernels"


def test_a_machine_that_does_not_hold_the_recorded_model(twin: Bundle) -> None:
    def cpu(kernels: Kernels) -> Runner:
        return Altered(tiny.runner(twin.flatbuffer, kernels=kernels), half)

    result = climb(twin, runners=Runners(cpu=cpu))
    assert result.verdict != "ok" and result.cause == "hardware"
    assert "copy the bundle again" in result.sentence


def test_a_deployed_spec_that_differs_is_named_and_costs_what_it_costs(twin: Bundle) -> None:
    text = bundles.TWIN_SPEC.replace("order: rgb", "order: bgr")
    result = climb(twin, runners=healthy(twin), foreign=parse(text))
    assert result.cause == "preprocess:color" and result.verdict != "ok"
    yours = rung(result, "your preprocessing")
    assert "tensors" in yours.spoke and yours.compared == "kernels"
    assert rung(result, "preprocess").verdict == "ok"
    assert result.pictures and {shown.rung for shown in result.pictures} == {"your preprocessing"}


def test_a_faithful_pipeline_of_others_is_ok(twin: Bundle) -> None:
    tensor = tiny.runner(twin.flatbuffer).input
    foreign = Foreign(name="theirs", prepare=lambda given: bundles.prepared(twin, tensor, given.payload)[0])
    result = climb(twin, runners=healthy(twin), foreign=foreign)
    assert (result.verdict, rung(result, "your preprocessing").flips) == ("ok", 0)


def test_inputs_without_a_foreign_tensor_are_left_out_everywhere(twin: Bundle) -> None:
    tensor = tiny.runner(twin.flatbuffer).input
    names = {given.name for given in twin.golden.inputs[:20]}

    def prepare(given: GoldenInput) -> Array | None:
        return bundles.prepared(twin, tensor, given.payload) if given.name in names else None

    result = climb(twin, runners=healthy(twin), foreign=Foreign(name="some", prepare=prepare))
    assert {found.inputs for found in result.rungs} == {20}
    assert any("left out" in note for note in result.notes)


def test_a_tensor_that_cannot_be_fed_is_harmful(twin: Bundle) -> None:
    foreign = Foreign(name="empty", prepare=lambda given: np.zeros((3, 2), np.int8))
    result = climb(twin, runners=healthy(twin), foreign=foreign)
    yours = rung(result, "your preprocessing")
    assert (yours.verdict, yours.accuracy, yours.points, yours.error) == ("harmful", None, None, None)
    assert yours.cause is not None and yours.cause.startswith("preprocess:")
    total = yours.inputs + yours.margin_inputs
    assert (
        f"cannot be fed with these tensors (3x2 for an input of 1x16x16x3): no answer to {total} of {total}"
        in (yours.sentence)
    )
    assert "input noise" not in yours.sentence


def test_the_right_numbers_of_another_type_are_no_answers(twin: Bundle) -> None:
    tensor = tiny.runner(twin.flatbuffer).input
    foreign = Foreign(
        name="real", prepare=lambda given: bundles.prepared(twin, tensor, given.payload).astype(np.float32)
    )
    yours = rung(climb(twin, runners=healthy(twin), foreign=foreign), "your preprocessing")
    assert (yours.verdict, yours.cause, yours.accuracy) == ("harmful", "preprocess:cast", None)
    assert "(float32 for an int8 input): no answer to" in yours.sentence
    assert "the type, layout and rounding of the spec" in yours.sentence


@pytest.mark.parametrize("odd", [np.zeros(0, np.int8), np.full((1, 16, 16, 3), 1e300), np.array(3.0)])
def test_odd_tensors_are_findings(twin: Bundle, odd: Array) -> None:
    result = climb(twin, runners=healthy(twin), foreign=Foreign(name="odd", prepare=lambda given: odd))
    assert rung(result, "your preprocessing").verdict == "harmful"


def without_labels(bundle: Bundle, labelled: int) -> Bundle:
    inputs = [replace(g, label=g.label if i < labelled else None) for i, g in enumerate(bundle.golden.inputs)]
    return replace(bundle, golden=replace(bundle.golden, inputs=tuple(inputs)))


def test_the_limit_of_detection_is_that_of_the_labelled_inputs(twin: Bundle) -> None:
    few = without_labels(twin, 4)
    result = climb(few, runners=healthy(few))
    assert rung(result, "quantized").labelled == 4 and rung(result, "quantized").inputs == 32
    assert "too few labels" in result.sentence and "points could not be seen" not in result.sentence
    half_labelled = without_labels(twin, 20)
    # Ten losses of 20 labelled inputs, not of 32.
    assert "under 50.0 points" in climb(half_labelled, runners=healthy(half_labelled)).sentence


def trained_in_bgr(bundle: Bundle) -> Bundle:
    """A bundle packed with --accept-difference: training fed the channels in the other order."""
    tensor = tiny.runner(bundle.flatbuffer).input
    runner = tiny.runner(bundle.flatbuffer, kernels="reference")
    inputs = []
    for given in bundle.golden.inputs:
        made = np.ascontiguousarray(bundles.prepared(bundle, tensor, given.payload)[..., ::-1])
        recorded = golden_tensor.record(made, bundle.spec, tensor)
        inputs.append(replace(given, tensor=recorded, outputs=runner.run(made), float_outputs=None))
    assert bundle.golden.recording is not None
    recording = replace(bundle.golden.recording, origin="recorded", difference="color: the order is BGR.")
    return replace(bundle, golden=GoldenSet(inputs=tuple(inputs), recording=recording))


def test_a_healthy_device_is_not_accused_of_what_training_does_otherwise(twin: Bundle) -> None:
    made = without_labels(trained_in_bgr(twin), 0)
    result = climb(made, runners=healthy(made))
    own = rung(result, "preprocess")
    assert (result.verdict, own.verdict, own.cause) == ("ok", "ok", None)
    assert "color: training does otherwise than the spec (the channels come in the order BGR" in own.sentence
    assert "accepted when packing: color: the order is BGR" in own.sentence
    assert "Nothing to do on this device; correct preprocess.yaml (or the training code)" in own.sentence
    assert "within rounding; training fed something else" in result.sentence
    assert any(note.startswith("accepted when packing") for note in result.notes)


def test_the_device_of_such_a_bundle_is_still_held_to_the_spec(twin: Bundle) -> None:
    made = without_labels(trained_in_bgr(twin), 0)
    nearest = parse(bundles.TWIN_SPEC.replace("linear_exact", "nearest"))
    yours = rung(climb(made, runners=healthy(made), foreign=nearest), "your preprocessing")
    assert yours.verdict != "ok" and "accepted when packing" not in yours.sentence


def test_without_acceptance_the_advice_is_to_correct_the_spec(twin: Bundle) -> None:
    made = trained_in_bgr(twin)
    assert made.golden.recording is not None
    unknown = replace(
        made, golden=replace(made.golden, recording=replace(made.golden.recording, difference=""))
    )
    own = rung(climb(unknown, runners=healthy(unknown)), "preprocess")
    assert own.verdict != "ok" and own.cause == "preprocess:color"
    assert "Do first: correct preprocess.yaml (or the training code) and pack again" in own.sentence


def test_advice_names_no_step_that_the_spec_lacks(readings: Bundle, twin: Bundle) -> None:
    scaled = Foreign(
        name="scaled",
        prepare=lambda given: (np.frombuffer(given.encoded, "<f8") * 3.6).astype(np.float32)[None],
    )
    yours = rung(climb(readings, runners=healthy(readings), foreign=scaled), "your preprocessing")
    assert yours.cause == "preprocess:select"
    assert "the values reach the model in another unit" in yours.sentence
    assert "deviation" not in yours.sentence and "give the values in the unit of training" in yours.sentence
    rotated = parse(bundles.TWIN_SPEC.replace("- color", "- rotate: {clockwise: 90, flip: none}\n- color"))
    turned = rung(climb(twin, runners=healthy(twin), foreign=rotated), "your preprocessing")
    assert "Do first: do not turn the picture: the spec does not." in turned.sentence


def test_which_kernels_moved_most_is_said_when_all_is_well(twin: Bundle) -> None:
    result = climb(twin, runners=healthy(twin))
    families = rung(result, "kernels").families
    if any(family.error.largest for family in families):
        assert "moved most" in result.sentence
    else:
        assert "moved most" not in result.sentence


def test_fewer_inputs_on_request(twin: Bundle) -> None:
    result = climb(twin, runners=healthy(twin), inputs=10)
    assert {found.inputs for found in result.rungs} == {10}
    assert rung(result, "kernels").margin_inputs == 5


def test_without_golden_inputs_there_is_no_ladder(twin: Bundle) -> None:
    with pytest.raises(BundleError, match="pack it again with --golden"):
        climb(replace(twin, golden=GoldenSet()), runners=healthy(twin))


def test_without_labels_flips_speak(twin: Bundle) -> None:
    blind = replace(
        twin,
        golden=replace(twin.golden, inputs=tuple(replace(given, label=None) for given in twin.golden.inputs)),
    )
    rotated = parse(bundles.TWIN_SPEC.replace("- color", "- rotate: {clockwise: 90, flip: none}\n- color"))
    result = climb(blind, runners=healthy(blind), foreign=rotated)
    yours = rung(result, "your preprocessing")
    assert (yours.verdict, yours.cause) == ("harmful", "preprocess:rotate")
    assert yours.accuracy is None and yours.points is None and yours.p is None
    assert "no labels" in yours.sentence


def test_a_regression_is_right_within_its_tolerance(readings: Bundle) -> None:
    assert climb(readings, runners=healthy(readings)).verdict == "ok"
    off = Foreign(
        name="offset",
        prepare=lambda given: (np.frombuffer(given.encoded, "<f8") + 2).astype(np.float32)[None],
    )
    result = climb(readings, runners=healthy(readings), foreign=off)
    yours = rung(result, "your preprocessing")
    # Four units off (y = 2x + 1): every value moves beyond the tolerance, and none is right any more.
    assert yours.flips == 32 and yours.verdict == "harmful"
    recording = readings.golden.recording
    assert recording is not None and recording.tolerance is not None
    within = [
        abs(2 * float(np.frombuffer(given.encoded, "<f8")[0]) + 1 - given.label) <= recording.tolerance
        for given in readings.golden.inputs
        if given.label is not None
    ]
    assert yours.accuracy == 0.0 and rung(result, "preprocess").accuracy == np.mean(within)


def test_boxes_without_a_partner_are_flips(tmp_path: Path) -> None:
    spec = bundles.IMAGE_SPEC
    packed = bundles.pack_images(
        tmp_path,
        model_bytes=tiny.DETECTOR,
        spec=spec,
        choice=Choice(threshold=0.25),
        golden_count=8,
        golden_margin=0,
    )
    made = packed.bundle
    assert climb(made, runners=healthy(made)).verdict == "ok"
    dark = Foreign(name="dark", prepare=lambda given: np.zeros((1, 8, 8, 3), np.uint8))
    yours = rung(climb(made, runners=healthy(made), foreign=dark), "your preprocessing")
    boxes = sum(int((given.outputs[2] >= 0.25).sum()) for given in made.golden.stratum("random"))
    assert yours.flips == yours.units == boxes > 0
    assert f"{boxes} of {boxes} boxes flip" in yours.sentence
    assert yours.accuracy is None and yours.verdict == "harmful"


def test_a_bundle_of_before_is_climbed_with_the_specs_own_tensors(twin: Bundle) -> None:
    old = replace(
        twin,
        golden=GoldenSet(
            inputs=tuple(replace(given, tensor=None, float_outputs=None) for given in twin.golden.inputs)
        ),
    )
    result = climb(old, runners=healthy(old))
    assert (result.verdict, result.origin) == ("ok", "unknown")
    assert [found.name for found in result.rungs] == ["quantized", "kernels", "preprocess"]
    assert any("earlier version" in note for note in result.notes)


def test_the_promise_of_the_exact_test_is_stated_with_its_blindness(twin: Bundle) -> None:
    result = climb(twin, runners=healthy(twin))
    assert "within rounding" in result.sentence
    # 10 of 32: two-sided p = 2 / 2**10, three rungs tested.
    assert "under 31.2 points could not be seen (32 labelled inputs)" in result.sentence and ALPHA == 0.01
