"""How well a candidate's answers fit: per input, by the label or, without labels, by themselves."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contracts import TensorSpec
from agent.errors import LabelError
from agent.monitor.accuracy import wilson

_LEAST: Final = 1e-6
_WEAK_SHARE: Final = 0.05
_SHIFTED_SHARE: Final = 0.25
_SHIFTED_TIMES: Final = 2.0


def likelihood_floor(output: TensorSpec, *, scores: bool) -> float:
    """The logarithm below which no score is believed: half a quantum where ``scores`` are stored in
    steps (a stored 0 is anything below that), else one in a million."""
    return math.log(max(output.scale / 2, _LEAST) if scores and output.quantized else _LEAST)


def unlabelled(scores: NDArray[np.float32], floor: float) -> NDArray[np.float64]:
    """Confidence and agreement, for scores (K candidates, n inputs, C outputs): float64 (K, n).

    Per input the mean of two pointwise mutual informations ``log p(k | input) / p(k)``, with ``p(k)``
    the candidate's own mean over the inputs: one of the output the candidate is surest of
    (confidence), one of the output that the other candidates together hold likeliest (agreement).
    Dividing by ``p(k)`` takes their reward from candidates that give every input the same answer.
    Confidence can rise while accuracy falls: this is weaker than any label.
    """
    total = scores.sum(axis=0, dtype=np.float64)
    least = math.exp(floor)
    found = np.empty(scores.shape[:2])
    rows = np.arange(scores.shape[1])
    for k, own in enumerate(scores):
        mean = np.maximum(own.mean(axis=0, dtype=np.float64), least)
        named = [own.argmax(axis=1), (total - own).argmax(axis=1)]
        gains = [np.log(np.maximum(own[rows, at], least)) - np.log(mean[at]) for at in named]
        found[k] = (gains[0] + gains[1]) / 2
    return found


def is_weak(right: NDArray[np.bool_], labels: Sequence[int]) -> bool:
    """Whether a model that is ``right`` on these inputs hardly works: not provably (Wilson 1927,
    90 %) better than 5 %, or than always naming the commonest label."""
    commonest = max(np.unique(np.asarray(labels), return_counts=True)[1]) / len(labels)
    low, _ = wilson(int(right.sum()), len(right))
    # One picture per label says nothing about a commonest one.
    return low <= max(_WEAK_SHARE, float(commonest))


def check_labels(tops: NDArray[np.int64], labels: Sequence[int]) -> None:
    """Raises LabelError when ``tops`` (K candidates, n inputs) say that the labels are shifted by one
    against the model's outputs, as by a background class."""
    truth = np.asarray(labels)
    # A candidate that answers every input alike may hit the commonest label, and shows no shift.
    tops = tops[np.any(tops != tops[:, :1], axis=1)]
    if not len(tops):
        return
    shares = {offset: float((tops == truth + offset).mean(axis=1).max()) for offset in (-1, 0, 1)}
    for offset in (-1, 1):
        if shares[offset] >= max(_SHIFTED_SHARE, _SHIFTED_TIMES * shares[0]):
            how = "one too low" if offset == 1 else "one too high"
            raise LabelError(
                f"labels: they seem {how}: {shares[offset]:.0%} of the answers are label {offset:+d}, "
                f"{shares[0]:.0%} the label; a label is an output index of this model (is a background class "
                "counted on one side only?)"
            )
