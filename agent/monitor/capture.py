"""Which frames are worth keeping, by the options of section ``capture``. Pure: no clock, no dice.

Every frame is given a chance and keeps it as its weight (1 / chance), so that sums over the kept frames
estimate sums over all of them (Horvitz and Thompson, 1952). The hourly quota thins the chances instead of
ending them: what a reason earns in time it spends in chances, so a frame after hours of silence is kept
for certain and one of thirty a second for hardly any chance at all.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from agent.contracts import Classification, Detections, Prediction
from agent.monitor.label_budget import MOST_PER_DAY, LabelBudget

HOUR_NS = 3_600_000_000_000
MOST_PER_HOUR = 3_600
MOST_MB = 65_536
Reason: TypeAlias = Literal["label", "alarm", "low confidence", "random", "command"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureOptions:
    """Section ``capture``: without ``enabled`` no frame is ever kept or sent, whatever else is set."""

    enabled: bool = False
    low_confidence_below: float | None = 0.5
    """Keep frames whose least certain score is below this; null: none for that."""
    at_alarm: bool = True
    """Keep frames while an alarm is raised."""
    random_every: int | None = 10_000
    """Keep one of so many frames at random, whatever they show; null: none for that."""
    labels_per_day: int = 0
    """Also keep about so many frames a day that are most worth a label, marked ``label``; 0: none."""
    per_hour: int = 12
    """Most frames kept in any hour, over all reasons and commands."""
    max_mb: int = 200
    """Most megabytes of kept frames on disk; the oldest go first."""
    longest_side: int | None = 640
    """Larger pictures are made smaller, to so many pixels; null: kept at full size."""
    blur: float = 0.0
    """Gaussian blur: its sigma as a share of the longest side, say 0.02; 0: none."""
    quality: int = 85
    """Of the JPEG file."""
    publish: bool = False
    """Also send each kept frame as a ``sample`` message; otherwise it stays on this device."""

    def problems(self) -> list[str]:
        """Values that make no sense, by name."""
        return [
            *_range("low_confidence_below", self.low_confidence_below, 0, 1),
            *_range("random_every", self.random_every, 1, 10**9),
            *_range("labels_per_day", self.labels_per_day, 0, MOST_PER_DAY),
            *_range("per_hour", self.per_hour, 1, MOST_PER_HOUR),
            *self._crowded(),
            *_range("max_mb", self.max_mb, 1, MOST_MB),
            *_range("longest_side", self.longest_side, 16, 16_384),
            *_range("blur", self.blur, 0, 0.5),
            *_range("quality", self.quality, 1, 100),
        ]

    def _crowded(self) -> list[str]:
        """Labels whose quota would often be used up: what chance chose must not be refused."""
        room = 12 * self.per_hour
        if not room < self.labels_per_day <= MOST_PER_DAY:
            return []
        return [
            f"labels_per_day: {self.labels_per_day} is more than half of what per_hour: {self.per_hour} lets "
            f"pass in a day; raise per_hour to {-(-self.labels_per_day // 12)} or more"
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Why a frame is kept, and for how many frames it stands."""

    reason: Reason
    weight: float
    label_weight: float = 0.0
    """For how many frames its label stands in an estimate of accuracy; 0 for itself alone, when it was kept
    for what it shows and others had no chance."""


