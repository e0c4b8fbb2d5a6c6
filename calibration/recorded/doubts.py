"""Whether the "float model" can be the one that was quantized. Pure.

Same shapes prove nothing: another model of the same family fits as well, and whatever is then measured
between the two is blamed on quantization. What speaks against twins is said as a warning, for each of
these has an innocent reading too.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from agent.contracts import Classification, Decoder, TensorSpec
from agent.errors import BundleError
from agent.golden import GoldenInput, GoldenSet
from agent.monitor.accuracy import wilson
from calibration.float_twin import float_specs
from calibration.layer.alignment import align
from calibration.layer.graph import read_graph
from calibration.paired import mcnemar

ALIKE: Final = 0.5
"""Correlation from which a layer's weights are those of the other model, rounded or trained on: those of
models trained apart have about 0, quantization-aware training has left .99 of it."""
FEWEST_WEIGHTS: Final = 16
"""Smaller layers correlate by chance."""
IMPLAUSIBLE: Final = 0.5
"""Share of equal answers below which two classifiers are hardly twins."""
UNLIKELY: Final = 0.01
"""Of the exact McNemar test: quantization does not make a model better."""


def weight_doubts(quantized: bytes, float_model: bytes) -> tuple[str, ...]:
    """What the two models' weights say, at most one sentence."""
    share = resemblance(quantized, float_model)
    if share is None or share >= 0.5:
        return ()
    return (
        f"the float model's weights are not this model's ({share:.0%} of them in layers that correlate): is "
        "it the model that this one was quantized from?",
    )


def resemblance(quantized: bytes, float_model: bytes) -> float | None:
    """The share of weights (0..1) that lie in layers which correlate by ``ALIKE`` with the other model's
    layer in the same place. None where no layers can be paired."""
    try:
        ours, theirs = read_graph(quantized, where="model"), read_graph(float_model, where="float model")
        pairs = align(ours, theirs).pairs
    except BundleError:
        return None
    alike = total = 0
    for pair in pairs:
        if pair.weights is None:
            continue
        own, other = ours.tensors[pair.weights[0]].real, theirs.tensors[pair.weights[1]].real
        if own is None or other is None or own.size < FEWEST_WEIGHTS or own.size != other.size:
            continue
        norm = np.linalg.norm(own) * np.linalg.norm(other)
        total += own.size
        alike += own.size if norm and float(own.ravel() @ other.ravel()) >= ALIKE * norm else 0
    return alike / total if total else None


def answer_doubts(golden: GoldenSet, decoder: Decoder, outputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """What the two models' answers to the random golden inputs say of a classifier, a sentence each."""
    chosen = [given for given in golden.stratum("random") if given.float_outputs is not None]
    tops = [_tops(given, decoder, outputs) for given in chosen]
    if not tops or any(top is None for top in tops):
        return ()
    pairs = [top for top in tops if top is not None]
    found = []
    agreed, count = sum(own == twin for own, twin in pairs), len(pairs)
    if wilson(agreed, count)[1] < IMPLAUSIBLE:
        found.append(
            f"the float model gives the same answer to only {agreed} of {count} golden inputs: is it the "
            "model that this one was quantized from? If it is, quantization has broken it"
        )
    gained, lost = _discordant(pairs, chosen)
    if gained > lost and mcnemar(lost, gained) < UNLIKELY:
        found.append(
            f"the float model is wrong where this one is right on {gained} golden inputs, the other way "
            f"round on {lost}: quantization does not make a model better; is it the model that this one was "
            "quantized from?"
        )
    return tuple(found)


def _discordant(pairs: Sequence[tuple[int, int]], chosen: Sequence[GoldenInput]) -> tuple[int, int]:
    labelled = [(pair, given.label) for pair, given in zip(pairs, chosen, strict=True)]
    gained = sum(own == label != twin for (own, twin), label in labelled if label is not None)
    return gained, sum(twin == label != own for (own, twin), label in labelled if label is not None)


def _tops(given: GoldenInput, decoder: Decoder, outputs: tuple[TensorSpec, ...]) -> tuple[int, int] | None:
    assert given.float_outputs is not None
    own = decoder.decode(given.outputs, outputs)
    twin = decoder.decode(given.float_outputs, float_specs(outputs))
    if not isinstance(own, Classification) or not isinstance(twin, Classification):
        return None
    return own.top, twin.top
