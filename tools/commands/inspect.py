"""``litewatch inspect``: verifies a bundle and shows what it carries."""

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.contracts import TensorSpec
from agent.errors import BundleError
from agent.golden import GoldenInput
from agent.monitor.accuracy import wilson
from agent.plain_text import plain_text
from agent.preprocess.spec import dump
from calibration import tflite_metadata
from calibration.tflite_metadata import ModelFile
from tools import golden_words, replay_words
from tools.console import emit_json
from tools.plain_table import plain_table


@click.command(
    epilog="\b\nExamples:\n"
    "  litewatch inspect bundle.tflite\n"
    "  litewatch inspect bundle.tflite --trusted-key BASE64"
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--trusted-key", "trusted_keys", multiple=True, help="Demand a signature by one of these keys.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(bundle: Path, trusted_keys: tuple[str, ...], as_json: bool) -> None:
    """Show and verify a bundle. Exit status 2 when it is damaged, altered or no bundle."""
    data = bundles.read_file(bundle)
    model = _model(data, bundle.name)
    try:
        made = bundles.read(data, name=bundle.name, trusted_keys=trusted_keys)
    except BundleError:
        if model is not None and not as_json:
            plain_table(bundle.name, _model_rows(model))
        raise
    summary = describe(made, model, len(data))
    if as_json:
        emit_json(summary)
    else:
        _show(made, model, len(data))


def describe(made: Bundle, model: ModelFile | None, size: int) -> dict[str, Any]:
    """Everything a bundle says of itself, in plain values."""
    said, reference = made.manifest, made.reference
    return {
        "bundle": plain_text(made.name),
        "bytes": size,
        "manifest_sha256": made.manifest_sha256,
        "model": asdict(model) if model else None,
        "name": said.name,
        "task": said.task,
        "decoder": asdict(said.decoder),  # type: ignore[call-overload]  # every decoder is a dataclass
        "labels": list(made.labels),
        "created": said.created,
        "training_run": said.training_run,
        "preprocess": asdict(said.preprocess),
        "steps": dump(made.spec),
        "files": [asdict(file) for file in said.files],
        "environment": asdict(said.environment),
        "reference": {
            "accuracy": reference.accuracy,
            "mse": reference.mse,
            "labelled": reference.labelled,
            "profile_rows": reference.profile.n,
            "calibration_rows": len(reference.calibration),
            "features": list(reference.features),
            "groups": list(reference.groups.names),
        },
        "golden": [_golden(given) for given in made.golden.inputs],
        **golden_words.summary(made),
        "recording": asdict(made.golden.recording) if made.golden.recording else None,
        "replay": replay_words.summary(made),
        "edgetpu": made.edgetpu is not None,
        "signature": made.signature,
        "signed_by": made.signed_by,
    }


def _golden(given: GoldenInput) -> dict[str, Any]:
    tensor = {"form": given.tensor.form, "exact": given.tensor.exact} if given.tensor else None
    return {
        "name": plain_text(given.name),
        "label": given.label,
        "stratum": given.stratum,
        "tensor": tensor,
        "float_outputs": given.float_outputs is not None,
    }


def _model(data: bytes, name: str) -> ModelFile | None:
    """What can be said of the model even when the bundle around it is broken."""
    with contextlib.suppress(BundleError):
        return tflite_metadata.read(data, where=name) if bundles.is_model(data) else None
    return None


def _show(made: Bundle, model: ModelFile | None, size: int) -> None:
    said = made.manifest
    options = ", ".join(f"{name} {value}" for name, value in asdict(said.decoder).items())  # type: ignore[call-overload]  # as above
    steps = ", ".join(step.step for step in said.preprocess.steps)
    rows = [
        ("model", f"{said.name}, {said.flatbuffer.bytes:,} bytes, SHA-256 {said.flatbuffer.sha256[:16]}…"),
        *(_model_rows(model) if model else []),
        ("task", f"{said.task} ({options})"),
        ("labels", f"{len(made.labels)}: {', '.join(made.labels[:5])}" if made.labels else "none"),
        ("preprocess", f"version {said.preprocess.version}: {steps}"),
        ("fingerprint", said.preprocess.fingerprint),
        *_reference_rows(made),
        *golden_words.rows(made),
        *replay_words.rows(made),
        ("Edge TPU twin", f"{len(made.edgetpu):,} bytes" if made.edgetpu is not None else "none"),
        ("training run", said.training_run or "not stated"),
        ("created", f"{said.created} with {_environment(made)}"),
        ("signature", _signature(made)),
    ]
    plain_table(f"{made.name}: good ({size / 2**20:.2f} MiB, {len(said.files)} files)", rows)


def _model_rows(model: ModelFile) -> list[tuple[str, str]]:
    rows = [("input", _tensor(tensor)) for tensor in model.inputs]
    rows += [("output", _tensor(tensor)) for tensor in model.outputs]
    custom = f", custom: {', '.join(model.custom_ops)}" if model.custom_ops else ""
    rows.append(("operators", f"{model.operators}{custom}"))
    if model.metadata is not None:
        rows.append(("TFLite Metadata", model.metadata.name or "yes"))
    return rows


def _reference_rows(made: Bundle) -> list[tuple[str, str]]:
    reference = made.reference
    rows = [
        (
            "reference",
            f"{reference.profile.n} profile and {len(reference.calibration)} calibration rows of "
            f"{len(reference.features)} features",
        )
    ]
    if reference.accuracy is not None:
        low, high = wilson(round(reference.accuracy * reference.labelled), reference.labelled)
        rows.append(
            (
                "held-out accuracy",
                f"{reference.accuracy:.1%} ({low:.1%} … {high:.1%}, 90 %) on {reference.labelled} inputs",
            )
        )
    if reference.mse is not None:
        rows.append(("held-out MSE", f"{reference.mse:.6g} on {reference.labelled} inputs"))
    return rows


def _environment(made: Bundle) -> str:
    where = made.manifest.environment
    runtime = f"{where.runtime} {where.runtime_version}"
    return f"litewatch {where.litewatch}, {runtime}, OpenCV {where.opencv}, {where.machine}"


def _signature(made: Bundle) -> str:
    if made.signed_by is not None:
        return f"by trusted key {made.signed_by}"
    if made.signature is not None:
        return f"claims key {made.signature}, not checked (no --trusted-key)"
    return "none"


def _tensor(tensor: TensorSpec) -> str:
    shape = "×".join(map(str, tensor.shape)) or "of free shape"
    scale = f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}" if tensor.quantized else ""
    return f"{tensor.name}: {tensor.dtype} {shape}{scale}"