class CapturePolicy:
    """Chooses frames within the quota. ``taken_ns``: when the frames of the last hour were kept, on the
    same clock as every ``now_ns``; earlier sessions count."""

    def __init__(self, options: CaptureOptions, *, now_ns: int, taken_ns: Iterable[int] = ()) -> None:
        self.refused = 0
        """Frames that chance had chosen and the quota did not let pass."""
        self._options = options
        self._taken_ns = deque(sorted(taken_ns))
        on: dict[Reason, bool] = {
            "alarm": options.at_alarm,
            "low confidence": options.low_confidence_below is not None,
            "random": options.random_every is not None,
        }
        self._budget = LabelBudget(options.labels_per_day) if options.labels_per_day else None
        left = max(0.0, _earned(options.per_hour) - options.labels_per_day / 24)
        share = left / (HOUR_NS * max(1, sum(on.values())))
        # In the order in which reasons are named when several hold.
        self._purses = {reason: _Purse(share, now_ns) for reason, wanted in on.items() if wanted}

    def choose(
        self,
        *,
        confidence: float | None,
        alarmed: bool,
        chance: float,
        now_ns: int,
        right: float | None = None,
    ) -> Choice | None:
        """Whether to keep the frame; ``chance`` is a fresh random number in [0, 1), ``right`` the calibrated
        probability that the prediction is right (None: the confidence takes its place)."""
        if not self._options.enabled:
            return None
        label = self._budget.chance(confidence if right is None else right, now_ns) if self._budget else 0.0
        chances = {
            reason: purse.spend(most, now_ns)
            for reason, purse in self._purses.items()
            if (most := self._most(reason, confidence, alarmed))
        }
        # Whatever else speaks for the frame: marked are those that the label's own chance chose.
        chances = {"label": label, **chances} if label else chances
        chosen: Reason | None = next((reason for reason, given in chances.items() if chance < given), None)
        if chosen is None or not self._take(now_ns):
            return None
        weight = 1 / max(chances.values())
        return Choice(reason=chosen, weight=weight, label_weight=self._label_weight(chosen, weight, label))

    def ask(self, now_ns: int) -> Choice | None:
        """A frame that somebody asks for: it stands for itself. None when the quota is used up."""
        if not self._options.enabled or not self._take(now_ns):
            return None
        return Choice(reason="command", weight=1.0)

    def _label_weight(self, chosen: Reason, weight: float, label: float) -> float:
        if self._budget:
            return 1 / label if chosen == "label" else 0.0
        # Without a budget the kept frames are a sample of all, as long as each of these has a chance.
        return weight if self._options.random_every is not None else 0.0

    def _most(self, reason: Reason, confidence: float | None, alarmed: bool) -> float:
        """The largest chance a frame may have for this reason; 0 where the reason does not hold."""
        below, every = self._options.low_confidence_below, self._options.random_every
        if reason == "random":
            return 1 / every if every else 0.0
        if reason == "alarm":
            return float(alarmed)
        return float(below is not None and confidence is not None and confidence < below)

    def _take(self, now_ns: int) -> bool:
        while self._taken_ns and now_ns - self._taken_ns[0] >= HOUR_NS:
            self._taken_ns.popleft()
        if len(self._taken_ns) >= self._options.per_hour:
            self.refused += 1
            return False
        self._taken_ns.append(now_ns)
        return True


class _Purse:
    """What one reason has earned and not yet spent: one frame at most, so that it never buys a burst."""

    def __init__(self, per_ns: float, now_ns: int) -> None:
        self._per_ns = per_ns
        self._held = 1.0
        self._at_ns = now_ns

    def spend(self, most: float, now_ns: int) -> float:
        self._held = min(1.0, self._held + self._per_ns * max(0, now_ns - self._at_ns))
        self._at_ns = now_ns
        spent = min(most, self._held)
        self._held -= spent
        return spent


def confidence_of(prediction: Prediction) -> float | None:
    """The least certain score: of a class, or of the most doubtful box; None where nothing is scored."""
    match prediction:
        case Classification():
            return float(prediction.score)
        case Detections():
            return float(prediction.scores.min()) if prediction.scores.size else None
        case _:
            return None


def _earned(per_hour: int) -> float:
    """Frames an hour to hand out in chances: two standard deviations of what chance makes of them stay
    free, so that about one busy hour in a hundred meets the quota."""
    return max(per_hour / 2, per_hour - 2 * math.sqrt(per_hour))


def _range(name: str, value: float | None, low: float, high: float) -> list[str]:
    if value is None or low <= value <= high:
        return []
    return [f"{name}: expected {low:g} to {high:g}, got {value:g}"]
