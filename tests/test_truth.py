"""Labels and predictions together: which method speaks, and of which frames."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from agent.contracts import Classification, Regression
from agent.monitor import ppi
from agent.monitor.accuracy import wilson
from agent.telemetry.messages import Accuracy, Label, Labels
from agent.truth import Truth


def truth(task="classification", newest=1000):
    return Truth(task=task, outputs=2, labels=("no", "yes"), reference=0.9, newest=newest)


def seen(score):
    return Classification(scores=np.array([score, 1 - score], np.float32), top=0, score=score)


def label(given, of, *, right):
    problems = given.receive(Labels(labels=(Label(label=0 if right else 1, frame=of),)))
    assert problems == []


def stream(given, rng, n, *, calibrated=True):
    """n frames ``s-0`` …; the probabilities and whether each prediction is right."""
    rights = rng.beta(2, 0.5, n)
    for at, right in enumerate(rights.tolist()):
        given.remember(
            frame=f"s-{at}", name=f"{at}.jpg", prediction=seen(0.5), right=right if calibrated else None
        )
    return rights, rng.random(n) < rights


def test_below_fifty_labels_the_interval_is_wilsons_and_from_fifty_ppi(rng):
    given = truth()
    rights, right = stream(given, rng, 4000)
    for at in range(0, 49 * 80, 80):
        label(given, f"s-{at}", right=bool(right[at]))
    successes = int(right[: 49 * 80 : 80].sum())
    report = given.report()
    assert (report.method, report.n, report.labels_effective) == ("Wilson", 49, 49.0)
    assert (report.accuracy, report.low, report.high) == (successes / 49, *wilson(successes, 49, 0.95))

    label(given, "s-3999", right=bool(right[3999]))
    report = given.report()
    chosen = np.array([*range(0, 49 * 80, 80), 3999])
    f = rights[chosen]
    # The pool: all frames from the first to the last labelled one, but for the labelled.
    rest = np.delete(rights, chosen)
    pool = ppi.Pool(n=rest.size, total=rest.sum(), squares=(rest**2).sum())
    by_hand = ppi.mean(right[chosen].astype(float), ppi.shares([None] * 50), auxiliary=f, pool=pool)
    assert (report.method, report.n) == ("PPI++", 50)
    assert report.accuracy == pytest.approx(by_hand.value)
    assert report.labels_effective == pytest.approx(by_hand.labels_effective)
    assert report.labels_effective > 50
    alone = wilson(right[chosen].sum(), 50, 0.95)
    assert report.high - report.low < alone[1] - alone[0]


def test_without_calibration_the_top_score_is_the_auxiliary(rng):
    given = truth()
    _, right = stream(given, rng, 500, calibrated=False)
    for at in range(0, 500, 5):
        label(given, f"s-{at}", right=bool(right[at]))
    report = given.report()
    # All scores are the same here, so they add nothing.
    assert (report.method, report.accuracy) == ("PPI++", right[::5].mean())
    assert report.labels_effective == 100


def test_a_frame_without_a_number_spoils_no_sums(rng):
    given = truth()
    given.remember(frame="odd", name="odd", prediction=seen(0.5), right=float("nan"))
    _, right = stream(given, rng, 100)
    label(given, "odd", right=True)
    for at in range(60):
        label(given, f"s-{at}", right=bool(right[at]))
    report = given.report()
    assert report.method == "PPI++"
    assert 0 < report.low < report.accuracy < report.high < 1


def test_frames_before_the_first_labelled_one_are_not_in_the_accuracy(rng):
    given = truth()
    for at in range(40_000):
        given.remember(frame=f"old-{at}", name="old", prediction=seen(0.5), right=0.02)
    rights, right = stream(given, rng, 9000)
    for at in range(0, 9000, 30):
        label(given, f"s-{at}", right=bool(right[at]))
    assert given.report().accuracy == pytest.approx(rights.mean(), abs=0.06)


def test_labels_drawn_with_unequal_chances_are_weighted_back(rng):
    """Doubtful frames are labelled three times as often; the labels' plain share is far too low."""
    found, plain = [], []
    for _ in range(40):
        given = truth()
        rights, right = stream(given, rng, 3000)
        chances = np.where(rights < 0.8, 0.09, 0.03)
        for at in np.flatnonzero(rng.random(3000) < chances).tolist():
            given.keep(f"s-{at}", float(1 / chances[at]))
            label(given, f"s-{at}", right=bool(right[at]))
        report = given.report()
        assert report.method == "weighted PPI++"
        found.append(report.accuracy - rights.mean())
        confusion = {(true, made): n for true, made, n in report.confusion}
        plain.append(confusion[0, 0] / report.n - rights.mean())
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40) + 0.002
    assert np.mean(plain) < -0.05


def test_a_frame_kept_for_what_it_shows_says_nothing_of_the_others():
    given = truth()
    for at in range(10):
        given.remember(frame=f"s-{at}", name="x", prediction=seen(0.9))
    for at in range(4):
        given.keep(f"s-{at}", 0.0)
        label(given, f"s-{at}", right=False)
    report = given.report()
    assert (report.n, report.accuracy, report.method) == (4, 0.0, "Wilson, of chosen frames only")
    for at in range(4, 10):
        label(given, f"s-{at}", right=True)
    report = given.report()
    assert (report.n, report.accuracy, report.method) == (6, 1.0, "Wilson")
    assert report.confusion == ((0, 0, 6),)


def test_kept_frames_are_remembered_when_the_log_has_moved_on():
    given = truth()
    for at in range(25_000):
        given.remember(frame=f"s-{at}", name=f"{at}.jpg", prediction=seen(0.9))
        if at in (3, 5):
            given.keep(f"s-{at}", 8.0)
    label(given, "s-3", right=True)
    assert given.receive(Labels(labels=(Label(label=0, name="5.jpg"), Label(label=0, frame="s-4")))) == []
    assert (given.log.joined, given.log.unknown) == (2, 1)
    assert (given.report().n, given.report().method) == (2, "weighted Wilson")
    given.keep("never seen", 1.0)
    assert given.log.unknown == 1


def test_a_regressions_labels_are_weighted_too():
    given = truth("regression")
    for at, error in enumerate((1.0, 3.0, 2.0)):
        given.remember(frame=f"s-{at}", name="x", prediction=Regression(values=np.array([error])))
        given.keep(f"s-{at}", (2.0, 1.0, 1.0)[at])
    assert given.receive(Labels(labels=tuple(Label(label=0.0, frame=f"s-{at}") for at in range(3)))) == []
    report = given.report()
    assert (report.method, report.mae, report.mse) == ("weighted central limit", 1.75, 3.75)
    # Deviations -2.75, 5.25, 0.25 with shares 1/2, 1/4, 1/4, of three values of which one is free no more.
    spread = np.sqrt((0.25 * 2.75**2 + 5.25**2 / 16 + 0.25**2 / 16) * 1.5)
    assert (report.low, report.high) == pytest.approx((0.0, 3.75 + 1.9599640 * spread))
    assert report.labels_effective == pytest.approx(16 / 6)


def test_the_page_names_every_field_and_every_method():
    page = (Path(__file__).resolve().parent.parent / "docs" / "labels.md").read_text()
    told = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", page.split("## Which method")[0], flags=re.MULTILINE)
    assert {name for row in told for name in re.findall(r"`(\w+)`", row)} == {
        field.name for field in fields(Accuracy)
    }
    for method in ("Wilson", "PPI++", "central limit", "weighted …", "…, of chosen frames only"):
        assert f"| `{method}` |" in page
