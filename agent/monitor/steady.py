"""What of a stream normally stays where it is, and how surely.

A cumulative sum adds up small differences from a level, for hours. It needs scores whose level does
not follow the light of the day, and must know how far it may be off at any hour.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.monitor.reference import Reference
from agent.monitor.scores import bin_scores, row_scores
from agent.monitor.wander import Wander, wander_of

SPANS = 24
SHORT_SPAN = 16
"""Calibration rows of the shortest span that is asked how much its level varies."""
UNSTEADY = 0.5
"""A feature whose level is off by more, as a standard deviation, is not watched."""
_FOLDS = 4
_LEAST_SPREAD = 0.05

Floats = NDArray[np.float64]


class Steady:
    """Rows as F' scores of mean 0 and variance 1 in the reference: linear in the features' normal scores.

    A feature that wanders is freed of it as far as the others foretell it. One that does not is better
    left as it is, or it would take over a little of what they leave.
    """

    def __init__(self, reference: Reference) -> None:
        self._edges = reference.edges
        self._scores = bin_scores(reference.profile.counts)
        self._all = np.arange(len(self._edges))
        self._offset, self._matrix = self._plain(reference)
        rows = reference.calibration
        known = 1.0 / max(reference.profile.n, 1) + 1.0 / max(len(rows), 1)
        self.uncertainty: Floats = np.full(self._matrix.shape[1], math.sqrt(known))
        if reference.wander is not None and len(rows) >= 2 * SHORT_SPAN:
            self._choose(reference, reference.wander, known)

    def of_rows(self, rows: NDArray[np.float32]) -> Floats:
        """(n, F) to (n, F')."""
        scores: Floats = row_scores(rows, self._edges, self._scores) @ self._matrix + self._offset
        return scores

    def of_row(self, row: NDArray[np.float32]) -> Floats:
        """(F,) to (F',): the same numbers, quicker for one."""
        bins = (row[:, None] >= self._edges).sum(axis=1)
        scores: Floats = self._scores[self._all, bins] @ self._matrix + self._offset
        return scores

    def _plain(self, reference: Reference) -> tuple[Floats, Floats]:
        """Each feature that varies by itself."""
        shares = reference.profile.counts / max(reference.profile.n, 1)
        level = (shares * self._scores).sum(axis=1)
        spread = np.sqrt(np.maximum((shares * self._scores**2).sum(axis=1) - level**2, 0.0))
        kept = np.flatnonzero(spread > _LEAST_SPREAD)
        self._kept = kept
        matrix = np.eye(len(self._edges))[:, kept] / spread[kept]
        return -level @ matrix, matrix

    def _choose(self, reference: Reference, wander: Wander, known: float) -> None:
        """Take each feature plain or without what wanders, whichever is steadier."""
        rows = self.of_rows(reference.calibration)
        _, between, _ = _between(rows, min(SPANS, len(rows) // SHORT_SPAN))
        _, shorter, by_chance = _between(rows, len(rows) // SHORT_SPAN)
        plain = np.full(len(self._edges), np.inf)
        plain[self._kept] = np.maximum(between, shorter - by_chance)
        freed = _unforeseen(reference, wander)
        take = np.flatnonzero((freed < plain) & np.isin(self._all, wander.steady_features))
        offset, matrix = np.zeros(len(self._edges)), np.zeros((len(self._edges),) * 2)
        offset[self._kept], matrix[:, self._kept] = self._offset, self._matrix
        columns = np.searchsorted(wander.steady_features, take)
        zero = wander.steady(np.zeros((1, len(self._edges))))[0]
        offset[take] = zero[columns]
        matrix[:, take] = (wander.steady(np.eye(len(self._edges))) - zero)[:, columns]
        varies = np.minimum(freed, plain)
        usable = np.flatnonzero(varies <= UNSTEADY**2)
        self._offset, self._matrix = offset[usable], matrix[:, usable]
        # The smallest of many uncertain numbers are too small by chance: none counts below their mean.
        self.uncertainty = np.sqrt(
            np.maximum(varies[usable], varies[usable].mean() if len(usable) else 0.0) + known
        )


def _unforeseen(reference: Reference, wander: Wander) -> Floats:
    """How much each feature's steady level still varies (F,), beyond chance, over spans of blocks that
    were left out when what wanders was learned: in the blocks it was learned from, it would seem to vary
    little. Infinite where that cannot be told."""
    scores, blocks = bin_scores(reference.profile.counts), wander.calibration_blocks
    rows = row_scores(reference.calibration, reference.edges, scores)
    squares, spans = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for fold in range(_FOLDS):
        use = blocks % _FOLDS != fold
        learned = wander_of(
            reference.calibration[use],
            reference.calibration_groups[use],
            blocks[use],
            edges=reference.edges,
            scores=scores,
            n_groups=len(reference.groups.names),
            elements=0,
            calibration_blocks=blocks[use],
        )
        if learned is None:
            return np.full(rows.shape[1], np.inf)
        for block in np.unique(blocks[~use]).tolist():
            steady = learned.steady(rows[blocks == block])
            for part in np.array_split(steady, max(1, len(steady) // SHORT_SPAN)):
                squares[learned.steady_features] += part.mean(axis=0) ** 2 - part.var(axis=0) / len(part)
                spans[learned.steady_features] += 1
    told = spans > 0
    return np.where(told, np.maximum(squares / np.maximum(spans, 1), 0.0), np.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """``deviations`` (N, F') of the calibration rows from their span's level; ``uncertainty`` (F',) is
    how far, as a standard deviation, the level may be off at any hour. Where ``wanders``, it was
    seen on few hours."""

    deviations: Floats
    uncertainty: Floats
    wanders: bool

    @staticmethod
    def of(reference: Reference, steady: Steady) -> "Level":
        rows = steady.of_rows(reference.calibration)
        wanders = reference.wander is not None and len(rows) >= 2 * SHORT_SPAN
        deviations, _, _ = _between(rows, min(SPANS, len(rows) // SHORT_SPAN) if wanders else 1)
        return Level(deviations=deviations, uncertainty=steady.uncertainty, wanders=wanders)


def _between(rows: Floats, spans: int) -> tuple[Floats, Floats, Floats]:
    """Of rows (N, F') in order of time: their deviations from the level of their span, how much these
    levels vary beyond chance (F',), and the standard deviation of that by chance alone (F',)."""
    parts = np.array_split(rows, spans)
    means = np.array([part.mean(axis=0) for part in parts])
    deviations = np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)])
    deviations *= math.sqrt(len(rows) / (len(rows) - spans))
    chance = deviations.var(axis=0) * spans / len(rows)
    if spans < 2:
        return deviations, np.zeros_like(chance), chance
    between = np.maximum(means.var(axis=0, ddof=1) - chance, 0.0)
    return deviations, between, chance * math.sqrt(2.0 / (spans - 1))
