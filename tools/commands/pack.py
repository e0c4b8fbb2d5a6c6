"""``litewatch pack``: from a .tflite, its preprocessing and held-out inputs to a bundle."""

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click

from agent import archive, signature
from agent.errors import BundleError
from agent.monitor.accuracy import wilson
from agent.plain_text import plain_text
from agent.runtime.choice import choose
from calibration import golden, packing
from calibration.packing import Packed
from calibration.plan import Request, prepare, read_model
from calibration.recorded.plan import GoldenRequest
from calibration.replay import replaying
from calibration.suggestion import suggest
from calibration.task import Choice, Task, Values
from tools import golden_words, replay_words
from tools.console import emit_json, progress, say
from tools.finite import Finite
from tools.paths import runtime_cache
from tools.plain_table import plain_table

DEFAULT_WINDOW = 250
"""``monitor.window.samples``; a window may hold a quarter of the calibration rows."""
ROWS_PER_SAMPLE = 4
MOST_MB = archive.MAX_TOTAL_BYTES / 2**20
"""What a bundle may hold in all."""
_PATH = click.Path(path_type=Path)


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch pack model.tflite --write-preprocess preprocess.yaml\n"
    "  litewatch pack model.tflite --preprocess preprocess.yaml --labels labels.txt \\\n"
    "      --reference held_out/ -o bundle.tflite\n"
    "  litewatch pack model.tflite --preprocess preprocess.yaml --reference held_out/ \\\n"
    "      --golden recording/ --float model_float.tflite -o bundle.tflite\n"
    "  litewatch pack --new-key signing.pem"
)
@click.argument("model", type=_PATH, required=False)
@click.option("--preprocess", type=_PATH, help="The preprocessing the model was trained with (YAML).")
@click.option("--labels", type=_PATH, help="One line per output; default: the labels the model carries.")
@click.option(
    "--reference",
    type=_PATH,
    help="Held-out inputs the model was not fitted on: CSV file,label; a folder per label; a folder.",
)
@click.option("-o", "--output", type=_PATH, help="The bundle to write.")
@click.option(
    "--task", type=click.Choice(get_args(Task)), help="What the model does; default: by its outputs."
)
@click.option("--values", type=click.Choice(get_args(Values)), help="What a classifier's outputs are.")
@click.option("--unit", default="", help="Unit of a regression's values.")
@click.option("--threshold", type=Finite(0, 1), default=0.5, show_default=True, help="Of detections.")
@click.option(
    "--golden", "golden_inputs", type=_PATH, help="Inputs for the golden set: as --reference, or a recording."
)
@click.option(
    "--golden-count",
    type=click.IntRange(1),
    default=golden.COUNT_RANDOM,
    show_default=True,
    help="Random golden inputs: accuracies come from these.",
)
@click.option(
    "--golden-margin",
    type=click.IntRange(0),
    default=golden.COUNT_MARGIN,
    show_default=True,
    help="Further ones that flip first.",
)
@click.option(
    "--golden-max-mb",
    type=Finite(0, MOST_MB, min_open=True),
    default=golden.MAX_BYTES / 2**20,
    show_default=True,
    help="Largest size of all recorded tensors, MiB.",
)
@click.option(
    "--golden-originals-mb",
    type=Finite(0, MOST_MB, min_open=True),
    default=golden.MAX_ORIGINALS_BYTES / 2**20,
    show_default=True,
    help="Largest size of all their encoded originals, MiB.",
)
@click.option("--golden-tensors", type=_PATH, help="Training's own model inputs: NAME.npy, or a recording.")
@click.option("--accept-difference", is_flag=True, help="Record it when those are not what the spec makes.")
@click.option("--float", "float_model", type=_PATH, help="The float model this one was quantized from.")
@click.option("--tolerance", type=Finite(0), help="Error of a regression that still counts as right.")
@click.option(
    "--replay-inputs",
    type=click.IntRange(2),
    default=replaying.REPLAYED,
    show_default=True,
    help="Labelled inputs that faults are replayed on.",
)
@click.option("--no-replay", is_flag=True, help="Replay none: no accuracy without labels, no named causes.")
@click.option("--edgetpu", type=_PATH, help="The same model compiled for the Edge TPU.")
@click.option("--training-run", help="Id of the training run, carried in every message.")
@click.option("--created", help="RFC 3339; default: $SOURCE_DATE_EPOCH, or now.")
@click.option("--threads", type=click.IntRange(1), default=os.cpu_count() or 1, help="For running the model.")
@click.option("--sign", type=_PATH, help="Sign with this Ed25519 private key.")
@click.option("--new-key", type=_PATH, help="Make a private key, print its public half, and stop.")
@click.option("--write-preprocess", type=_PATH, help="Write a spec to start from, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def pack(
    model: Path | None,
    preprocess: Path | None,
    labels: Path | None,
    reference: Path | None,
    output: Path | None,
    task: Task | None,
    values: Values | None,
    unit: str,
    threshold: float,
    golden_inputs: Path | None,
    golden_count: int,
    golden_margin: int,
    golden_max_mb: float,
    golden_originals_mb: float,
    golden_tensors: Path | None,
    accept_difference: bool,
    float_model: Path | None,
    tolerance: float | None,
    replay_inputs: int,
    no_replay: bool,
    edgetpu: Path | None,
    training_run: str | None,
    created: str | None,
    threads: int,
    sign: Path | None,
    new_key: Path | None,
    write_preprocess: Path | None,
    as_json: bool,
) -> None:
    """Make a bundle: the model with its preprocessing, labels and reference inside."""
    if new_key is not None:
        click.echo(_make_key(new_key))
        return
    if model is None:
        raise click.UsageError("name a .tflite model")
    if write_preprocess is not None:
        _write_suggestion(model, write_preprocess)
        return
    if preprocess is None or reference is None or output is None:
        raise click.UsageError(_missing(model, preprocess, reference, output))
    if output.exists() and model.exists() and output.samefile(model):
        raise click.UsageError("--output is the model itself")
    packing.check_writable(output)
    request = Request(
        model=model,
        preprocess=preprocess,
        held_out=reference,
        created=created or _now(),
        labels=labels,
        choice=Choice(task=task, values=values, unit=unit, threshold=threshold),
        edgetpu=edgetpu,
        training_run=training_run,
        threads=threads,
        replay_inputs=0 if no_replay else replay_inputs,
        golden=GoldenRequest(
            inputs=golden_inputs,
            count=golden_count,
            margin=golden_margin,
            max_bytes=round(golden_max_mb * 2**20),
            max_originals_bytes=round(golden_originals_mb * 2**20),
            tensors=golden_tensors,
            accept_difference=accept_difference,
            float_model=float_model,
            tolerance=tolerance,
        ),
    )
    key = _read_key(sign) if sign is not None else None
    plan = prepare(request, choose("auto", cache=runtime_cache()))
    label = f"{len(plan.inputs)} held-out inputs"
    packed = packing.pack(
        plan,
        key=key,
        progress=lambda inputs, total: progress(inputs, total=total, label=label),
        golden_progress=lambda inputs, total: progress(inputs, total=total, label="golden inputs"),
        replay_progress=lambda inputs, total: progress(inputs, total=total, label="replaying faults"),
    )
    packing.save(output, packed.data)
    summary = summarise(packed, output, plan.files.labels_from)
    if as_json:
        emit_json(summary)
    else:
        said = golden_words.rows(packed.bundle) + _golden_quality(summary)
        _show(summary, said + replay_words.rows(packed.bundle, packed.learnt.reason))
    for warning in summary["warnings"]:
        say(f"warning: {warning}")


