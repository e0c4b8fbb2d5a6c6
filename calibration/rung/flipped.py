"""The flipped inputs that are worth a look, as pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.contracts import Array, Classification, Detections, Prediction
from agent.preprocess.spec import is_image
from calibration.check_result import Picture
from calibration.outcomes import Answers, distances, flips
from calibration.rung.climbing import Climb


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A rung whose flips may be shown, and the tensors it was fed."""

    rung: str
    above: Answers
    here: Answers
    tensors: tuple[Array | None, ...]


def flipped_pictures(climb: Climb, rungs: Sequence[Shown], *, most: int) -> tuple[Picture, ...]:
    """The ``most`` inputs that moved furthest among those that flipped, of the earliest of ``rungs``
    that has any with other tensors; none for vectors."""
    if not is_image(climb.bundle.spec):
        return ()
    found: list[Picture] = []
    # A foreign pipeline comes last and is looked at first.
    for shown in sorted(rungs, key=lambda s: s.tensors is climb.training):
        found += _pictures(climb, shown, most - len(found))
    return tuple(found)


def _pictures(climb: Climb, shown: Shown, most: int) -> list[Picture]:
    # Imported here: a check without flips draws nothing.
    from calibration.page.pictures import picture

    apart = distances(shown.above, shown.here)
    pairs = list(zip(shown.above.predictions, shown.here.predictions, strict=True))
    flipped = [i for i, (a, b) in enumerate(pairs) if flips(a, b, climb.inputs.truth.tolerance)]
    made: list[Picture] = []
    for i in sorted(flipped, key=lambda i: -apart[i]):
        device = shown.tensors[i]
        if len(made) >= most:
            break
        if device is None or not device.size:
            continue
        label = climb.inputs.truth.labels[i]
        made.append(
            picture(
                name=climb.golden[i].name,
                rung=shown.rung,
                was=_said(pairs[i][0], climb.bundle.labels),
                now=_said(pairs[i][1], climb.bundle.labels),
                label=None if label is None else _named(label, climb.bundle.labels),
                training=climb.training[i],
                device=device,
                tensor=climb.tensor,
                spec=climb.bundle.spec,
            )
        )
    return made


def _said(given: Prediction | None, labels: Sequence[str]) -> str:
    if given is None:
        return "no answer"
    if isinstance(given, Classification):
        return f"{_named(given.top, labels)} ({given.score:.0%})"
    if isinstance(given, Detections):
        names = [_named(int(c), labels) for c in given.classes[:4].tolist()]
        return ", ".join(names) or "nothing"
    return ", ".join(f"{value:.4g}" for value in np.atleast_1d(given.values)[:4])


def _named(index: float, labels: Sequence[str]) -> str:
    if isinstance(index, int) and 0 <= index < len(labels):
        return labels[index]
    return f"{index:g}"
