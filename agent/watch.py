"""What the statistics say: observations into windows, windows into scores, scores into messages.

A window closes by count or by time and is published; drift is tested on exactly the number of
observations the detectors were calibrated for, merged from as many windows as that takes. Time is
an argument; nothing here blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.contracts import Array, Detector, DriftScore, Prediction, Profile
from agent.monitor import promise
from agent.monitor.alarms import TOP_FEATURES, AlarmState, alarm_message
from agent.monitor.distances import family_of
from agent.monitor.features import FeatureSet
from agent.monitor.profiles import merge
from agent.monitor.reference import Reference
from agent.monitor.summary import feature_windows, five_digits
from agent.monitor.window import Pixels, WindowBuilder
from agent.telemetry.messages import Accuracy, Body, Drift, Window

CONFIDENCE = "output.top_score"
NANOSECONDS = 1_000_000_000


class Sink(Protocol):
    """Where messages go; ``urgent`` ones are on disk when it returns."""

    def emit(self, body: Body, *, urgent: bool = False) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchSettings:
    samples: int
    interval_s: float
    false_alarms_per_month: float
    alpha_floor: float
    """The smallest probability the detector can tell; see ``monitor.promise``."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The input's own features and pixel counts."""

    inputs: list[float]
    pixels: Pixels


class Watch:
    """Watches one model on one device against one reference."""

    def __init__(
        self,
        *,
        reference: Reference,
        features: FeatureSet,
        accuracy: Callable[[], Accuracy | None],
        settings: WatchSettings,
        sink: Sink,
        utc_now: Callable[[], str],
        now_ns: int,
    ) -> None:
        self._reference = reference
        self._features = features
        self._accuracy = accuracy
        self._settings = settings
        self._sink = sink
        self._utc_now = utc_now
        self._window = WindowBuilder(reference)
        self._opened_ns = now_ns
        self._opened_at = utc_now()
        self._tested_ns = now_ns
        self._frames = 0
        self._untested: Profile | None = None
        self._detector: Detector | None = None
        self._alarm = AlarmState()

    @property
    def settings(self) -> WatchSettings:
        return self._settings

    @property
    def alarmed(self) -> bool:
        """Whether a drift alarm stands."""
        return self._alarm.raised

    def attach(self, detector: Detector, *, now_ns: int) -> None:
        """Begin to test for drift: thresholds may be ready only some time after the start, and then
        the window may already be meant to have another size."""
        if detector.samples != self._settings.samples:
            return
        self._detector = detector
        self._untested = None
        self._tested_ns = now_ns

    def change(self, settings: WatchSettings, *, now_ns: int) -> None:
        """Other windows from here on; of another size they need another detector to be tested."""
        self.close_window(now_ns)
        if settings.samples != self._settings.samples:
            self._detector = None
        self._settings = settings
        self._untested = None

    def forget(self, *, now_ns: int) -> None:
        """Begin anew: what gathered so far is published, and tested no more."""
        self.close_window(now_ns)
        self._untested = None
        self._tested_ns = now_ns

    def count_frame(self) -> None:
        self._frames += 1

    def see(self, view: Array) -> Seen:
        """What is kept of a sampled frame's input (8-bit RGB, or a vector). Asked for before the
        model runs: afterwards the picture has left the processor's caches, at twice the cost.
        Raises FrameError."""
        return Seen(inputs=self._features.inputs(view), pixels=self._window.pixels_of(view))

    def observe(self, seen: Seen, prediction: Prediction, *, now_ns: int) -> None:
        """Add a sampled frame once the model has spoken. Raises FrameError."""
        row = self._features.complete(seen.inputs, prediction)
        self._window.add(row, self._reference.groups.of(prediction), seen.pixels)
        self.tick(now_ns)

    def tick(self, now_ns: int) -> None:
        """Close the window when it is due."""
        carried = self._untested.n if self._untested else 0
        full = self._window.n + carried >= self._settings.samples
        late = now_ns - self._opened_ns >= self._settings.interval_s * NANOSECONDS
        if full or late:
            self.close_window(now_ns)

    def close_window(self, now_ns: int) -> None:
        """Publish the open window and open the next; one without a sample stays open."""
        if not self._window.n:
            return
        profile = self._window.profile()
        self._untested = merge(self._untested, profile) if self._untested else profile
        scores = self._test(now_ns)
        self._sink.emit(self._message(profile, scores, now_ns))
        for score in scores:
            self._raise_or_clear(score)
        self._window.clear()
        self._frames = 0
        self._opened_ns = now_ns
        self._opened_at = self._utc_now()

    def _test(self, now_ns: int) -> tuple[DriftScore, ...]:
        """Score what has gathered, once it is enough."""
        gathered = self._untested
        if gathered is None or gathered.n < self._settings.samples:
            return ()
        self._untested = None
        elapsed_s = (now_ns - self._tested_ns) / NANOSECONDS
        alpha = promise.alpha(self._settings.false_alarms_per_month, elapsed_s)
        # What the promise allows grows with time: a test that comes before its tail could be
        # trusted is left out, and the next one has the time of both.
        if self._detector is None or alpha < self._settings.alpha_floor:
            return ()
        self._tested_ns = now_ns
        return (self._detector.score(gathered, alpha),)

    def _message(self, profile: Profile, scores: tuple[DriftScore, ...], now_ns: int) -> Window:
        names = profile.features
        scored = CONFIDENCE in names
        return Window(
            opened_at=self._opened_at,
            closed_at=self._utc_now(),
            duration_s=round((now_ns - self._opened_ns) / NANOSECONDS, 3),
            frames=self._frames,
            samples=profile.n,
            features=feature_windows(profile, self._reference),
            groups=dict(zip(self._reference.groups.names, profile.groups.tolist(), strict=True)),
            drift=tuple(_drift(score) for score in scores),
            accuracy=self._accuracy(),
            confidence=five_digits(float(profile.mean[names.index(CONFIDENCE)])) if scored else None,
        )

    def _raise_or_clear(self, score: DriftScore) -> None:
        status = self._alarm.update(score)
        if status is None:
            return
        self._sink.emit(alarm_message(score, status), urgent=True)


def _drift(score: DriftScore) -> Drift:
    return Drift(
        detector=score.detector,
        n=score.n,
        p=score.p,
        alpha=score.alpha,
        statistics={name: five_digits(value) for name, value in score.statistics},
        top=tuple(item.name for item in score.distances[:TOP_FEATURES]),
        family=family_of(score.distances),
    )
