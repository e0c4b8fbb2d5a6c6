"""Is the named family of the closest replayed fault the right one?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.monitor.reference import Reference
from agent.monitor.signatures import Library, signature
from calibration.replay.conditions import HEALTHY, Replay
from tools.bench.monitor.accuracy import drawn
from tools.bench.monitor.faults import Fault
from tools.bench.monitor.rendered import Rendered
from tools.bench.monitor.training import Trained

WINDOW = 500
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """What was wrong, what was named, and whether that is right."""

    fault: str
    family: str
    named: str
    right: bool
    unlike: bool
    cosine: float


def other_implementations(
    trained: Trained,
    usual: Rendered,
    healthy: Rendered,
    faults: Sequence[tuple[Fault, Rendered]],
    *,
    windows: int,
) -> list[Named]:
    """The bench's own faults on the device's photographs, and no fault at all."""
    base = signature(usual.rows.reshape(-1, usual.rows.shape[-1]), trained.reference)
    found = []
    for at, (fault, rendered) in enumerate([(None, healthy), *faults]):
        rng = np.random.default_rng([29, at])
        # Nothing being wrong is the usual case, and is asked as often as all faults together.
        for _ in range(windows * (1 if fault else max(len(faults), 1))):
            rows = rendered.rows[drawn(rendered, WINDOW, rng)]
            families = fault.families if fault else (NOTHING,)
            key = fault.key if fault else NOTHING
            found.append(_named(trained.library, trained.reference, base, rows, key, families))
    return found


def library_faults(trained: Trained, replay: Replay) -> list[Named]:
    """The library's own implementations, replayed on photographs of the device."""
    rng = np.random.default_rng(31)
    base = signature(replay.conditions[0].rows, trained.reference)
    found = []
    for condition in replay.conditions:
        if condition.family == HEALTHY:
            continue
        rows = condition.rows[rng.integers(0, len(condition.rows), WINDOW)]
        families = (condition.family, *condition.family.split("+"))
        found.append(
            _named(
                trained.library,
                trained.reference,
                base,
                rows,
                f"{condition.family} ({condition.name})",
                families,
            )
        )
    return found


def _named(
    library: Library,
    reference: Reference,
    usual: NDArray[np.float64],
    rows: NDArray[np.float32],
    key: str,
    families: tuple[str, ...],
) -> Named:
    match = library.match(signature(rows, reference), float(len(rows)), usual=usual)
    best = match.ranked[0] if match.ranked else None
    named = best.family if best else NOTHING
    right = bool({named, *named.split("+")} & set(families))
    return Named(
        fault=key,
        family=families[0],
        named=named,
        right=right,
        unlike=match.unlike_anything,
        cosine=best.cosine if best else 1.0,
    )


def share_right(named: Sequence[Named]) -> float:
    return float(np.mean([one.right for one in named])) if named else 0.0


def confusion(named: Sequence[Named]) -> dict[str, Counter[str]]:
    """How often each family was named for each."""
    counted: dict[str, Counter[str]] = {}
    for one in named:
        counted.setdefault(one.family, Counter())[one.named] += 1
    return counted
