"""Sensor vectors: which of ``select``, ``impute``, ``clip``, ``standardize``, ``cast`` differs."""

from collections.abc import Sequence

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.preprocess.compiled import run_steps
from agent.preprocess.spec import PreprocessSpec
from agent.quantize import dequantize
from calibration.hypothesis.cases import Sample, Within
from calibration.hypothesis.form import measurable
from calibration.hypothesis.hypothesis import Difference, Floats

_RELATIVE = 1e-5


def vector_difference(
    samples: Sequence[Sample], spec: PreprocessSpec, tensor: TensorSpec
) -> tuple[Difference, Within, float] | None:
    """The difference, how far it goes and in what share of the samples; None when all are equal."""
    expected = [
        s.expected if s.expected is not None else run_steps(spec, tensor, s.payload).tensor for s in samples
    ]
    sizes = [s for s in samples if s.found.size != expected[0].size]
    if sizes:
        text = f"{sizes[0].found.size} elements, the model takes {expected[0].size}"
        return Difference(step="select", kind="length", text=text), "no", len(sizes) / len(samples)
    found = np.stack([_real(s.found, tensor) for s in samples])
    wanted = np.stack([_real(e, tensor) for e in expected])
    bad = ~measurable(found).all(1)
    if bad.any():
        fills = " that the spec fills" if _step("impute", spec) == "impute" else ""
        text = f"elements are missing, infinite or beyond 1e30 (NaN){fills}"
        return (
            Difference(step=_step("impute", spec), kind="not finite", text=text),
            "no",
            float(bad.mean()),
        )
    apart = np.abs(found - wanted)
    if not apart.any():
        return None
    step = tensor.scale if tensor.dtype != "float32" else 0.0
    allowed = step * 1.001 + _RELATIVE * np.maximum(np.abs(wanted).max(0), 1e-12)
    differing = (apart > allowed).any(1)
    if not differing.any():
        kind = "rounding"
        return Difference(step="cast", kind=kind, text="values differ by rounding alone"), "tolerance", 1.0
    return _named(found, wanted, allowed, spec), "no", float(differing.mean())


def _step(name: str, spec: PreprocessSpec) -> str:
    """``name`` where the spec has such a step, else the one that every spec of vectors has."""
    return name if any(name == step.NAME for step in spec.steps) else "select"


def _named(found: Floats, wanted: Floats, allowed: Floats, spec: PreprocessSpec) -> Difference:
    order = _order(found, wanted, allowed)
    if order is not None:
        text = f"the elements come in another order ({', '.join(map(str, order))} instead of 0, 1, 2, …)"
        return Difference(step="select", kind="order", text=text)
    moved = np.flatnonzero((np.abs(found - wanted) > allowed).any(0))
    shown = ", ".join(map(str, moved[:8])) + (", …" if len(moved) > 8 else "")
    if len(found) >= 3 and all(_straight(wanted[:, i], found[:, i], allowed[i]) for i in moved):
        if _step("standardize", spec) != "standardize":
            text = f"elements {shown} are scaled or shifted: the values reach the model in another unit"
            return Difference(step="select", kind="unit", text=text)
        text = f"elements {shown} are scaled or shifted otherwise (mean, std or unit)"
        return Difference(step="standardize", kind="scale", text=text)
    clipped = all(_clipped(wanted[:, i], found[:, i], allowed[i]) for i in moved)
    if clipped:
        text = f"elements {shown} are limited otherwise"
        return Difference(step=_step("clip", spec), kind="clip", text=text)
    at = int(moved[0])
    row = int(np.argmax(np.abs(found[:, at] - wanted[:, at])))
    text = (
        f"elements {shown} differ (element {at}: {found[row, at]:.6g}, the spec makes {wanted[row, at]:.6g})"
    )
    return Difference(step="select", kind="unknown", text=text)


def _order(found: Floats, wanted: Floats, allowed: Floats) -> list[int] | None:
    """For each found element the wanted one that it equals in every sample, when all have one."""
    picked = []
    for i in range(found.shape[1]):
        same = np.flatnonzero((np.abs(found[:, i, None] - wanted) <= allowed).all(0))
        if not len(same):
            return None
        picked.append(int(same[0]))
    return picked


def _straight(wanted: Floats, found: Floats, allowed: float) -> bool:
    if np.ptp(wanted) <= allowed:
        return bool(np.ptp(found) <= allowed)
    gain, offset = np.polyfit(wanted, found, 1)
    rest = np.abs(gain * wanted + offset - found)
    return bool(gain and rest.max() <= max(allowed, 1e-4 * np.ptp(found)) * max(1.0, abs(gain)))


def _clipped(wanted: Floats, found: Floats, allowed: float) -> bool:
    """Where values differ, one side has stopped at a limit."""
    differ = np.abs(wanted - found) > allowed
    return bool(np.ptp(wanted[differ]) <= allowed or np.ptp(found[differ]) <= allowed) and differ.sum() > 1


def _real(array: Array, tensor: TensorSpec) -> Floats:
    flat = array.reshape(-1)
    return dequantize(flat, tensor) if flat.dtype == np.dtype(tensor.dtype) else flat.astype(np.float64)
