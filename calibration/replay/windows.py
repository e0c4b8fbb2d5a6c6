"""Windows drawn from replayed conditions: what the estimator learns from, and is judged on.

Drawn in several ways, so that neither another mix of scenes nor a fault that begins in the middle is
taken for something new: plainly; with the shares of the predicted classes tilted; with inputs favoured
that lie far out in one direction of the features, as at another place; and with half of the frames
still healthy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from agent.monitor.estimate.statistics_of import Basis, statistics_of
from calibration.replay.conditions import Condition

FRAMES = 250
TILTS = (0.0, 0.0, 0.7, 1.4)
"""Standard deviation of the logarithm of the factor a class is favoured by, one window each."""
PLACES = (0.7, 1.2)
"""Logarithm of the factor an input is favoured by for each standard deviation it lies out, one window
each."""
HEALTHY_DRAWS = 8
"""Times as many windows of healthy inputs as of each fault: most of what a device sees is healthy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """k windows: statistics float64 (k, D), mean loss (k,), the condition each is of int64 (k,), and
    how many different inputs each is worth (k,)."""

    statistics: NDArray[np.float64]
    loss: NDArray[np.float64]
    condition: NDArray[np.int64]
    worth: NDArray[np.float64]

    def pick(self, which: NDArray[np.bool_]) -> "Windows":
        return Windows(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


def join(windows: Sequence[Windows]) -> Windows:
    """All of them, in order."""
    names = [field.name for field in fields(Windows)]
    return Windows(**{name: np.concatenate([getattr(each, name) for each in windows]) for name in names})


def draw(
    conditions: Sequence[Condition],
    losses: Sequence[NDArray[np.float64]],
    inputs: NDArray[np.intp],
    basis: Basis,
    rng: np.random.Generator,
) -> Windows:
    """Windows of ``inputs`` (n,) only, from every condition; conditions[0] is the healthy one.

    Inputs that are harder than they look, or easier, are so with and without a fault. As many as fit
    into a window do not even out, so what they cost while healthy beyond what was expected of them is
    taken off, as far as it goes together with the loss under the fault (a control variate).
    """
    healthy = conditions[0]
    classes = np.unique(healthy.classes[inputs], return_inverse=True)[1].reshape(-1)
    places = basis.whitened(healthy.rows[inputs])
    hard = losses[0] - _expected(healthy, losses[0], basis)
    drawn = []
    for at in (*[0] * (HEALTHY_DRAWS - 1), *range(len(conditions))):
        condition = conditions[at]
        unexpected = losses[at] - _expected(condition, losses[at], basis)
        together = min(max(float(unexpected @ hard) / max(float(hard @ hard), 1e-12), 0.0), 1.0)
        rows = np.concatenate([condition.rows[inputs], healthy.rows[inputs]])
        loss = np.concatenate([(losses[at] - together * hard)[inputs], (losses[0] - hard)[inputs]])
        weights = _weights(classes, places, rng)
        shares = weights[:, : len(inputs)] + weights[:, len(inputs) :]
        drawn.append(
            Windows(
                statistics=statistics_of(rows, weights, basis, effective_n=FRAMES),
                loss=np.maximum(weights @ loss, 0.0),
                condition=np.full(len(weights), at),
                worth=1.0 / (shares**2).sum(axis=1),
            )
        )
    return join(drawn)


def _expected(condition: Condition, loss: NDArray[np.float64], basis: Basis) -> NDArray[np.float64]:
    """The loss expected of each input: (N,)."""
    rights = basis.rights(condition.rows) if basis.curve is not None else None
    return np.full(len(loss), loss.mean()) if rights is None else 1.0 - rights


def _weights(
    classes: NDArray[np.intp], places: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Shares of each input, (windows, 2n): first as disturbed, then as healthy."""
    n = len(classes)
    favoured = [tilt * rng.normal(size=classes.max() + 1)[classes] for tilt in TILTS]
    for tilt in PLACES:
        along = places @ rng.normal(size=places.shape[1])
        favoured.append(tilt * (along - along.mean()) / max(float(along.std()), 1e-9))
    windows = np.zeros((len(favoured) + 1, 2 * n))
    for at, factor in enumerate(favoured):
        share = np.exp(np.clip(factor, -5.0, 5.0))
        windows[at, :n] = rng.multinomial(FRAMES, share / share.sum())
    windows[-1] = rng.multinomial(FRAMES, np.full(2 * n, 0.5 / n))
    return windows / FRAMES