def summarise(packed: Packed, output: Path, labels_from: str) -> dict[str, Any]:
    """What was packed, in plain values."""
    made, built = packed.bundle, packed.built
    reference = built.reference
    low, high = wilson(built.correct, built.labelled) if built.correct is not None else (None, None)
    rows = len(reference.calibration)
    return {
        "bundle": plain_text(str(output)),
        "bytes": len(packed.data),
        "manifest_sha256": made.manifest_sha256,
        "task": made.manifest.task,
        "decoder_reason": packed.decoder_reason,
        "labels": len(made.labels),
        "labels_from": labels_from,
        "preprocess": made.spec.version,
        "fingerprint": made.manifest.preprocess.fingerprint,
        "inputs": built.used,
        "skipped": list(built.skipped),
        "labelled": built.labelled,
        "accuracy": reference.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "mse": reference.mse,
        "profile_rows": reference.profile.n,
        "calibration_rows": rows,
        "largest_window": rows // ROWS_PER_SAMPLE,
        "golden": len(made.golden.inputs),
        **golden_words.summary(made),
        "golden_labelled": packed.figures.labelled,
        "golden_accuracy": packed.figures.accuracy,
        "float_accuracy": packed.figures.float_accuracy,
        "training_parity": asdict(packed.parity) if packed.parity else None,
        "training_parity_said": packed.parity.said if packed.parity else "",
        "tolerance_reason": packed.figures.tolerance_reason,
        "replay": replay_words.packed(packed.learnt, made),
        "signed_by": made.signature,
        "created": made.manifest.created,
        "warnings": _warnings(packed),
    }


