"""The betting e-CUSUM: its arithmetic, its guarantee, and that it follows the normal day."""

import dataclasses
import math

import numpy as np
import pytest

from agent.contracts import Detector, DriftScore, Sampled
from agent.monitor.commissioning import Baseline, Wanted
from agent.monitor.drift.ecusum import STAKES, Ecusum, expect
from agent.monitor.groups import NO_GROUPS
from agent.monitor.plan import Plan
from agent.monitor.promise import MONTH_S
from agent.monitor.reference import Reference, build

S = 10**9
FAMILIES = ("light", "light", "texture", "output")


class NoCache:
    """Keeps nothing."""

    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, content: bytes) -> None:
        pass


def plan(*, per_month: float = 1 / 3, tolerance_points: float = 2.0, samples: int = 250) -> Plan:
    return Plan(
        samples=samples,
        false_alarms_per_month=per_month,
        tolerance_points=tolerance_points,
        calibration_rows=1000,
        sampled_interval_s=10.0,
        thinning=1,
    )


def reference_of(right: np.ndarray | None) -> Reference:
    rows = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    calibration = rows[:200] if right is None else np.resize(rows, (len(right), 4))
    return build(
        features=("light", "colour", "texture", "output.top_score"),
        families=FAMILIES,
        profile_rows=rows[200:],
        profile_groups=np.full(400, -1),
        pixels=np.zeros((0, 256), dtype=np.int64),
        calibration=calibration,
        calibration_groups=np.full(len(calibration), -1),
        groups=NO_GROUPS,
        fingerprint="print",
        calibration_right=right,
    )


def watching(right: np.ndarray, options: Ecusum | None = None, its_plan: Plan | None = None) -> Detector:
    return (options or Ecusum()).make(reference_of(right), its_plan or plan(), NoCache())


def feed(
    detector: Detector,
    right: np.ndarray,
    rows: np.ndarray | None = None,
    *,
    every: int = 1,
    every_s: float = 10.0,
    start: int = 0,
) -> list[tuple[int, DriftScore]]:
    """Scores, and after how many frames; one frame of ``every`` is independent."""
    blank, scores = np.zeros(4, dtype=np.float32), []
    for at, value in enumerate(right.tolist()):
        sampled = Sampled(
            row=blank if rows is None else rows[at],
            group=-1,
            right=value,
            at_ns=int((start + at) * every_s * S),
            independent=at % every == 0,
        )
        if (score := detector.add(sampled)) is not None:
            scores.append((at + 1, score))
    return scores


def confidence(n: int, seed: int, mean: float = 0.8) -> np.ndarray:
    """Mostly sure, sometimes not: in 0 … 1 with mean ``mean``, standard deviation about .2."""
    rng = np.random.default_rng(seed)
    unsure = rng.random(n) < 0.2
    values = np.where(unsure, 0.4, 0.9) + rng.uniform(-0.1, 0.1, n)
    return np.clip(values + mean - 0.8, 0.0, 1.0)


def test_wealth_is_what_the_bets_make_of_it() -> None:
    right = confidence(1000, 0)
    expected = expect(reference_of(right))
    assert expected is not None
    assert expected.mean == pytest.approx(right.mean())
    assert expected.uncertainty == pytest.approx(right.std() / math.sqrt(1000))
    stream = confidence(240, 1, mean=0.75)
    options = Ecusum(independent=6, margin=2.0)
    scores = feed(watching(right, options, plan(samples=120)), stream)
    least = right.mean() - 0.02 - 2 * right.std() / math.sqrt(1000)
    wealth, most, found = [1.0] * len(STAKES), 0.0, []
    for block in range(40):
        mean = stream[6 * block : 6 * block + 6].mean()
        for at, stake in enumerate(STAKES):
            wealth[at] = max(wealth[at], 1.0) * (1 + stake / (1 - least) * (least - mean))
        most = max(most, sum(wealth) / len(STAKES))
        if block in (19, 39):
            found.append(most)
            most = 0.0
    assert [at for at, _ in scores] == [120, 240]
    assert [dict(score.statistics)["wealth"] for _, score in scores] == pytest.approx(found)


def test_the_threshold_is_the_blocks_of_the_months_promised() -> None:
    (_, score), *_ = feed(watching(confidence(1000, 0)), confidence(300, 1))
    # Blocks of 6 frames, a frame every 10 s, one false alarm in three months.
    allowed = 3 * MONTH_S / 60
    statistics = dict(score.statistics)
    assert statistics["wealth_allowed"] == pytest.approx(allowed)
    assert score.alpha == pytest.approx(statistics["blocks"] / allowed)
    assert score.p == pytest.approx(min(1.0, statistics["blocks"] / statistics["wealth"]))


def test_a_loss_is_seen_and_a_tolerated_one_is_not() -> None:
    right = confidence(1000, 0)
    lost = feed(watching(right), confidence(4000, 2, mean=0.70))
    delay, score = next((at, score) for at, score in lost if score.drifted)
    assert delay < 800
    assert score.p <= score.alpha
    assert dict(score.statistics)["wealth"] >= dict(score.statistics)["wealth_allowed"]
    tolerated = feed(watching(right), confidence(20_000, 3, mean=0.785))
    assert len(tolerated) > 70
    assert not any(score.drifted for _, score in tolerated)


def test_after_an_alarm_the_bettor_begins_anew() -> None:
    scores = feed(watching(confidence(1000, 0)), confidence(6000, 2, mean=0.65))
    alarms = [at for at, score in scores if score.drifted]
    assert len(alarms) >= 3
    assert min(np.diff(alarms)) > 100


