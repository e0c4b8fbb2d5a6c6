"""What the statistics say: observations into windows, windows and verdicts into messages.

A window closes by count or by time and is published against the bundle's reference, with the accuracy
estimated from the newest frames. Whether something changed is ``change``'s to say. Time is an
argument; nothing here blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

from agent.alarming import Alarming, Now, Raised, Sink
from agent.change import ChangeWatch, Learned, Verdict
from agent.contracts import Array, Classification, Prediction, Profile
from agent.monitor.alarms import TOP_FEATURES
from agent.monitor.distances import family_of
from agent.monitor.estimate import Estimator
from agent.monitor.features import FeatureSet
from agent.monitor.groups import predicted_class
from agent.monitor.recent import Recent
from agent.monitor.reference import Reference
from agent.monitor.summary import feature_windows, five_digits
from agent.monitor.window import Pixels, WindowBuilder
from agent.telemetry.messages import Accuracy, Drift, Estimate, Window

CONFIDENCE = "output.top_score"
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchSettings:
    samples: int
    interval_s: float
    tolerance_points: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The input's own features and pixel counts."""

    inputs: list[float]
    pixels: Pixels


class Watch:
    """Watches one model on one device. ``accuracy`` is what labels say; ``explain`` is called after an
    alarm was raised."""

    def __init__(
        self,
        *,
        reference: Reference,
        features: FeatureSet,
        change: ChangeWatch,
        estimator: Estimator | None,
        accuracy: Callable[[], Accuracy | None],
        settings: WatchSettings,
        sink: Sink,
        explain: Callable[[Raised], None],
        utc_now: Callable[[], str],
        now_ns: int,
    ) -> None:
        self._reference = reference
        self._features = features
        self._change = change
        self._estimator = estimator
        self._accuracy = accuracy
        self._settings = settings
        self._sink = sink
        self._alarming = Alarming(sink=sink, explain=explain, tolerance_points=settings.tolerance_points)
        self._utc_now = utc_now
        self._window = WindowBuilder(reference)
        self._recent = Recent(capacity=settings.samples, features=len(features.names))
        self._opened_ns = now_ns
        self._opened_at = utc_now()
        self._frames = 0
        self._verdicts: list[Verdict] = []
        self._expected: float | None = reference.accuracy

    @property
    def settings(self) -> WatchSettings:
        return self._settings

    @property
    def alarmed(self) -> bool:
        """Whether a drift alarm stands."""
        return self._change.alarmed

    def begin(self) -> None:
        """Ask for the first detectors."""
        self._change.begin()

    def attach(self, learned: Learned) -> None:
        """Begin to test with these detectors. What accuracy was when the device was commissioned is
        what a later loss is counted from."""
        if not self._change.attach(learned):
            return
        self._expected = self._reference.accuracy
        if learned.against == "commissioning" and self._estimator is not None:
            rows = learned.reference.calibration
            then = self._estimator.estimate(rows, effective_n=float(len(rows)))
            self._expected = self._expected if then.value is None else then.value

    def change(self, settings: WatchSettings, *, now_ns: int) -> None:
        """Other windows from here on; of another size they need other detectors to be tested."""
        self.close_window(now_ns)
        before, self._settings = self._settings, settings
        self._alarming.tolerance_points = settings.tolerance_points
        if settings.samples != before.samples:
            self._recent = Recent(capacity=settings.samples, features=len(self._features.names))
            self._change.resize(settings.samples)

    def repace(self) -> None:
        """Frames are sampled at another rate from here on."""
        self._change.repace()

    def missed(self) -> None:
        """Detectors that were asked for could not be learned."""
        self._change.missed()

    def forget(self, *, now_ns: int) -> None:
        """Commission anew: what gathered so far is published, and tested no more."""
        self.close_window(now_ns)
        self._recent.clear()
        over = self._change.forget()
        self._expected = self._reference.accuracy
        if over is not None:
            self._alarming.say(over, self._now())

    def count_frame(self) -> None:
        self._frames += 1

    def see(self, view: Array) -> Seen:
        """What is kept of a sampled frame's input (8-bit RGB, or a vector). Asked for before the
        model runs: afterwards the picture has left the processor's caches, at twice the cost.
        Raises FrameError."""
        return Seen(inputs=self._features.inputs(view), pixels=self._window.pixels_of(view))

    def right_of(self, prediction: Prediction) -> float | None:
        """The calibrated probability (0 … 1) that a classification is right, where the bundle can tell."""
        if self._estimator is None or not isinstance(prediction, Classification):
            return None
        return self._estimator.right_of_score(prediction.score)

    def observe(self, seen: Seen, prediction: Prediction, *, now_ns: int) -> None:
        """Add a sampled frame once the model has spoken. Raises FrameError."""
        row = self._features.complete(seen.inputs, prediction)
        self._window.add(row, self._reference.groups.of(prediction), seen.pixels)
        predicted = predicted_class(prediction)
        right = self._estimator.right(row) if self._estimator is not None else None
        self._recent.add(row, predicted)
        self._alarming.count_frame()
        self._verdicts += self._change.add(row, predicted, right, recent=self._recent, now_ns=now_ns)
        self.tick(now_ns)

    def tick(self, now_ns: int) -> None:
        """Close the window when it is due, or when there is something to say."""
        full = self._window.n >= self._settings.samples
        late = now_ns - self._opened_ns >= self._settings.interval_s * NANOSECONDS
        changed = any(verdict.change for verdict in self._verdicts)
        if full or (late and self._window.n) or changed or self._alarming.due(self._settings.samples):
            self.close_window(now_ns)

    def end(self, now_ns: int) -> None:
        """The session ends: test and publish what has gathered."""
        self._verdicts += self._change.end(self._recent)
        self.close_window(now_ns)

    def close_window(self, now_ns: int) -> None:
        """Publish the open window and open the next; one without a sample stays open. Then say what
        changed."""
        verdicts, self._verdicts = self._verdicts, []
        now = self._now()
        if self._window.n:
            self._sink.emit(self._message(self._window.profile(), verdicts, now.estimate, now_ns))
            self._window.clear()
            self._frames = 0
            self._opened_ns = now_ns
            self._opened_at = self._utc_now()
        for verdict in verdicts:
            self._alarming.say(verdict, now)
        if self._alarming.due(self._settings.samples):
            self._alarming.follow_up(now, lambda score: self._change.look_again(score, self._recent))

    def _message(
        self, profile: Profile, verdicts: list[Verdict], estimate: Estimate | None, now_ns: int
    ) -> Window:
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
            drift=tuple(_drift(verdict) for verdict in verdicts),
            accuracy=self._accuracy(),
            confidence=five_digits(float(profile.mean[names.index(CONFIDENCE)])) if scored else None,
            estimate=estimate,
            stream=self._change.stream,
            commissioning=self._change.commissioning,
        )

    def _now(self) -> Now:
        """What the newest frames say, whether independent or not."""
        effective_n = self._change.effective(self._recent.n)
        estimate = None
        if self._estimator is not None:
            estimate = self._estimator.estimate(self._recent.rows(), effective_n=effective_n)
        return Now(
            recent=self._recent,
            effective_n=effective_n,
            estimate=estimate,
            expected=self._expected,
            own=self._change.own,
        )


def _drift(verdict: Verdict) -> Drift:
    score = verdict.score
    return Drift(
        detector=score.detector,
        n=score.n,
        p=score.p,
        alpha=score.alpha,
        statistics={name: five_digits(value) for name, value in score.statistics},
        top=tuple(item.name for item in score.distances[:TOP_FEATURES]),
        family=family_of(score.distances),
        against=verdict.against,
        provisional=verdict.provisional,
    )
