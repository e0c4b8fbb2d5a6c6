"""The label budget: how many frames it marks, which, and that their weights tell no lie."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.monitor.capture import CaptureOptions, CapturePolicy
from agent.monitor.label_budget import DAY_NS, LEAST, LabelBudget, worth

S = 1_000_000_000


def test_worth_is_most_where_the_model_cannot_tell():
    assert [worth(right) for right in (None, float("nan"), 0.5, 1.0, 0.0)] == [1.0, 1.0, 1.0, LEAST, LEAST]
    assert worth(0.9) == worth(0.1) == pytest.approx(0.8)
    assert (worth(1.5), worth(-1.0)) == (LEAST, LEAST)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_wherever_confidence_is_worth_nothing_the_weights_cost_at_most_61_thousandths(rights):
    """The variance of a mean of labels that have nothing to do with their chances grows by the mean chance
    times the mean weight."""
    values = np.array([worth(right) for right in rights])
    assert np.sqrt(values.mean() * (1 / values).mean()) <= 3 / np.sqrt(8) + 1e-9


@pytest.mark.parametrize("per_second", [0.1, 1, 5])
def test_as_many_a_day_as_asked_for_at_any_pace(per_second):
    budget = LabelBudget(40)
    rights = np.random.default_rng(3).beta(2, 0.4, 5000)
    frames = int(DAY_NS / S * per_second)
    handed = sum(budget.chance(rights[n % 5000], round(n * S / per_second)) for n in range(frames))
    assert handed == pytest.approx(40, rel=0.02)


def test_doubtful_frames_have_up_to_twice_the_chance():
    budget = LabelBudget(100)
    chances = [budget.chance(0.5 if n % 2 else 1.0, n * S) for n in range(4000)]
    assert chances[-1] / chances[-2] == pytest.approx(2.0, rel=0.01)
    assert np.mean(chances[2000:]) == pytest.approx(100 / 86_400, rel=0.01)


def test_the_first_frame_has_no_chance_and_silence_earns_none():
    budget = LabelBudget(50)
    assert budget.chance(0.5, 7 * S) == 0.0
    before = [budget.chance(0.5, (7 + n) * S) for n in range(1, 2000)][-1]
    after = budget.chance(0.5, (2007 + 8 * 3600) * S)
    assert before == pytest.approx(50 / 86_400)
    assert after == pytest.approx(before * 1.009)


def test_a_budget_that_outruns_the_frames_takes_them_all():
    budget = LabelBudget(1000)
    assert [budget.chance(None, n * 3600 * S) for n in range(3)] == [0.0, 1.0, 1.0]


def test_the_policy_marks_what_the_budget_chose_and_its_weights_add_up():
    """A day at 1 frame a second, its nights sure and its days doubtful: marked frames with their weights
    estimate the number of frames, and that of doubtful ones, without bias; other captures are not marked."""
    options = CaptureOptions(enabled=True, labels_per_day=200, per_hour=60, low_confidence_below=0.3)
    dice = random.Random(20260101)
    totals, doubtful, marked, refused = [], [], [], 0
    for _ in range(12):
        policy = CapturePolicy(options, now_ns=0)
        found = []
        for n in range(86_400 // 4):
            right = 0.55 if (n // 900) % 2 else 0.98
            choice = policy.choose(
                confidence=0.2 if n % 50 == 0 else 0.9,
                alarmed=False,
                chance=dice.random(),
                now_ns=n * S,
                right=right,
            )
            if choice is not None:
                assert (choice.label_weight > 0) == (choice.reason == "label")
                found.append((choice, right))
        chosen = [(choice.label_weight, right) for choice, right in found if choice.reason == "label"]
        marked.append(len(chosen))
        totals.append(sum(weight for weight, _ in chosen))
        doubtful.append(sum(weight for weight, right in chosen if right < 0.9))
        refused += policy.refused
    assert refused <= 3
    assert np.mean(marked) == pytest.approx(50, abs=3 * np.sqrt(50 / 12))
    for sums, true in ((totals, 21_600), (doubtful, 10_800)):
        assert abs(np.mean(sums) - true) < 3 * np.std(sums) / np.sqrt(len(sums))


def test_without_a_budget_the_kept_frames_are_the_sample_as_long_as_every_frame_has_a_chance():
    for every, weights in ((1, {1.0}), (None, {0.0})):
        policy = CapturePolicy(CaptureOptions(enabled=True, random_every=every, at_alarm=False), now_ns=0)
        found = [
            policy.choose(confidence=0.1, alarmed=False, chance=0.0, now_ns=n * 7200 * S) for n in range(5)
        ]
        assert {choice.label_weight for choice in found} == weights
    assert policy.ask(99 * 3600 * S).label_weight == 0.0


def test_a_budget_that_the_quota_would_refuse_is_named():
    assert CaptureOptions(labels_per_day=144).problems() == []
    assert CaptureOptions(labels_per_day=145).problems() == [
        "labels_per_day: 145 is more than half of what per_hour: 12 lets pass in a day; raise per_hour to 13 "
        "or more"
    ]
    assert CaptureOptions(labels_per_day=-1).problems() == ["labels_per_day: expected 0 to 10000, got -1"]
