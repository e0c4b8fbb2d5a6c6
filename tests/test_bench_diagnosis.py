"""The fault bench itself: mistakes are what they are said to be, and are counted rightly."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import bundles
import numpy as np
import pytest

from agent import golden_tensor
from agent.bundle import Bundle
from agent.contracts import Runner, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.errors import InputError
from agent.golden import GoldenInput, GoldenSet
from agent.preprocess.compiled import run_steps
from agent.preprocess.spec import parse
from agent.runtime.choice import choose
from agent.runtime.cpu import Cpu
from calibration import attribution
from calibration.ladder import climb
from calibration.rung.machine import Runners
from calibration.rung.measured import TensorFinding
from calibration.rung.preparing import Foreign
from tools.bench.diagnosis import factor_costs, mlexray, page, score
from tools.bench.diagnosis.bench import Material, Settings, prepare
from tools.bench.diagnosis.cases import Case
from tools.bench.diagnosis.classifiers import BY_NAME, FLOAT, preprocess_yaml
from tools.bench.diagnosis.draws import draws
from tools.bench.diagnosis.engines import Engine
from tools.bench.diagnosis.flatbuffer_edit import Editable
from tools.bench.diagnosis.mixes import COMPOUNDS, MIXES
from tools.bench.diagnosis.model_faults import ALTERED, ModelFault, bias_ignored
from tools.bench.diagnosis.photographs import photographs
from tools.bench.diagnosis.pipelines import BY_KEY, PIPELINES, right
from tools.bench.diagnosis.recalibrated import ranges, recalibrated
from tools.bench.diagnosis.shot import Shot
from tools.bench.diagnosis.truth import CENTRAL, Outputs, Work, evaluate, runs, top
from tools.bench.diagnosis.verdicts import Ladder, Said

INPUTS = {
    "float32": TensorSpec(name="input", shape=(1, 224, 224, 3), dtype="float32"),
    "uint8": TensorSpec(name="input", shape=(1, 224, 224, 3), dtype="uint8", scale=1 / 128, zero_point=128),
    "int8": TensorSpec(name="input", shape=(1, 224, 224, 3), dtype="int8", scale=0.0077, zero_point=0),
}
LEVEL = {"float32": 2 / 255, "uint8": 1.0, "int8": 2.0}
"""What one of 255 levels is at most in the tensor's own numbers, whole numbers rounded up."""


@pytest.mark.parametrize("dtype", sorted(INPUTS))
def test_healthy_pipelines_are_the_spec_within_one_level_and_all_others_are_not(
    data: Path, dtype: str
) -> None:
    shot = Shot(photographs(data, 3)[0].encoded)
    for pipeline in PIPELINES:
        if dtype not in pipeline.dtypes:
            continue
        spec = parse(preprocess_yaml(pipeline.training, dtype))
        wanted = run_steps(spec, INPUTS[dtype], shot.encoded).tensor
        made = pipeline.tensor(shot, INPUTS[dtype])
        assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype), pipeline.key
        apart = np.abs(made.astype(np.float64) - wanted.astype(np.float64))
        if pipeline.step is None:
            assert apart.max() <= LEVEL[dtype] * 1.01, pipeline.key
        else:
            assert apart.max() > 3 * LEVEL[dtype], pipeline.key


def test_a_compound_of_one_factor_is_that_mistake(data: Path) -> None:
    shot, tensor = Shot(photographs(data, 3)[1].encoded), INPUTS["uint8"]
    four = COMPOUNDS[0]
    alone = {
        "colour order": "BGR (NumPy)",
        "no crop": "no crop (OpenCV)",
        "nearest": "nearest (OpenCV)",
        "normalisation": "[0, 1] (NumPy)",
    }
    for i, factor in enumerate(four.factors):
        made = MIXES[four.key(1 << i)].tensor(shot, tensor)
        assert np.array_equal(made, BY_KEY[alone[factor]].tensor(shot, tensor)), factor
    assert np.array_equal(MIXES[four.key(0)].tensor(shot, tensor), right("central").tensor(shot, tensor))


