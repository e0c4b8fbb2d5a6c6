"""``litewatch diagnose``: what each factor costs in which deployment differs from training."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import click

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.contracts import Payload, Runner
from agent.errors import InputError, SpecError
from agent.manifest import kind_of
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration import diagnosis as diagnoses
from calibration import result_file
from calibration.check_result import LayerView
from calibration.diagnosis import QUANTIZATION, Case, Mixes, Models
from calibration.diagnosis_result import DiagnosisResult
from calibration.evaluation import FloatModel
from calibration.factor import inputs as diagnosis_inputs
from calibration.factor.inputs import Given
from calibration.float_twin import FloatTwin
from calibration.layer.live import INPUTS, drawn
from calibration.rung.machine import environment
from calibration.spec_file import read_spec
from tools.console import emit_json, progress, say, table
from tools.paths import runtime_cache
from tools.result_tables import show_diagnosis
from tools.writing import require_writable, write_text

Family: TypeAlias = Literal["reference", "builtin", "xnnpack"]
"""Enough to see where a quantized network leaves its float twin."""
_PATH = click.Path(path_type=Path)
_BAR = 48


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch diagnose bundle.tflite --deployed deployed.yaml\n"
    "  litewatch diagnose bundle.tflite --deployed deployed.yaml --float float.tflite \\\n"
    "      --kernels xnnpack --images labelled.csv --html diagnosis.html"
)
@click.argument("bundle", type=_PATH)
@click.option("--deployed", type=_PATH, help="The preprocessing that is really in use (YAML).")
@click.option(
    "--float", "float_model", type=_PATH, help="The float model: makes quantization one of the factors."
)
@click.option(
    "--kernels",
    type=click.Choice(get_args(Family)),
    help="The kernels that are really in use: makes kernels one of the factors.",
)
@click.option(
    "--images",
    type=_PATH,
    help="Labelled inputs (CSV file,label; a folder per label) in place of the golden set.",
)
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, help="For running the model.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report as one file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def diagnose(
    bundle: Path,
    deployed: Path | None,
    float_model: Path | None,
    kernels: Family | None,
    images: Path | None,
    threads: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say what each factor costs in which deployment differs from training.

    Every mix of the differing factors is run on the golden set; each factor's cost is its Shapley
    value, and all add up to the whole loss. Exit status 1 when a factor is proven to cost accuracy; without
    labels nothing can be proven, and only the answers that change are counted.
    """
    if deployed is None and float_model is None and kernels is None:
        raise click.UsageError("name what may differ: --deployed, --float or --kernels")
    require_writable(html, "--html")
    made = bundles.load(bundle)
    runtime = choose("auto", cache=runtime_cache())
    models, info = _models(made, float_model, kernels, runtime, threads)
    spec = _deployed(deployed, info) if deployed is not None else made.spec
    given = _inputs(made, info, images)
    case = Case(
        bundle=made.name,
        task=kind_of(made.decoder),
        training=made.spec,
        deployed=spec,
        models=models,
        decoder=made.decoder,
        inputs=given.inputs,
        labels=given.labels,
        tolerance=diagnosis_inputs.tolerance(made),
    )
    mixes = Mixes(case)
    with _advancing(mixes.runs, f"{len(mixes.design.mixes)} mixes") as advance:
        result = diagnoses.diagnose(
            case,
            mixes,
            advance=advance,
            environment=environment(info),
            notes=given.notes + _remarks(made, models, float_model, bool(mixes.factors)),
        )
    # Golden inputs are in blind order; files in that of their listing.
    looked = given.inputs.payloads if images is None else drawn(given.inputs.payloads)
    result = _with_layers(result, made, looked, float_model, runtime, threads)
    try:
        _tell(result, as_json)
    finally:  # A reader that has left is no reason to lose the report.
        _write(result, html)
    if any(factor.proven for factor in result.factors):
        raise click.exceptions.Exit(1)


def _models(
    made: Bundle, float_model: Path | None, kernels: Family | None, runtime: Runtime, threads: int
) -> tuple[Models, Runner]:
    """What is compared, and the runner that stands for it in the report.

    The kernels in use are held against the built-in ones: ten times faster than the reference kernels
    and equal to them but for rounding. Built-in ones themselves are held against the reference.
    """
    against: dict[Family | None, Literal["auto", "builtin", "reference"]] = {
        None: "auto",
        "xnnpack": "builtin",
        "builtin": "reference",
        "reference": "reference",
    }
    base = against[kernels]

    def opened(family: Literal["auto", "builtin", "reference", "xnnpack"]) -> Runner:
        return open_runner(Cpu(kernels=family), made.flatbuffer, runtime=runtime, threads=threads)

    model = opened(base)
    floating = None
    if float_model is not None:
        twin = FloatTwin.open(
            float_model, like=model, quantized_input=model.input, runtime=runtime, threads=threads
        )
        floating = FloatModel(twin=twin, like=model)
    used = opened(kernels) if kernels is not None and kernels != base else None
    models = Models(
        model=model, kernels=base, floating=floating, deployed=used, deployed_kernels=kernels or ""
    )
    return models, used or model


