"""Windows close when they should, drift is tested when it may, and alarms say so once."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.alarming import Raised
from agent.change import ChangeWatch, Learn, Learned
from agent.contracts import Against, Detector, DriftScore, Regression, Sampled
from agent.monitor.commissioning import Baseline, Wanted
from agent.monitor.drift.panel import Panel
from agent.monitor.features import feature_set
from agent.monitor.groups import NO_GROUPS
from agent.monitor.plan import Plan
from agent.monitor.reference import Reference, build
from agent.monitor.thinning import Thinning
from agent.telemetry.messages import Alarm, Body, Estimate, Window
from agent.watch import Watch, WatchSettings

SECOND = 1_000_000_000
FEATURES = feature_set(image=False, prediction="regression", vector=("a", "b"))
NO_PIXELS = np.zeros((0, 256), np.int64)


@pytest.fixture(scope="module")
def reference() -> Reference:
    rng = np.random.default_rng(3)

    def rows(count: int) -> np.ndarray:
        a, b = rng.normal(size=(2, count))
        return np.column_stack([a, b, a + b]).astype(np.float32)

    return build(
        features=FEATURES.names,
        families=FEATURES.families,
        profile_rows=rows(400),
        profile_groups=np.full(400, -1),
        pixels=NO_PIXELS,
        calibration=rows(400),
        calibration_groups=np.full(400, -1),
        groups=NO_GROUPS,
        fingerprint="0" * 64,
    )


@dataclass
class Kept:
    """A sink that keeps what it is given."""

    bodies: list[Body] = field(default_factory=list)
    urgent: list[Body] = field(default_factory=list)

    def emit(self, body: Body, *, urgent: bool = False) -> None:
        (self.urgent if urgent else self.bodies).append(body)

    @property
    def windows(self) -> list[Window]:
        return [body for body in self.bodies if isinstance(body, Window)]


class NoCache:
    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, content: bytes) -> None:
        pass


@dataclass
class Recording:
    """A detector that keeps what it is given and answers every ``samples`` independent rows with the
    next of its p-values (0.5 when it has none left)."""

    samples: int
    answers: list[float] = field(default_factory=list)
    name: str = "recording"
    alpha: float = 1e-3
    seen: list[Sampled] = field(default_factory=list)

    def add(self, sampled: Sampled) -> DriftScore | None:
        self.seen.append(sampled)
        if len(self.seen) % self.samples:
            return None
        p = self.answers.pop(0) if self.answers else 0.5
        return DriftScore(detector=self.name, n=self.samples, p=p, alpha=self.alpha, statistics=())

    def forget(self) -> None:
        self.seen.clear()


@dataclass
class Bench:
    """A watch with what it asked for and what it said."""

    watch: Watch
    sink: Kept
    asked: list[Learn]
    raised: list[Raised]

    def attach(self, reference: Reference, *detectors: Detector, against: Against = "training") -> None:
        learned = Learned(
            against=against, samples=self.watch.settings.samples, reference=reference, detectors=detectors
        )
        self.watch.attach(learned)

    @property
    def alarms(self) -> list[Alarm]:
        return [body for body in self.sink.urgent if isinstance(body, Alarm)]


def make_watch(
    reference: Reference,
    *,
    samples: int = 20,
    interval_s: float = 60.0,
    multiple: float = 0.0,
    baseline: Baseline | None = None,
    estimator: Any = None,
) -> Bench:
    sink, asked, raised = Kept(), [], []
    change = ChangeWatch(
        training=reference,
        thinning=Thinning(multiple=multiple),
        baseline=baseline,
        samples=samples,
        learn=asked.append,
    )
    watch = Watch(
        reference=reference,
        features=FEATURES,
        change=change,
        estimator=estimator,
        accuracy=lambda: None,
        settings=WatchSettings(samples=samples, interval_s=interval_s, tolerance_points=2.0),
        sink=sink,
        explain=raised.append,
        utc_now=lambda: "2026-01-02T03:04:05.000Z",
        now_ns=0,
    )
    watch.begin()
    return Bench(watch=watch, sink=sink, asked=asked, raised=raised)


def feed(watch: Watch, count: int, *, begin_s: float = 0.0, step_s: float = 1.0, shift: float = 0.0) -> float:
    """Show ``count`` frames, one every ``step_s``; the time of the last."""
    rng = np.random.default_rng(count)
    now_s = begin_s
    for _ in range(count):
        now_s += step_s
        view = rng.normal(size=2) + shift
        watch.count_frame()
        seen = watch.see(view)
        watch.observe(seen, Regression(values=view.sum(keepdims=True)), now_ns=int(now_s * SECOND))
    return now_s


def test_a_window_closes_by_count_or_by_time(reference: Reference) -> None:
    bench = make_watch(reference)
    feed(bench.watch, 45)
    assert [(window.samples, window.duration_s) for window in bench.sink.windows] == [(20, 20.0), (20, 20.0)]
    bench = make_watch(reference, interval_s=7.0)
    feed(bench.watch, 20, step_s=2.0)
    assert [(window.samples, window.duration_s) for window in bench.sink.windows] == [(4, 8.0)] * 5


def test_nothing_sampled_is_no_window(reference: Reference) -> None:
    bench = make_watch(reference)
    bench.watch.count_frame()
    bench.watch.tick(1000 * SECOND)
    assert bench.sink.bodies == []
    end_s = feed(bench.watch, 20, begin_s=1000.0)
    bench.watch.close_window(int(end_s * SECOND))
    assert sum(window.frames for window in bench.sink.windows) == 21


@settings(max_examples=30, deadline=None)
@given(
    interval_s=st.floats(min_value=1, max_value=90),
    step_s=st.floats(min_value=0.1, max_value=8),
    count=st.integers(40, 120),
)
def test_every_observation_is_published_once_and_reaches_every_detector(
    reference: Reference, interval_s: float, step_s: float, count: int
) -> None:
    bench, detector = make_watch(reference, interval_s=interval_s), Recording(samples=20)
    bench.attach(reference, detector)
    end_s = feed(bench.watch, count, step_s=step_s)
    bench.watch.close_window(int(end_s * SECOND) + 1)
    assert len(detector.seen) == count
    assert sum(window.samples for window in bench.sink.windows) == count
    assert [len(window.drift) for window in bench.sink.windows if window.drift] == [1] * (count // 20)


def test_an_alarm_is_raised_once_explained_and_cleared_after_two_calm_tests(reference: Reference) -> None:
    bench = make_watch(reference)
    bench.attach(reference, Recording(samples=20, answers=[0.5, 1e-9, 1e-9, 0.5, 0.01, 0.5, 0.5, 0.5]))
    feed(bench.watch, 160)
    assert [(alarm.status, alarm.severity, alarm.detector) for alarm in bench.alarms] == [
        ("raised", "warning", "recording"),
        ("cleared", "notice", "recording"),
    ]
    assert [bool(window.drift[0].p <= window.drift[0].alpha) for window in bench.sink.windows] == [
        False, True, True, False, False, False, False, False,
    ]  # fmt: skip
    # Explained at once, and again when the newest frames are all from after that.
    assert [raised.verdict.score.p for raised in bench.raised] == [1e-9, 1e-9]
    for raised in bench.raised:
        assert {distance.name for distance in raised.verdict.score.distances} == {"a", "b", "output.value"}


class Falling:
    """A fake estimator: accuracy falls as the first feature of the newest rows grows."""

    def right(self, row: np.ndarray) -> None:
        return None

    def estimate(self, rows: np.ndarray, *, effective_n: float) -> Estimate:
        value = 0.9 - 0.15 * float(rows[:, 0].mean())
        return Estimate(
            kind="accuracy",
            n=len(rows),
            effective_n=effective_n,
            value=value,
            low=value - 0.02,
            high=value + 0.02,
        )


def test_an_alarm_that_turns_out_to_cost_more_is_raised_again_as_what_it_is(reference: Reference) -> None:
    known = replace(reference, accuracy=0.9)
    bench = make_watch(known, samples=40, estimator=Falling())
    bench.attach(known, Recording(samples=50, answers=[1e-9]))
    end_s = feed(bench.watch, 40)
    feed(bench.watch, 60, begin_s=end_s, shift=2.0)
    assert [(alarm.status, alarm.severity) for alarm in bench.alarms] == [
        ("raised", "warning"),
        ("raised", "critical"),
    ]
    first, last = (alarm.loss_points for alarm in bench.alarms)
    assert first is not None
    assert last is not None
    assert 2 < first < 10 < 25 < last
    assert len(bench.raised) == 2


def test_a_shift_is_found_by_the_real_panel_and_no_shift_is_not(reference: Reference) -> None:
    plan = Plan(
        samples=50,
        false_alarms_per_month=1000.0,
        tolerance_points=2.0,
        calibration_rows=400,
        sampled_interval_s=None,
        thinning=1,
    )
    for shift, drifted in ((0.0, False), (1.5, True)):
        bench = make_watch(reference, samples=50)
        bench.attach(reference, Panel(resamples=4000).make(reference, plan, NoCache()))
        feed(bench.watch, 50, shift=shift)
        (window,) = bench.sink.windows
        assert [drift.p <= drift.alpha for drift in window.drift] == [drifted]
        assert window.drift[0].family == ("value" if drifted else window.drift[0].family)
        assert len(bench.alarms) == drifted


def test_a_commissioned_device_is_compared_with_its_own_baseline(reference: Reference) -> None:
    baseline = Baseline(Wanted(key="k", features=3, hours=0.02, samples=100))
    bench = make_watch(reference, baseline=baseline)
    bench.attach(reference, Recording(samples=20, answers=[1e-9]))
    assert [wanted.against for wanted in bench.asked] == ["training"]
    end_s = feed(bench.watch, 20)
    assert [alarm.provisional for alarm in bench.alarms] == [True]
    window = bench.sink.windows[-1]
    assert window.commissioning is not None
    assert (window.commissioning.ready, window.commissioning.samples) == (False, 20)

    end_s = feed(bench.watch, 100, begin_s=end_s, shift=0.5)
    assert [wanted.against for wanted in bench.asked] == ["training", "commissioning"]
    own = bench.asked[1].reference()
    assert own.features == reference.features
    assert len(own.calibration) + own.profile.n == 100
    bench.attach(own, Recording(samples=20, answers=[1e-9]), against="commissioning")
    feed(bench.watch, 60, begin_s=end_s, shift=0.5)
    score = bench.sink.windows[-1].drift[0]
    assert (score.against, score.provisional) == ("commissioning", False)
    assert bench.sink.windows[-1].commissioning is not None
    assert bench.sink.windows[-1].commissioning.ready

    bench.watch.forget(now_ns=10**15)
    assert [wanted.against for wanted in bench.asked] == ["training", "commissioning", "training"]
    assert baseline.n == 0


def test_detectors_for_windows_of_another_size_are_asked_for_anew(reference: Reference) -> None:
    bench = make_watch(reference)
    bench.watch.change(WatchSettings(samples=40, interval_s=60.0, tolerance_points=2.0), now_ns=SECOND)
    assert [wanted.samples for wanted in bench.asked] == [20, 40]
    late = Recording(samples=20)
    learned = Learned(against="training", samples=20, reference=reference, detectors=(late,))
    bench.watch.attach(learned)  # of the old size, learned too late
    feed(bench.watch, 40)
    assert late.seen == []
    assert [window.samples for window in bench.sink.windows] == [40]


def test_a_standing_notice_does_not_hide_what_comes_later(reference: Reference) -> None:
    known = replace(reference, accuracy=0.9)
    bench = make_watch(known, samples=40, estimator=Falling())
    bench.attach(known, Recording(samples=40, answers=[1e-9] * 20))
    end_s = feed(bench.watch, 120)
    assert [alarm.severity for alarm in bench.alarms] == ["notice"]
    feed(bench.watch, 120, begin_s=end_s, shift=3.0)
    assert [(alarm.status, alarm.severity) for alarm in bench.alarms][-1] == ("raised", "critical")
    assert bench.alarms[-1].loss_points is not None
    assert bench.alarms[-1].loss_points > 30
    assert len(bench.alarms) <= 4  # said when it has become worse, not over and over


def test_scores_without_a_change_do_not_cut_windows_short(reference: Reference) -> None:
    bench = make_watch(reference)
    bench.attach(reference, Recording(samples=20), Recording(samples=21, name="other"))
    feed(bench.watch, 100)
    assert [window.samples for window in bench.sink.windows] == [20] * 5
    assert sum(len(window.drift) for window in bench.sink.windows) == 9


def test_nothing_is_estimated_while_no_frame_comes(reference: Reference) -> None:
    class Counting(Falling):
        asked = 0

        def estimate(self, rows: np.ndarray, *, effective_n: float) -> Estimate:
            Counting.asked += 1
            return super().estimate(rows, effective_n=effective_n)

    bench = make_watch(reference, estimator=Counting())
    end_s = feed(bench.watch, 20)
    before = Counting.asked
    for second in range(500):
        bench.watch.tick(int((end_s + second) * SECOND))
    assert Counting.asked == before


def test_commissioning_anew_ends_a_standing_alarm(reference: Reference) -> None:
    baseline = Baseline(Wanted(key="k", features=3, hours=1.0, samples=100))
    bench = make_watch(reference, baseline=baseline)
    bench.attach(reference, Recording(samples=20, answers=[1e-9]))
    feed(bench.watch, 20)
    assert bench.watch.alarmed
    bench.watch.forget(now_ns=10**12)
    assert not bench.watch.alarmed
    assert [alarm.status for alarm in bench.alarms] == ["raised", "cleared"]


def test_what_could_not_be_learned_leaves_the_bundles_reference(reference: Reference) -> None:
    baseline = Baseline(Wanted(key="k", features=3, hours=0.001, samples=100))
    bench = make_watch(reference, baseline=baseline)
    feed(bench.watch, 100)
    assert [wanted.against for wanted in bench.asked] == ["training", "commissioning"]
    bench.watch.missed()
    bench.watch.missed()  # and that could not be learned, either: it is not asked for over and over
    assert [wanted.against for wanted in bench.asked] == ["training", "commissioning", "training"]
