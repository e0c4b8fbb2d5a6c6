"""What a bundle's golden set is, in plain values and in words."""

from typing import Any

from agent.bundle import Bundle
from agent.golden import FOLDER, GoldenSet, Recording, beyond
from agent.plain_text import plain_text

ORIGINS = {
    "recorded": "recorded by training's own code",
    "self-made": "self-made: prove that devices agree with the spec, not that the spec agrees with training",
    "unknown": "none (packed by an earlier version)",
}


def summary(made: Bundle) -> dict[str, Any]:
    """The golden set's part of a JSON summary."""
    golden, recording = made.golden, made.golden.recording
    return {
        "golden_random": len(golden.stratum("random")),
        "golden_margin": len(golden.stratum("margin")),
        "golden_origin": origin(golden),
        "golden_difference": plain_text(recording.difference) if recording else "",
        "golden_bytes": sum(file.bytes for file in made.manifest.files if file.name.startswith(FOLDER)),
        "golden_original_bytes": _bytes(made, tensors=False),
        "golden_tensor_bytes": _bytes(made, tensors=True),
        "golden_float": any(given.float_outputs is not None for given in golden.inputs),
        "tolerance": recording.tolerance if recording else None,
    }


def origin(golden: GoldenSet) -> str:
    """``recorded``, ``self-made``, or ``unknown`` for a bundle of before."""
    return golden.recording.origin if golden.recording is not None else "unknown"


def rows(made: Bundle) -> list[tuple[str, str]]:
    """Lines of a two-column table."""
    said = summary(made)
    recording = made.golden.recording
    counts = f"{said['golden_random']} random, {said['golden_margin']} undecided"
    found = [
        ("golden inputs", f"{counts}; {_sizes(said)}"),
        ("golden tensors", ORIGINS[said["golden_origin"]]),
    ]
    if said["golden_difference"]:
        found.append(("accepted difference", said["golden_difference"]))
    if recording is not None:
        found.append(
            ("golden outputs", f"{_floats(said['golden_float'], recording)}, by {_where(recording)}")
        )
    if said["tolerance"] is not None:
        found.append(("right within", f"{said['tolerance']:.6g}"))
    return found


def _bytes(made: Bundle, *, tensors: bool) -> int:
    """Of the recorded tensors, or of the encoded originals."""
    return sum(
        file.bytes
        for file in made.manifest.files
        if beyond(file.name, 0) and (".tensor." in file.name) == tensors
    )


def _sizes(said: dict[str, Any]) -> str:
    sizes = {"in all": "golden_bytes", "originals": "golden_original_bytes", "tensors": "golden_tensor_bytes"}
    return ", ".join(f"{what} {said[key] / 2**20:.2f} MiB" for what, key in sizes.items())


def _floats(present: bool, recording: Recording) -> str:
    if not present:
        return "this model's"
    if recording.float_model is None:
        return "this model's, and training's own float outputs"
    return f"this model's and its float twin's ({recording.float_model[:16]}…)"


def _where(recording: Recording) -> str:
    runtime = f"{recording.runtime} {recording.runtime_version}"
    return plain_text(f"{runtime}, OpenCV {recording.opencv}, {recording.cpu}")
