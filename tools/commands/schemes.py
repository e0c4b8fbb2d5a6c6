"""``litewatch schemes``: quantization schemes of one trained model, made and compared."""

import json
from pathlib import Path
from typing import get_args

import click

from agent.errors import InputError
from calibration.schemes import KINDS
from calibration.schemes.scheme import plain
from calibration.task import Choice, Task, Values
from tools.console import emit_json, progress, say
from tools.paths import runtime_cache
from tools.result_tables import show_schemes

_PATH = click.Path(path_type=Path)


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch schemes model.keras --preprocess preprocess.yaml --images held_out.csv \\\n"
    "      --representative train_images/ -o schemes/\n"
    "  litewatch schemes model.keras --preprocess preprocess.yaml --images held_out.csv \\\n"
    "      --representative train_images/ --train train.csv --scheme int8 --scheme qat -o schemes/\n"
    "  litewatch schemes model.keras --preprocess preprocess.yaml --images held_out.csv \\\n"
    "      -o schemes/ --picture schemes.svg --json"
)
@click.argument("model", type=_PATH)
@click.option("--preprocess", type=_PATH, required=True, help="The preprocessing of training (YAML).")
@click.option(
    "--images",
    type=_PATH,
    required=True,
    help="What the schemes are measured on: CSV file,label; a folder per label; for vectors a CSV.",
)
@click.option("--representative", type=_PATH, help="Inputs to calibrate integer schemes on, from training.")
@click.option("--train", type=_PATH, help="Labelled inputs for quantization-aware training.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Of that training.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option(
    "--train-count",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="At most as many of them, drawn at random: they are held in memory.",
)
@click.option("--labels", type=_PATH, help="One line per output: class names for the labels.")
@click.option(
    "--task", type=click.Choice(get_args(Task)), help="What the model does; default: by its outputs."
)
@click.option("--values", type=click.Choice(get_args(Values)), help="What a classifier's outputs are.")
@click.option(
    "--scheme", "names", type=click.Choice(list(KINDS)), multiple=True, help="Only these; default: all."
)
@click.option(
    "--float-layers",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="How many of the worst layers the mixed scheme keeps in float.",
)
@click.option(
    "--device",
    "devices",
    type=_PATH,
    multiple=True,
    help="A check's JSON from a device, its bundle or itself named after the scheme's file: its latency.",
)
@click.option("-o", "--output", type=_PATH, required=True, help="Folder for the .tflite files.")
@click.option("--picture", type=_PATH, help="Draw the comparison (SVG).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def schemes(
    model: Path,
    preprocess: Path,
    images: Path,
    representative: Path | None,
    train: Path | None,
    epochs: int,
    learning_rate: float,
    train_count: int,
    labels: Path | None,
    task: Task | None,
    values: Values | None,
    names: tuple[str, ...],
    float_layers: int,
    devices: tuple[Path, ...],
    output: Path,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compare quantization schemes of a Keras model or SavedModel: accuracy, flips, size, latency.

    Every result is a .tflite file ready for `litewatch pack`. Needs the extra `workstation`.
    """
    from calibration.schemes import picture as drawing
    from calibration.schemes.job import prepare
    from calibration.schemes.request import Request

    request = Request(
        model=model,
        preprocess=preprocess,
        images=images,
        representative=representative,
        train=train,
        epochs=epochs,
        learning_rate=learning_rate,
        train_count=train_count,
        picture=picture,
        labels=labels,
        choice=Choice(task=task, values=values),
        names=names,
        float_layers=float_layers,
        device_ms=device_latencies(devices),
        output=output,
    )
    job = prepare(request, cache=runtime_cache())
    comparison = job.run(progress=lambda kinds, total: progress(kinds, total=total, label="schemes"))
    written = plain(comparison)
    if as_json:
        emit_json(written)
    else:
        show_schemes(written)
    for note in (*job.notes, *comparison.warnings):
        say(f"warning: {note}")
    if picture is not None:
        _write(picture, drawing.svg(comparison))
    if {missing.scheme.name for missing in comparison.missing} & set(names):
        raise click.exceptions.Exit(1)


def device_latencies(paths: tuple[Path, ...]) -> dict[str, float]:
    """Latency by the bundle's name (without its suffixes), from the last rung that was timed. A published
    check names no bundle: there the file's own name counts."""
    found: dict[str, float] = {}
    problems: list[str] = []
    for path in paths:
        try:
            document = json.loads(path.read_text())
            document = document.get("body", document)
            timed = [rung["latency_ms"] for rung in document["rungs"] if rung.get("latency_ms") is not None]
            found[_stem(Path(document.get("bundle", path.name)))] = float(timed[-1])
        except OSError as error:
            problems.append(f"--device: {path}: cannot be read: {error.strerror}")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            problems.append(f"--device: {path}: not the JSON of a check with a timed rung")
    if problems:
        raise InputError(*problems)
    return found


def _stem(name: Path) -> str:
    """``model-int8`` of ``model-int8.tflite`` and ``model-int8.bundle.tflite``."""
    return name.name.removesuffix(".json").removesuffix(".tflite").removesuffix(".bundle")


def _write(path: Path, svg: str) -> None:
    try:
        path.write_text(svg)
    except OSError as error:
        raise InputError(f"--picture: {path} cannot be written: {error.strerror}") from None
