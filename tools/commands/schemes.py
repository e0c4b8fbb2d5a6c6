"""``litewatch schemes``: quantization schemes of one trained model, made and compared."""

import dataclasses
import json
from pathlib import Path

import click

from agent.errors import InputError
from calibration.schemes import KINDS
from calibration.schemes.scheme import Comparison, Measured
from tools.console import emit_json, progress, say, table
from tools.paths import runtime_cache

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
@click.option("--labels", type=_PATH, help="One line per output.")
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
    help="A check's JSON from a device: its latency counts. Named after the scheme's file.",
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
    labels: Path | None,
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
    from calibration.schemes.job import Request, prepare

    request = Request(
        model=model,
        preprocess=preprocess,
        images=images,
        representative=representative,
        train=train,
        epochs=epochs,
        learning_rate=learning_rate,
        labels=labels,
        names=names,
        float_layers=float_layers,
        device_ms=_device_latencies(devices),
        output=output,
    )
    job = prepare(request, cache=runtime_cache())
    comparison = job.run(progress=lambda kinds, total: progress(kinds, total=total, label="schemes"))
    if picture is not None:
        _write(picture, drawing.svg(comparison))
    if as_json:
        emit_json(dataclasses.asdict(comparison))
    else:
        _show(comparison)
    for skipped in job.skipped[:5]:
        say(f"warning: skipped {skipped}")


def _device_latencies(paths: tuple[Path, ...]) -> dict[str, float]:
    """Latency by the bundle's name (without its suffix), from the last rung that was timed."""
    found: dict[str, float] = {}
    problems: list[str] = []
    for path in paths:
        try:
            document = json.loads(path.read_text())
            timed = [rung["latency_ms"] for rung in document["rungs"] if rung.get("latency_ms") is not None]
            found[Path(document["bundle"]).stem] = float(timed[-1])
        except OSError as error:
            problems.append(f"--device: {path}: cannot be read: {error.strerror}")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            problems.append(f"--device: {path}: not the JSON of a check with a timed rung")
    if problems:
        raise InputError(*problems)
    return found


def _write(path: Path, svg: str) -> None:
    if not svg:
        say("no picture: without labels there is nothing to draw")
        return
    try:
        path.write_text(svg)
    except OSError as error:
        raise InputError(f"--picture: {path} cannot be written: {error.strerror}") from None


def _show(comparison: Comparison) -> None:
    quality = "accuracy" if comparison.measure == "accuracy" else "MSE"
    rows = [_row(row, comparison) for row in comparison.rows]
    rows += [(missing.scheme.name, "–", "–", "–", "–", missing.reason) for missing in comparison.missing]
    table(
        f"{comparison.model}: quantization schemes (● on the Pareto front)",
        ("scheme", f"{quality} (90 %)", "flips", "size", "ms", ""),
        rows,
    )
    say(f"recommended: {comparison.recommended}. {comparison.why}")


def _row(row: Measured, comparison: Comparison) -> tuple[str, ...]:
    name = (
        f"[bold green]{row.scheme.name}[/]" if row.scheme.name == comparison.recommended else row.scheme.name
    )
    latency = f"{row.latency_ms:.3g}"
    if row.device_latency_ms is not None:
        latency += f" (device {row.device_latency_ms:.3g})"
    return (
        f"{'●' if row.on_front else ' '} {name}",
        _quality(row, comparison.measure),
        f"{row.flips} of {row.inputs}",
        f"{row.bytes / 1024:,.1f} kB",
        latency,
        row.note,
    )


def _quality(row: Measured, measure: str) -> str:
    if row.quality is None or row.low is None or row.high is None:
        return "no labels"
    if measure == "accuracy":
        return f"{row.quality:.1%} ({row.low:.1%} … {row.high:.1%})"
    return f"{row.quality:.4g} ({row.low:.4g} … {row.high:.4g})"
