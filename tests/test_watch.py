"""Windows close when they should, drift is tested when it may, and alarms say so once."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contracts import Detector, DriftScore, Profile, Regression
from agent.monitor.distances import compare
from agent.monitor.drift.null import alpha_floor
from agent.monitor.drift.panel import Panel, calibrate
from agent.monitor.features import feature_set
from agent.monitor.groups import NO_GROUPS
from agent.monitor.promise import MONTH_S
from agent.monitor.reference import Reference, build
from agent.telemetry.messages import Alarm, Body, Window
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


@dataclass
class Recording:
    """A detector that keeps what it scores and answers with the p-values it was given."""

    reference: Reference
    samples: int
    answers: list[float]
    name: str = "recording"
    seen: list[tuple[Profile, float]] = field(default_factory=list)

    def score(self, profile: Profile, alpha: float) -> DriftScore:
        self.seen.append((profile, alpha))
        return DriftScore(
            detector=self.name,
            n=profile.n,
            p=self.answers.pop(0) if self.answers else 1.0,
            alpha=alpha,
            statistics=(),
            distances=compare(self.reference, profile),
        )


def make_watch(reference: Reference, sink: Kept, **changes: float) -> Watch:
    options = {
        "samples": 20,
        "interval_s": 60.0,
        "false_alarms_per_month": 1000.0,
        "alpha_floor": 0.0,
    } | changes
    return Watch(
        reference=reference,
        features=FEATURES,
        accuracy=lambda: None,
        settings=WatchSettings(**options),  # type: ignore[arg-type]  # a dict of the right numbers
        sink=sink,
        utc_now=lambda: "2026-01-02T03:04:05.000Z",
        now_ns=0,
    )


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
    sink = Kept()
    feed(make_watch(reference, sink), 45)
    assert [(window.samples, window.duration_s) for window in sink.windows] == [(20, 20.0), (20, 20.0)]
    sink = Kept()
    feed(make_watch(reference, sink, interval_s=7.0), 20, step_s=2.0)
    # By time after 4 frames (8 s) each; the observations a test needs gather over five of them.
    assert [(window.samples, window.duration_s) for window in sink.windows] == [(4, 8.0)] * 5


def test_nothing_sampled_is_no_window(reference: Reference) -> None:
    sink = Kept()
    watch = make_watch(reference, sink)
    watch.count_frame()
    watch.tick(1000 * SECOND)
    assert sink.bodies == []
    feed(watch, 20, begin_s=1000.0)
    assert sum(window.frames for window in sink.windows) == 21


@settings(max_examples=30, deadline=None)
@given(
    interval_s=st.floats(min_value=1, max_value=90),
    step_s=st.floats(min_value=0.1, max_value=8),
    count=st.integers(40, 120),
)
def test_every_observation_is_tested_once(
    reference: Reference, interval_s: float, step_s: float, count: int
) -> None:
    sink, detector = Kept(), Recording(reference, samples=20, answers=[])
    watch = make_watch(reference, sink, interval_s=interval_s)
    watch.attach(detector, now_ns=0)
    feed(watch, count, step_s=step_s)
    assert {profile.n for profile, _ in detector.seen} == {20}
    assert len(detector.seen) == count // 20
    published = np.sum([[f.counts for f in window.features] for window in sink.windows], axis=0)
    tested = np.sum([profile.counts for profile, _ in detector.seen], axis=0)
    if sum(window.samples for window in sink.windows) == 20 * len(detector.seen):
        assert np.array_equal(published, tested)
    else:
        assert (published >= tested).all()


def test_a_test_spends_what_has_accrued_since_the_last(reference: Reference) -> None:
    sink, detector = Kept(), Recording(reference, samples=20, answers=[])
    watch = make_watch(reference, sink, false_alarms_per_month=3.0)
    watch.attach(detector, now_ns=0)
    end_s = feed(watch, 20)
    feed(watch, 20, begin_s=end_s, step_s=2.0)
    assert [alpha for _, alpha in detector.seen] == pytest.approx([3 * 20 / MONTH_S, 3 * 40 / MONTH_S])


def test_a_test_that_comes_too_soon_leaves_its_share_to_the_next(reference: Reference) -> None:
    sink, detector = Kept(), Recording(reference, samples=20, answers=[])
    watch = make_watch(reference, sink, alpha_floor=1000 * 30 / MONTH_S)
    watch.attach(detector, now_ns=0)
    feed(watch, 40)
    assert [alpha for _, alpha in detector.seen] == pytest.approx([1000 * 40 / MONTH_S])
    assert [len(window.drift) for window in sink.windows] == [0, 1]


def test_an_alarm_is_raised_once_and_cleared_after_two_calm_tests(reference: Reference) -> None:
    sink = Kept()
    detector: Detector = Recording(reference, samples=20, answers=[0.5, 1e-9, 1e-9, 0.5, 0.01, 0.5, 0.5, 0.5])
    watch = make_watch(reference, sink)
    watch.attach(detector, now_ns=0)
    feed(watch, 160)
    alarms = [body for body in sink.urgent if isinstance(body, Alarm)]
    assert [(alarm.status, alarm.severity) for alarm in alarms] == [
        ("raised", "warning"),
        ("cleared", "notice"),
    ]
    assert [bool(window.drift[0].p <= window.drift[0].alpha) for window in sink.windows] == [
        False, True, True, False, False, False, False, False,
    ]  # fmt: skip


def test_a_shift_is_found_by_the_real_panel_and_no_shift_is_not(reference: Reference) -> None:
    null = calibrate(reference, samples=50, resamples=4000, seed=1)
    for shift, drifted in ((0.0, False), (1.5, True)):
        sink = Kept()
        watch = make_watch(reference, sink, samples=50, alpha_floor=alpha_floor(4000))
        watch.attach(Panel(reference=reference, null=null), now_ns=0)
        feed(watch, 50, shift=shift)
        (window,) = sink.windows
        assert [drift.p <= drift.alpha for drift in window.drift] == [drifted]
        assert window.drift[0].family == ("value" if drifted else window.drift[0].family)
        assert len(sink.urgent) == drifted