def _warnings(packed: Packed) -> list[str]:
    made, built = packed.bundle, packed.built
    found = list(packed.notes)
    if built.skipped:
        found.append(f"{len(built.skipped)} inputs were skipped, the first: {built.skipped[0]}")
    rows = len(built.reference.calibration)
    if rows < DEFAULT_WINDOW * ROWS_PER_SAMPLE:
        found.append(
            f"{rows} calibration rows carry windows of at most {rows // ROWS_PER_SAMPLE} samples: set "
            f"monitor.window.samples to that, or give about {2 * DEFAULT_WINDOW * ROWS_PER_SAMPLE:,} "
            f"held-out inputs for the default of {DEFAULT_WINDOW}"
        )
    if not built.labelled and made.manifest.task != "detection":
        found.append("the held-out inputs have no labels: the accuracy to compare a device with is unknown")
    if packed.learnt.reason and packed.learnt.asked:
        found.append(f"no faults were replayed: {packed.learnt.reason}")
    first = made.golden.inputs[:1]
    chance = 1 / max(len(first[0].outputs[0].reshape(-1)), 1) if first else 0.0
    accuracy = built.reference.accuracy
    if accuracy is not None and built.labelled >= 20 and accuracy < max(1.5 * chance, 0.05):
        found.append(
            f"held-out accuracy is {accuracy:.1%}, hardly better than guessing: are the labels output "
            "indices of this model (a background class at 0?), and is the preprocessing that of training?"
        )
    return found


def _show(summary: dict[str, Any], golden_rows: list[tuple[str, str]]) -> None:
    labelled = f"on {summary['labelled']} labelled inputs"
    if summary["accuracy"] is not None:
        interval = f"{summary['accuracy_low']:.1%} … {summary['accuracy_high']:.1%}"
        quality = [("held-out accuracy", f"{summary['accuracy']:.1%} ({interval}, 90 %) {labelled}")]
    elif summary["mse"] is not None:
        quality = [("held-out MSE", f"{summary['mse']:.6g} {labelled}")]
    else:
        quality = []
    rows = f"{summary['profile_rows']} profile, {summary['calibration_rows']} calibration"
    plain_table(
        f"{summary['bundle']} ({summary['bytes'] / 2**20:.2f} MiB)",
        [
            ("task", f"{summary['task']} ({summary['decoder_reason']})"),
            ("labels", f"{summary['labels']} from {summary['labels_from']}" if summary["labels"] else "none"),
            ("preprocess", f"{summary['preprocess']} ({summary['fingerprint'][:12]}…)"),
            ("held-out inputs", f"{summary['inputs']} used, {len(summary['skipped'])} skipped"),
            *quality,
            ("reference rows", f"{rows}; largest window {summary['largest_window']}"),
            *golden_rows,
            ("signed by", summary["signed_by"] or "nobody"),
        ],
    )


def _golden_quality(summary: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if summary["golden_accuracy"] is not None:
        twin = summary["float_accuracy"]
        beside = f", the float model {twin:.1%}" if twin is not None else ""
        rows.append(
            (
                "golden accuracy",
                f"{summary['golden_accuracy']:.1%}{beside} on {summary['golden_labelled']} inputs",
            )
        )
    if summary["training_parity_said"]:
        rows.append(("training parity", summary["training_parity_said"]))
    if summary["tolerance_reason"]:
        rows.append(("tolerance from", summary["tolerance_reason"]))
    return rows


def _missing(model: Path, preprocess: Path | None, reference: Path | None, output: Path | None) -> str:
    options = {"--preprocess": preprocess, "--reference": reference, "--output": output}
    missing = ", ".join(option for option, value in options.items() if value is None)
    hint = (
        f"\nA bundle carries the preprocessing of training; a spec to start from is written by\n"
        f"  litewatch pack {model} --write-preprocess preprocess.yaml"
    )
    return f"missing {missing}{hint if preprocess is None else ''}"


def _write_suggestion(model: Path, path: Path) -> None:
    text = suggest(read_model(model).file)
    if path.exists():
        raise BundleError(f"{path}: exists already")
    packing.save(path, text.encode())
    say(f"written: {path}; check it against the training code")


def _make_key(path: Path) -> str:
    """Write a new private key, readable by its owner alone; returns the public key."""
    private = signature.new_private_key()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(private)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from None
    return signature.public_key(private, where=str(path))


def _read_key(path: Path) -> str:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not text')}") from None
    signature.public_key(text, where=str(path))  # An unusable key is said before the long run.
    return text


def _now() -> str:
    """``$SOURCE_DATE_EPOCH`` (reproducible builds) or the clock, in UTC."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise BundleError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, got {epoch!r}") from None
    return now.isoformat(timespec="seconds").replace("+00:00", "Z")
