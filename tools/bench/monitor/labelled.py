"""What a few labels say together with the confidence on all frames (PPI++), against the labels alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.monitor.accuracy import Labelled, RollingAccuracy
from agent.monitor.spans import Spans
from agent.telemetry.messages import Accuracy
from tools.bench.monitor.accuracy import drawn
from tools.bench.monitor.faults import Fault
from tools.bench.monitor.rendered import Rendered
from tools.bench.monitor.training import Trained

LABELS = (50, 100, 200)
FRAMES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """Mean over trials: width of the published interval over that of the same labels alone, and the
    share of intervals that held the truth."""

    fault: str
    labels: int
    ratio: float
    covered: float
    trials: int


def widths(
    trained: Trained,
    healthy: Rendered,
    faults: Sequence[tuple[Fault, Rendered]],
    *,
    trials: int,
    per_fault: int,
) -> list[Widths]:
    found = []
    for at, (fault, rendered) in enumerate([(None, healthy), *faults]):
        rng = np.random.default_rng([37, at])
        rights = trained.estimator.basis.rights(rendered.rows.reshape(-1, rendered.rows.shape[-1]))
        assert rights is not None
        rights = rights.reshape(rendered.right.shape)
        for labels in LABELS:
            number = per_fault if fault else trials
            told = [_trial(rendered, rights, labels, rng) for _ in range(number)]
            ratios, covered = (np.array(column, dtype=np.float64) for column in zip(*told, strict=True))
            found.append(
                Widths(
                    fault=fault.key if fault else "none",
                    labels=labels,
                    ratio=float(ratios.mean()),
                    covered=float(covered.mean()),
                    trials=number,
                )
            )
    return found


def _trial(
    rendered: Rendered, rights: NDArray[np.float64], labels: int, rng: np.random.Generator
) -> tuple[float, bool]:
    places = drawn(rendered, FRAMES, rng)
    right, auxiliary = rendered.right[places], rights[places]
    chosen = rng.choice(FRAMES, labels, replace=False)
    with_frames, alone, spans = RollingAccuracy(), RollingAccuracy(), Spans()
    for value in auxiliary.tolist():
        spans.add(value)
    for at in chosen.tolist():
        given = Labelled(truth=1, predicted=int(right[at]), score=0.5, auxiliary=float(auxiliary[at]), at=at)
        with_frames.add(str(at), given)
        alone.add(str(at), given)
    ours, theirs = with_frames.report(spans=spans), alone.report()
    # What is published is the accuracy of these frames, of which the labelled ones are a sample.
    truth = float(right.mean())
    low, high = _interval(ours)
    from_labels = _interval(theirs)
    return (high - low) / (from_labels[1] - from_labels[0]), low <= truth <= high


def _interval(told: Accuracy | None) -> tuple[float, float]:
    assert told is not None and told.low is not None and told.high is not None
    return told.low, told.high
