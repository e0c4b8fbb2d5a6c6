"""The input tensors of a rung against the training-side ones: equal, within tolerance, or where not.

Tensors of the bundle's own spec are compared twice: with the recorded traces, which name the first
step of which this machine's OpenCV or decoder makes other numbers, and with the training-side tensors.
Where the first agree and the second do not, it is training that differs from the spec, not this device.
Tensors of a foreign pipeline have no traces; ``divergence.recognise`` finds the step by what happened
to them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.golden import GoldenInput
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.trace import compare, trace
from calibration.rung.advice import TRAINING, preparing
from calibration.rung.measured import TensorFinding

STRAYS = 1e-3
"""Share of a tensor's values that may lie beyond the traces' tolerance, which is that of a probe."""
FURTHEST = 4.0
"""And how many times the tolerance they may reach."""
TRACED = 16
"""Inputs whose steps are traced once tensors differ; all of them would decode every file again."""
RECOGNISED = 12
"""Differing inputs that are handed to ``recognise``."""


class Recognise(Protocol):
    def __call__(
        self, golden: Sequence[GoldenInput], found: Sequence[Array], training: Sequence[Array]
    ) -> TensorFinding: ...


def same(found: Array, wanted: Array) -> bool:
    """Equal to the last bit, form included."""
    return found.dtype == wanted.dtype and found.shape == wanted.shape and np.array_equal(found, wanted)


def near(found: Array, wanted: Array, tolerance: float) -> bool:
    """Within ``tolerance``, but for ``STRAYS`` of the values. NaN is never near."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    beyond = ~(apart <= tolerance)
    if not beyond.any():
        return True
    return tolerance > 0 and float(beyond.mean()) <= STRAYS and bool((apart <= FURTHEST * tolerance).all())


def own_tensors(
    golden: Sequence[GoldenInput],
    found: Sequence[Array],
    training: Sequence[Array],
    *,
    spec: PreprocessSpec,
    tensor: TensorSpec,
    recognise: Recognise,
) -> TensorFinding:
    """What this machine makes of the originals by the bundle's spec, against the training-side tensors."""
    differ = [i for i, (a, b) in enumerate(zip(found, training, strict=True)) if not same(a, b)]
    if not differ:
        return TensorFinding(within="exact", step=None, sentence="input tensors equal to the last bit")
    chosen = [i for i in differ if golden[i].traces][:TRACED]
    recorded = [golden[i].traces for i in chosen]
    compared = compare(recorded, [trace(spec, tensor, golden[i].payload) for i in chosen])
    said = f"{len(differ)} of {len(found)} input tensors differ; {compared.detail}"
    if compared.verdict == "differs":
        steps = [step.NAME for step in spec.steps]
        advice = preparing(compared.step or "", "", steps)
        return TensorFinding(within="no", step=compared.step, sentence=said, advice=advice)
    tolerances = [golden[i].traces[-1].tolerance if golden[i].traces else 0.0 for i in differ]
    if all(near(found[i], training[i], allowed) for i, allowed in zip(differ, tolerances, strict=True)):
        return TensorFinding(within="tolerance", step=compared.step, sentence=said + ", within tolerance")
    few = differ[:RECOGNISED]
    seen = recognise([golden[i] for i in few], [found[i] for i in few], [training[i] for i in few])
    if seen.within != "no" or len(chosen) == 0:
        return seen
    # This machine repeats what the spec made when packing: it is the training side that differs.
    return seen if seen.who == "training" else replace(seen, who="training", advice=TRAINING)


def foreign_tensors(
    golden: Sequence[GoldenInput],
    found: Sequence[Array],
    training: Sequence[Array],
    *,
    recognise: Recognise,
) -> TensorFinding:
    """What a pipeline of somebody else makes of the originals, against the training-side tensors."""
    differ = [i for i, (a, b) in enumerate(zip(found, training, strict=True)) if not same(a, b)]
    if not differ:
        return TensorFinding(within="exact", step=None, sentence="input tensors equal to the last bit")
    few = differ[:RECOGNISED]
    return recognise([golden[i] for i in few], [found[i] for i in few], [training[i] for i in few])


def recognise_by(spec: PreprocessSpec, tensor: TensorSpec, accepted: str = "") -> Recognise:
    """``divergence.recognise`` for a bundle's spec; ``accepted``: the difference between training and
    the spec that was accepted when packing."""

    def recognise(
        golden: Sequence[GoldenInput], found: Sequence[Array], training: Sequence[Array]
    ) -> TensorFinding:
        # Imported here: only tensors that differ need it.
        from calibration import divergence

        samples = [
            divergence.Sample(payload=g.payload, found=f, expected=t)
            for g, f, t in zip(golden, found, training, strict=True)
        ]
        seen = divergence.recognise(samples, spec, tensor)
        by_training = seen.who == "training"
        known = f" (accepted when packing: {accepted.rstrip('.')})" if by_training and accepted else ""
        return TensorFinding(
            within=seen.within,
            step=seen.step,
            sentence=seen.sentence.rstrip(".") + known,
            who=seen.who,
            accepted=by_training and bool(accepted),
            advice=TRAINING
            if by_training
            else preparing(seen.step or "", seen.kind, [step.NAME for step in spec.steps]),
        )

    return recognise