def test_the_baseline_names_what_its_assertions_can_undo(data: Path) -> None:
    tensor = INPUTS["uint8"]
    shots = [Shot(given.encoded) for given in photographs(data, 3)]
    wanted = [right("central").tensor(shot, tensor) for shot in shots]

    def accused(key: str) -> tuple[str, ...]:
        return mlexray.causes([BY_KEY[key].tensor(shot, tensor) for shot in shots], wanted)

    assert accused("BGR (OpenCV)") == ("preprocess:color",)
    assert accused("[0, 1] (NumPy)") == ("preprocess:normalize",)
    assert accused("rotate 180 (OpenCV)") == ("preprocess:rotate",)
    assert accused("healthy (OpenCV, exact linear)") == ()
    assert accused("NCHW (planes written)") == ()
    assert accused("no crop (OpenCV)") == ()


def test_an_edited_model_differs_in_the_one_bias_only(data: Path) -> None:
    before = BY_NAME["v1 uint8"].flatbuffer(data)
    after = bias_ignored(before)
    model = Editable(after)
    depthwise = [found for found in model.operators if found.kind == "DEPTHWISE_CONV_2D"]
    bias = depthwise[len(depthwise) // 2].inputs[2]
    assert len(after) == len(before)
    assert not model.numbers(bias).any()
    changed = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    assert changed.size and np.ptp(changed) < model.numbers(bias).nbytes


@pytest.mark.parametrize("fault", ALTERED, ids=lambda fault: fault.key)
def test_every_altered_model_still_runs_and_answers_otherwise(data: Path, fault: ModelFault) -> None:
    given = BY_NAME["v1 int8"].flatbuffer(data)
    shot = Shot(photographs(data, 2)[0].encoded)
    runtime = choose("auto", cache=None)
    answers = []
    for flatbuffer in (given, fault.alter(given)):
        runner = Cpu().open(flatbuffer, runtime=runtime, threads=1)
        answers.append(runner.run(right("central").tensor(shot, runner.input))[0])
        runner.close()
    assert not np.array_equal(answers[0], answers[1])


def test_recalibration_writes_the_ranges_it_saw(data: Path) -> None:
    inputs = [
        right("central").tensor(Shot(given.encoded), INPUTS["float32"]) for given in photographs(data, 4)
    ]
    seen = ranges(BY_NAME[FLOAT].flatbuffer(data), inputs)
    low, high = seen["input"]
    assert (low, high) == (min(map(np.min, inputs)), max(map(np.max, inputs)))
    halved = [(given + 1) / 2 for given in inputs]
    wrong = ranges(BY_NAME[FLOAT].flatbuffer(data), halved)
    model = Editable(recalibrated(BY_NAME["v1 int8"].flatbuffer(data), wrong))
    first = model.convolutions()[0]
    scale, weights, bias = (model.scale(tensor) for tensor in first.inputs)
    assert scale is not None and weights is not None and bias is not None
    assert scale[0] == pytest.approx(wrong["input"][1] / 255, rel=1e-5)
    assert int(model.zero(first.inputs[0])[0]) == -128
    np.testing.assert_allclose(bias, scale[0] * weights, rtol=1e-5)


def test_draws_leave_out_what_they_do_not_take() -> None:
    made = draws(50, size=20, groups=2, per_group=3, head=5, seed=1)
    assert [draw.group for draw in made] == [0, 0, 0, 1, 1, 1]
    for draw in made:
        assert sorted([*draw.golden, *draw.outside]) == list(range(50))
        assert len(draw.golden) == 20
        assert np.array_equal(draw.golden[:5], made[3 * draw.group].golden[:5])
    assert len({tuple(sorted(draw.golden)) for draw in made}) == 6


def test_outputs_are_remembered_by_what_was_run(data: Path, tmp_path: Path) -> None:
    pictures = photographs(data, 3)
    settings = Settings(
        pack=data, cache=tmp_path, photographs=3, size=2, groups=1, classifiers=(BY_NAME["v1 uint8"],)
    )
    runtime = choose("auto", cache=None)
    material = prepare(settings, runtime)
    wanted = [
        run for run in runs(settings.classifiers, material.files) if run[1] in (CENTRAL, "BGR (OpenCV)")
    ]
    work = Work(files=material.files, runtime=runtime, cache=tmp_path)
    outputs = evaluate(work, pictures, wanted, workers=1)
    runner = Engine(file="v1 uint8").open(material.files, runtime)
    for number, given in enumerate(pictures):
        tensor = right("central").tensor(Shot(given.encoded), runner.input)
        assert np.array_equal(outputs[Engine(file="v1 uint8"), CENTRAL][number], runner.run(tensor)[0][0])
    runner.close()
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 3
    again = evaluate(work, pictures, wanted, workers=1)
    assert all(np.array_equal(again[run], outputs[run]) for run in wanted)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


_CHOSEN = {
    "BGR (OpenCV)": "preprocess:color",
    "healthy (two threads)": None,
    "healthy (built-in kernels)": None,
    "corrupted weights (block lost)": "hardware",
    "wrong delegate (bias ignored)": "delegate",
    "wrong kernels (bias ignored)": "kernels",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Some cases of one classifier over 26 photographs of which 24 are golden."""

    material: Material
    outputs: Outputs
    said: dict[str, Said]

    def case(self, key: str) -> Case:
        return next(case for case in self.material.cases if f"{case.fault} ({case.by})" == key)


@pytest.fixture(scope="module")
def asked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    cache, chosen = tmp_path_factory.mktemp("cache"), (BY_NAME["v1 uint8"],)
    settings = Settings(
        pack=data, cache=cache, photographs=26, size=24, groups=1, draws=1, classifiers=chosen
    )
    runtime = choose("auto", cache=None)
    material = prepare(settings, runtime)
    cases = [case for case in material.cases if f"{case.fault} ({case.by})" in _CHOSEN]
    files = {case.file for case in cases} | {case.wrong[0].file for case in cases}
    pipelines = {case.wrong[1] for case in cases}
    wanted = [
        run
        for run in runs(chosen, material.files)
        if run[0].file in files and (run[1] in pipelines or "noise" in run[1] or "trained" in run[1])
    ]
    work = Work(files=material.files, runtime=runtime, cache=cache)
    outputs = evaluate(work, material.pictures, wanted, workers=1)
    ladder = Ladder(outputs, material.outputs, [given.label for given in material.pictures])
    findings = {"BGR": TensorFinding(within="no", step="color", sentence="the channels are exchanged")}
    said = {
        f"{case.fault} ({case.by})": ladder.said(case, material.draws[0], findings.get(case.fault))
        for case in cases
    }
    return Asked(material=material, outputs=outputs, said=said)


@pytest.mark.parametrize("key", _CHOSEN)
def test_the_ladder_names_what_is_wrong(asked: Asked, key: str) -> None:
    assert asked.said[key].cause == _CHOSEN[key]


@pytest.fixture(scope="module")
def bundle(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same golden set as a bundle on a device holds it."""
    any_bundle = bundles.pack_images(tmp_path_factory.mktemp("any")).bundle
    tensor, spec = asked.material.inputs["v1 uint8"], parse(preprocess_yaml("central", "uint8"))
    recorded = asked.outputs[Engine(file="v1 uint8", kernels="reference"), CENTRAL]
    golden = []
    for place in asked.material.draws[0].golden:
        given = asked.material.pictures[place]
        made = right("central").tensor(Shot(given.encoded), tensor)
        golden.append(
            GoldenInput(
                name=given.name,
                encoded=given.encoded,
                label=given.label,
                traces=(),
                outputs=(recorded[place][None],),
                tensor=golden_tensor.record(made, spec, tensor),
            )
        )
    return replace(
        any_bundle,
        flatbuffer=asked.material.files["v1 uint8"].flatbuffer,
        spec=spec,
        decoder=ClassificationDecoder(values="scores"),
        labels=tuple(map(str, range(1001))),
        golden=GoldenSet(inputs=tuple(golden)),
    )


def _on_a_device(asked: Asked, case: Case) -> tuple[Runners, Foreign | None]:
    """What a device of this case would run."""
    runtime, files = choose("auto", cache=None), asked.material.files

    def cpu(kernels: str) -> Runner:
        engine = case.wrong[0] if case.where == "kernels" and kernels == "auto" else Engine(file=case.file)
        given = engine.kernels if engine != Engine(file=case.file) else kernels
        flatbuffer = files[engine.file].flatbuffer
        return Cpu(kernels=given).open(flatbuffer, runtime=runtime, threads=engine.threads)  # type: ignore[arg-type]

    foreign = None
    if case.pipeline is not None:
        pipeline, tensor = BY_KEY[case.pipeline], asked.material.inputs[case.file]
        foreign = Foreign(
            name="the wrong pipeline", prepare=lambda given: pipeline.tensor(Shot(given.encoded), tensor)
        )
    delegate = (lambda: case.wrong[0].open(files, runtime)) if case.where == "delegate" else None
    return Runners(cpu=cpu, delegate=delegate), foreign


@pytest.mark.parametrize("key", _CHOSEN)
def test_litewatch_check_says_the_same(asked: Asked, bundle: Bundle, key: str) -> None:
    """The bench builds the ladder's rungs from remembered outputs; the ladder itself, on runners."""
    runners, foreign = _on_a_device(asked, asked.case(key))
    result = climb(bundle, runners=runners, foreign=foreign, pictures=0)
    assert (result.verdict, result.cause) == (asked.said[key].verdict, asked.said[key].cause)


def _row(
    *, causes: tuple[str, ...], cost: float, verdict: str, cause: str | None, baseline: tuple[str, ...] = ()
) -> score.Row:
    run = (Engine(file="v1 float"), CENTRAL)
    case = Case(
        classifier="v1 float",
        fault="a mistake" if causes else "healthy",
        by="NumPy",
        where="preprocess",
        causes=causes,
        right=run,
        wrong=run,
        recorded=run,
        file="v1 float",
    )
    said = Said(verdict=verdict, cause=cause, spoke=())  # type: ignore[arg-type]
    return score.Row(case=case, said=said, cost=cost, cost_all=cost, baseline=baseline)


ROWS = (
    _row(causes=("preprocess:color",), cost=20, verdict="harmful", cause="preprocess:color"),
    _row(
        causes=("preprocess:pad", "preprocess:resize"), cost=9, verdict="changed", cause="preprocess:resize"
    ),
    _row(causes=("preprocess:crop",), cost=4, verdict="changed", cause="preprocess:resize"),
    _row(causes=("preprocess:crop",), cost=1, verdict="ok", cause=None),
    _row(causes=("preprocess:rotate",), cost=0.2, verdict="ok", cause=None),
    _row(causes=(), cost=0, verdict="ok", cause=None),
    _row(causes=(), cost=0.4, verdict="changed", cause=None),
    _row(causes=(), cost=0, verdict="changed", cause="kernels", baseline=("preprocess:color",)),
    _row(causes=(), cost=0, verdict="harmful", cause=None),
)


def test_figures_count_by_true_cost() -> None:
    by_name = {figure.name: figure for figure in (*score.figures(ROWS), *score.baseline_figures(ROWS))}
    named = by_name["right cause first, faults costing 3 points or more"]
    assert named.value == pytest.approx(200 / 3)
    assert (named.detail, named.met) == ("2 of 3 draws", False)
    assert by_name["healthy runs accused"].value == 50
    assert by_name["noticed, faults costing half a point or more"].value == 75
    assert by_name["ML-EXray's assertions: healthy runs accused"].value == 25


def test_the_confusion_counts_an_equally_right_answer_as_right() -> None:
    assert score.confusion(ROWS) == {
        "preprocess:color": Counter({"preprocess:color": 1}),
        "preprocess:pad": Counter({"preprocess:pad": 1}),
        "preprocess:crop": Counter({"preprocess:resize": 1}),
        score.NOTHING: Counter({score.NOTHING: 1, "changed, no cause": 2, "kernels": 1}),
    }


def test_shares_of_the_truth_are_shapley_values_and_add_up(rng: np.random.Generator) -> None:
    accuracy = [80.0, 60.0, 70.0, 30.0]
    # Factor 0 costs 20 first and 40 second, factor 1 costs 10 first and 30 second.
    assert factor_costs.shapley(accuracy, 2) == [30.0, 20.0]
    outcomes = {mix: rng.integers(0, 2, 200).astype(np.float64) for mix in range(8)}
    ours = factor_costs.shapley([float(outcomes[mix].mean()) for mix in range(8)], 3)
    theirs = attribution.shares(outcomes, attribution.design(3)).costs.mean(axis=1)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_page_is_renewed_between_its_marks(tmp_path: Path) -> None:
    written = tmp_path / "page.md"
    written.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write_measured(written, page.measured({"Figures": page.figure_table(score.figures(ROWS))}))
    text = written.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| healthy runs accused | 50.0 % | ≤ 1 | **missed** | 2 of 4 draws |" in text
    written.write_text("no marks")
    with pytest.raises(InputError, match="has no marks"):
        page.write_measured(written, "")


def test_winners_are_those_of_the_raw_outputs() -> None:
    assert top(np.array([[1, 5, 2], [9, 0, 9]], np.uint8)).tolist() == [1, 0]
