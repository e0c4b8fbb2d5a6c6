"""The panel: several statistics of a window, one p-value, and a promise about false alarms.

T² asks whether the features' typical levels moved together, the largest per-feature χ² whether any
one distribution changed, the class χ² whether other classes are predicted, for vectors the covariance
whether their elements still go together. All depend on the window's counts and moments alone, so a
merged profile scores like the whole. How large they grow when nothing changed is learned from
unchanged windows (``resampling``); the smallest of the p-values, corrected for having looked at that
many, is the panel's.
"""

import math
from dataclasses import dataclass

import numpy as np

from agent.contracts import DriftScore, Profile, Sampled
from agent.monitor import promise
from agent.monitor.distances import compare
from agent.monitor.drift import Cache
from agent.monitor.drift.evidence import Statistics
from agent.monitor.drift.null import Null, alpha_floor, null_key
from agent.monitor.drift.resampling import calibrate
from agent.monitor.plan import Plan
from agent.monitor.profiles import profile_of
from agent.monitor.reference import Reference

__all__ = ["NAME", "Panel", "PanelDetector", "calibrate"]

NAME = "panel"
_SEED = 1
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Tests windows of independent frames, as many as ``monitor.window.samples``."""

    resamples: int = 20_000
    """Unchanged windows drawn for the thresholds; a fitted tail reaches beyond them."""

    def problems(self) -> list[str]:
        low, high = promise.MIN_RESAMPLES, promise.MOST_RESAMPLES
        if low <= self.resamples <= high:
            return []
        return [f"resamples: must be {low} … {high}, got {self.resamples}"]

    def broken_promise(self, plan: Plan) -> tuple[str, ...]:
        return promise.check_promise(plan, resamples=self.resamples)

    def make(self, reference: Reference, plan: Plan, cache: Cache) -> "PanelDetector":
        key = null_key(reference, samples=plan.samples, resamples=self.resamples, seed=_SEED)
        return PanelDetector(
            reference=reference,
            null=self._null(reference, plan, cache, key),
            false_alarms_per_month=plan.false_alarms_per_month,
        )

    def _null(self, reference: Reference, plan: Plan, cache: Cache, key: str) -> Null:
        kept = cache.get(key)
        if kept is not None:
            try:
                return Null.decode(kept)
            except ValueError:
                pass  # Damaged on the card: made again, like one that was never there.
        null = calibrate(reference, samples=plan.samples, resamples=self.resamples, seed=_SEED)
        cache.put(key, null.encode())
        return null


class PanelDetector:
    """Collects independent frames, and scores each window's worth of them."""

    name = NAME

    def __init__(self, *, reference: Reference, null: Null, false_alarms_per_month: float = 1.0) -> None:
        """Raises ValueError when ``null`` has other statistics than this reference gives."""
        self._reference = reference
        self._null = null
        self._rate = false_alarms_per_month
        self._statistics = Statistics(reference, null.samples)
        if null.names != self._statistics.names:
            raise ValueError(f"null distribution of {null.names}, expected {self._statistics.names}")
        self._rows = np.empty((null.samples, len(reference.features)), dtype=np.float32)
        self._groups = np.empty(null.samples, dtype=np.int64)
        self._n = 0
        self._tested_ns: int | None = None

    @property
    def samples(self) -> int:
        """Observations one score needs."""
        return self._null.samples

    def add(self, sampled: Sampled) -> DriftScore | None:
        """See ``contracts.Detector``. What the promise allows grows with time: a window that comes
        before its tail could be trusted is left out, and the next one has the time of both."""
        if self._tested_ns is None:
            self._tested_ns = sampled.at_ns
        if not sampled.independent:
            return None
        self._rows[self._n] = sampled.row
        self._groups[self._n] = sampled.group
        self._n += 1
        if self._n < self.samples:
            return None
        self._n = 0
        alpha = promise.alpha(self._rate, (sampled.at_ns - self._tested_ns) / _NANOSECONDS)
        if alpha < alpha_floor(self._null.resamples):
            return None
        self._tested_ns = sampled.at_ns
        return self.score(self._profile(), alpha)

    def forget(self) -> None:
        """See ``contracts.Detector``."""
        self._n = 0
        self._tested_ns = None

    def score(self, profile: Profile, alpha: float) -> DriftScore:
        """Score a window against the false-alarm probability ``alpha``; one of more observations than
        the thresholds are for is judged as if it held just so many, which can only lower its rate.

        Raises ValueError when the profile counts other features or has too few observations.
        """
        if profile.features != self._reference.features:
            raise ValueError("the profile counts other features than the reference")
        if profile.n < self.samples:
            raise ValueError(f"expected at least {self.samples} observations, got {profile.n}")
        statistics = self._statistics.of(profile)
        p_values = self._null.p(statistics)
        # Šidák: with the smallest of S p-values, chance had S opportunities.
        least = min(*p_values.values(), 1.0 - 1e-12)  # 1 where no unchanged window lay nearer
        p = -math.expm1(len(p_values) * math.log1p(-least))
        own = [*statistics.items(), *((f"{name}_p", p) for name, p in p_values.items())]
        return DriftScore(
            detector=self.name,
            n=profile.n,
            p=p,
            alpha=alpha,
            statistics=tuple(own),
            distances=compare(self._reference, profile, samples=self.samples),
        )

    def _profile(self) -> Profile:
        """Of what was collected; no vector's element counts as further out than anything normal is
        twice over, so that one wild reading cannot fill all products."""
        rows = self._rows
        elements = len(self._reference.profile.cross)
        if self._statistics.products:
            low, high = self._statistics.products.low, self._statistics.products.high
            rows = rows.copy()
            rows[:, :elements] = np.clip(rows[:, :elements], low, high)
        return profile_of(
            rows,
            self._groups,
            features=self._reference.features,
            edges=self._reference.edges,
            n_groups=len(self._reference.groups.names),
            pixels=np.zeros((0, 256), dtype=np.int64),
            elements=elements,
        )