def _deployed(path: Path, runner: Runner) -> PreprocessSpec:
    """Raises SpecError, naming the file, when it is no spec or cannot fill the model's input."""
    spec = read_spec(path)
    try:
        compile_spec(spec, runner.input)
    except SpecError as error:
        raise SpecError(*(f"{path}: {problem}" for problem in error.problems)) from None
    return spec


def _inputs(made: Bundle, runner: Runner, images: Path | None) -> Given:
    if images is None:
        return diagnosis_inputs.from_golden(made, runner.input)
    return diagnosis_inputs.from_files(made, runner.input, runner.outputs, images)


def _remarks(made: Bundle, models: Models, float_model: Path | None, differs: bool) -> tuple[str, ...]:
    """What cannot be said with what was given."""
    said = []
    if float_model is None and differs:
        said.append("Quantization is no factor here: mixes with it need the float model (--float).")
    recording = made.golden.recording
    if isinstance(models.floating, FloatModel) and recording is not None and recording.float_model:
        twin = models.floating.twin
        if isinstance(twin, FloatTwin) and twin.sha256 != recording.float_model:
            said.append(f"{float_model} is not the float model whose outputs the bundle records.")
    if models.kernels == "reference" and models.deployed is None:
        said.append("Reference kernels are those the bundle was recorded with: they are no factor.")
    return tuple(said)


def _with_layers(
    result: DiagnosisResult,
    made: Bundle,
    payloads: Sequence[Payload],
    float_model: Path | None,
    runtime: Runtime,
    threads: int,
) -> DiagnosisResult:
    """Where in the network quantization costs, if nothing costs more."""
    largest = result.factors[0] if result.factors else None
    if float_model is None or largest is None or largest.name != QUANTIZATION or largest.points <= 0:
        return result
    try:
        return replace(result, layers=_layers(made, payloads, float_model, runtime, threads))
    except InputError as error:
        note = f"Layers cannot be compared: {'; '.join(error.problems)}."
        return replace(result, notes=(*result.notes, note))


def _layers(
    made: Bundle, payloads: Sequence[Payload], float_model: Path, runtime: Runtime, threads: int
) -> LayerView:
    from calibration.layer.twin import twin_layers

    payloads = payloads[:INPUTS]
    production = open_runner(Cpu(), made.flatbuffer, runtime=runtime, threads=threads)
    try:
        with _advancing(len(payloads), "layers") as advance:
            return twin_layers(
                made,
                float_model,
                payloads,
                production=production,
                runtime=runtime,
                threads=threads,
                progress=lambda done, total: advance(),
            )
    finally:
        production.close()


@contextmanager
def _advancing(total: int, label: str) -> Iterator[Callable[[], None]]:
    """A progress bar that a call moves by one."""
    steps = progress(range(total + 1), total=total, label=label)

    def advance() -> None:
        next(steps, None)

    advance()
    try:
        yield advance
    finally:
        for _ in steps:  # The bar ends where its steps do.
            pass


def _write(result: DiagnosisResult, html: Path | None) -> None:
    if html is not None:
        from calibration import report

        write_text(html, report.html_diagnosis(result), "--html")
        say(f"wrote {html}")


def _tell(result: DiagnosisResult, as_json: bool) -> None:
    if as_json:
        emit_json(result_file.dump(result))
        return
    show_diagnosis(result)
    if result.factors:
        low, high = _scale(result)
        rows = [(factor.name, bar) for factor, bar in zip(result.factors, _bars(result), strict=True)]
        what = "Points lost" if result.measure == "accuracy" else "Answers changed, in %"
        table(
            f"{what}, from {low:.0f} to {high:.0f}; line and lighter bar: the interval", ("Factor", ""), rows
        )
        say(f"{result.interval}.")


def _bars(result: DiagnosisResult) -> list[str]:
    """One line of characters per factor, all on one scale that holds 0 and every interval."""
    low, high = _scale(result)

    def at(points: float) -> int:
        return round((points - low) / max(high - low, 1e-9) * (_BAR - 1))

    lines = []
    for factor in result.factors:
        line = [" "] * _BAR
        line[at(factor.low) : at(factor.high) + 1] = "─" * (at(factor.high) - at(factor.low) + 1)
        first, last = sorted((at(0.0), at(factor.points)))
        line[first : last + 1] = ["█" if cell == " " else "▓" for cell in line[first : last + 1]]
        line[at(0.0)] = "│"
        lines.append("".join(line).rstrip())
    return lines


def _scale(result: DiagnosisResult) -> tuple[float, float]:
    ends = [0.0, *(end for factor in result.factors for end in (factor.low, factor.high))]
    return min(ends), max(ends)
