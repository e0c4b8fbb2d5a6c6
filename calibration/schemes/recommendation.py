"""Which scheme to take, and why. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.outcomes import Truth, labelled, right
from calibration.paired import paired_points
from calibration.schemes.scheme import Measured
from calibration.schemes.trial import Z_90, Trial, squared_errors

FLIPS_ALLOWED = 0.02
"""Without labels: the share of answers that may differ from float32's."""
ALIKE = 0.1
"""Times closer than this are no reason to choose: they vary as much from run to run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    scheme: str | None
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loss:
    """Against float32. ``worse``: proven; ``words``: how much, with its interval."""

    worse: bool
    words: str


def recommend(rows: Sequence[Measured], trials: Sequence[Trial], truth: Truth) -> Recommendation:
    """The fastest scheme that is not proven worse than float32 (``rows[0]``), on the device where its
    latency is known, else here; of those about as fast (``ALIKE``) the smallest.

    Proven: the 90 % interval of the paired difference lies wholly on the worse side. Without labels, a
    scheme of which more than ``FLIPS_ALLOWED`` of the answers differ counts as worse.
    """
    losses = [_loss(row, trial, trials[0], truth) for row, trial in zip(rows, trials, strict=True)]
    pairs = zip(rows, losses, strict=True)
    good = [(row, loss) for row, loss in pairs if not loss.worse and (row.quantized or row is rows[0])]
    known = all(row.device_latency_ms is not None for row, _ in good)
    fastest = min(_latency(row, known) for row, _ in good)
    as_fast = [pair for pair in good if _latency(pair[0], known) <= fastest * (1 + ALIKE)]
    row, loss = min(as_fast, key=lambda pair: pair[0].bytes)
    if row is rows[0]:
        worse = ", ".join(
            f"{other.scheme.name} {lost.words}"
            for other, lost in zip(rows, losses, strict=True)
            if lost.worse
        )
        return Recommendation(
            scheme=row.scheme.name,
            why="No scheme is at once as good and faster" + (f" ({worse})." if worse else "."),
        )
    smaller = rows[0].bytes / row.bytes
    faster = _latency(rows[0], known) / _latency(row, known)
    where = "on the device" if known else "here"
    return Recommendation(
        scheme=row.scheme.name,
        why=f"{smaller:.1f} times smaller and {faster:.1f} times faster {where} than float32, {loss.words}.",
    )


def _latency(row: Measured, on_device: bool) -> float:
    known = row.device_latency_ms if on_device else None
    return row.latency_ms if known is None else known


def _loss(row: Measured, trial: Trial, baseline: Trial, truth: Truth) -> _Loss:
    if truth.tolerance is not None and row.labelled > 1:
        return _squared_loss(trial, baseline, truth)
    if truth.tolerance is None and row.labelled:
        return _accuracy_loss(trial, baseline, truth)
    return _Loss(
        worse=row.flips > FLIPS_ALLOWED * row.inputs,
        words=f"{row.flips} of {row.inputs} answers differ from float32's (there are no labels)",
    )


def _accuracy_loss(trial: Trial, baseline: Trial, truth: Truth) -> _Loss:
    known = labelled(baseline.answers, truth)
    before, after = right(baseline.answers, truth)[known], right(trial.answers, truth)[known]
    lost, gained, n = int((before & ~after).sum()), int((~before & after).sum()), len(before)
    points, low, high = paired_points(lost, gained, n)
    worse = high < 0
    proven = "" if worse else " (not told apart)"
    return _Loss(worse=worse, words=f"{points:+.1f} points ({low:+.1f} … {high:+.1f}) on {n} inputs{proven}")


def _squared_loss(trial: Trial, baseline: Trial, truth: Truth) -> _Loss:
    difference = squared_errors(trial.answers, truth) - squared_errors(baseline.answers, truth)
    mean, n = float(difference.mean()), difference.size
    half = Z_90 * float(np.std(difference, ddof=1)) / math.sqrt(n)
    worse = mean - half > 0
    proven = "" if worse else " (not told apart)"
    return _Loss(
        worse=worse,
        words=f"its MSE {mean:+.3g} ({mean - half:+.3g} … {mean + half:+.3g}) on {n} inputs{proven}",
    )