@pytest.mark.parametrize("r", [0.0, 0.9, 0.98])
def test_no_false_alarm_at_any_autocorrelation(r: float) -> None:
    rng = np.random.default_rng(4)
    n, value, every = 120_000, 0.0, max(1, math.ceil(3 * (1 + r) / (1 - r)) if r else 1)
    series = np.empty(n)
    for at, noise in enumerate((rng.normal(size=n) * math.sqrt(1 - r * r)).tolist()):
        value = r * value + noise
        series[at] = value
    stream = np.clip(0.8 + 0.15 * series, 0.0, 1.0)
    detector = watching(np.clip(0.8 + 0.15 * rng.normal(size=1000), 0.0, 1.0), its_plan=plan(samples=100))
    scores = feed(detector, stream, every=every)
    assert scores
    assert not any(score.drifted for _, score in scores)


def test_wealth_gains_nothing_on_average_when_nothing_changed() -> None:
    """Ville's inequality: from wealth 1, with every bet fair, 1/20 is reached in at most 5 % of streams.
    The e-CUSUM's own bound is n / threshold within n blocks."""
    reached = 0
    for seed in range(200):
        detector = watching(np.full(1000, 0.8), Ecusum(margin=0.0), plan(tolerance_points=0.0))
        most = [dict(score.statistics)["wealth"] for _, score in feed(detector, confidence(252, 100 + seed))]
        reached += max(most) >= 42 / 0.05
    assert reached <= 0.05 * 200


def day(rng: np.random.Generator, n: int = 8640) -> tuple[np.ndarray, np.ndarray]:
    """Rows and confidence of a day: at night it is dark and confidence is .10 lower."""
    light = np.clip(3 * np.sin(2 * np.pi * np.arange(n) / n) * rng.normal(1, 0.1), -1, 1)
    rows = rng.normal(size=(n, 4))
    rows[:, 0] += 3 * light
    rows[:, 1] -= 2 * light
    right = np.clip(confidence(n, int(rng.integers(2**31))) + 0.05 * light, 0.0, 1.0)
    rows[:, 3] = right
    return rows.astype(np.float32), right


def commissioned(rng: np.random.Generator) -> Reference:
    baseline = Baseline(Wanted(key="k", features=4, hours=24.0, samples=2000))
    at = 0
    while not baseline.ready:
        for row, right in zip(*day(rng), strict=True):
            baseline.add(row, predicted=None, right=float(right), at_ns=at * 10 * S)
            at += 1
    return baseline.reference(reference_of(None))


def test_what_is_normal_follows_the_light_of_the_day() -> None:
    rng = np.random.default_rng(5)
    reference = commissioned(rng)
    expected = expect(reference)
    assert expected is not None
    rows, _ = day(rng)
    noon, midnight = rows[1500:2800], rows[5800:7100]
    assert expected.at(expected.place(noon)) == pytest.approx(0.85, abs=0.02)
    assert expected.at(expected.place(midnight)) == pytest.approx(0.75, abs=0.02)
    # Darker than the commissioning ever saw is expected to be no worse than its darkest.
    black = midnight - np.array([30, -30, 0, 0], dtype=np.float32)
    assert expected.at(expected.place(black)) >= 0.72
    # Outputs are not followed: they would excuse every fault.
    unsure = noon.copy()
    unsure[:, 3] = 0.0
    assert expected.at(expected.place(unsure)) == expected.at(expected.place(noon))

    detector = Ecusum().make(reference, plan(), NoCache())
    days = [day(rng) for _ in range(5)]
    for number, (rows, right) in enumerate(days):
        assert not any(score.drifted for _, score in feed(detector, right, rows, start=8640 * number))
    rows, right = day(rng)
    lost = feed(detector, np.clip(right - 0.1, 0, 1), rows, start=8640 * 5)
    assert next(at for at, score in lost if score.drifted) < 2000


def test_without_the_light_every_night_would_be_an_alarm() -> None:
    rng = np.random.default_rng(5)
    flat = dataclasses.replace(commissioned(rng), wander=None)
    detector = Ecusum().make(flat, plan(), NoCache())
    rows, right = day(rng)
    assert any(score.drifted for _, score in feed(detector, right, rows))


def test_it_abstains_where_confidence_is_unknown() -> None:
    assert expect(reference_of(None)) is None
    assert expect(reference_of(confidence(79, 0))) is None
    detector = Ecusum().make(reference_of(None), plan(), NoCache())
    assert feed(detector, confidence(500, 1, mean=0.2)) == []
    detector.forget()
    assert detector.name == "ecusum"
    blank = Sampled(row=np.zeros(4, dtype=np.float32), group=-1, right=None, at_ns=0, independent=True)
    assert watching(confidence(1000, 0)).add(blank) is None


@pytest.mark.parametrize(("every", "frames"), [(1, 6), (5, 26), (10, 60), (20, 61), (75, 226)])
def test_blocks_hold_several_scenes_whatever_the_dwell(every: int, frames: int) -> None:
    options = Ecusum(margin=0.0)
    detector = watching(confidence(1000, 0), options, plan(samples=1))
    scores = feed(detector, confidence(frames * 6, 1), every=every)
    # The first score needs four blocks, whose length it then tells.
    assert scores[0][0] == pytest.approx(4 * frames, abs=4 * every)
    assert dict(scores[0][1].statistics)["blocks"] == 4.0


def test_options_that_make_no_sense_are_named() -> None:
    assert Ecusum().problems() == []
    wrong = Ecusum(block=0, independent=2, scenes=3, margin=-1.0)
    assert [problem.split(":")[0] for problem in wrong.problems()] == ["block", "independent", "margin"]
    assert Ecusum().broken_promise(plan()) == ()
