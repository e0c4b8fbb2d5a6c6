"""From verdicts and true costs to the bench's figures. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tools.bench.diagnosis.cases import Case
from tools.bench.diagnosis.verdicts import Said
from tools.bench.figures import Figure

HARMFUL, NOTICEABLE = 3.0, 0.5
"""Points of accuracy that a fault truly costs: from the first its cause must be named, from the second
it must be noticed."""
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One draw of one case. ``cost`` in points over the photographs outside the golden set, ``cost_all``
    over all; ``baseline`` is what ML-EXray's assertions accuse, None where they have nothing to see
    (equal tensors)."""

    case: Case
    said: Said
    cost: float
    cost_all: float
    baseline: tuple[str, ...]

    @property
    def named(self) -> str:
        return self.said.cause or (NOTHING if self.said.verdict == "ok" else "changed, no cause")

    @property
    def right(self) -> bool:
        return self.said.cause in self.case.causes

    @property
    def noticed(self) -> bool:
        return self.said.verdict != "ok"

    @property
    def accused(self) -> bool:
        return self.said.verdict == "harmful" or self.said.cause is not None


def figures(rows: Sequence[Row]) -> list[Figure]:
    faulty = [row for row in rows if not row.case.healthy]
    healthy = [row for row in rows if row.case.healthy]
    harmful = [row for row in faulty if row.cost >= HARMFUL]
    noticeable = [row for row in faulty if row.cost >= NOTICEABLE]
    return [
        _share(
            "right cause first, faults costing 3 points or more",
            [row.right for row in harmful],
            95.0,
            "at least",
        ),
        _share("healthy runs accused", [row.accused for row in healthy], 1.0, "at most"),
        _share(
            "noticed, faults costing half a point or more",
            [row.noticed for row in noticeable],
            100.0,
            "at least",
        ),
        _share("healthy runs called changed or worse", [row.noticed for row in healthy]),
        _share("right cause first, all faults", [row.right for row in faulty]),
        _share(
            "harmful, faults costing 3 points or more", [row.said.verdict == "harmful" for row in harmful]
        ),
    ]


def baseline_figures(rows: Sequence[Row]) -> list[Figure]:
    """ML-EXray's assertions on the same tensors: over faults of preprocessing, and over all."""
    harmful = [row for row in rows if not row.case.healthy and row.cost >= HARMFUL]
    prepared = [row for row in harmful if row.case.where == "preprocess"]
    healthy = [row for row in rows if row.case.healthy and row.case.where == "preprocess"]
    return [
        _share(
            "ML-EXray's assertions: right cause first, preprocessing faults costing 3 points or more",
            [_baseline_right(row) for row in prepared],
        ),
        _share("here: the same faults", [row.right for row in prepared]),
        _share("ML-EXray's assertions: healthy runs accused", [bool(row.baseline) for row in healthy]),
    ]


def _baseline_right(row: Row) -> bool:
    return bool(row.baseline) and row.baseline[0] in row.case.causes


def _share(name: str, held: Sequence[bool], target: float | None = None, bound: str = "at least") -> Figure:
    value = 100 * sum(held) / len(held) if held else float("nan")
    return Figure(
        name=name,
        value=value,
        unit="%",
        target=target,
        bound="at most" if bound == "at most" else "at least",
        detail=f"{sum(held)} of {len(held)} draws",
    )


def confusion(rows: Iterable[Row]) -> dict[str, Counter[str]]:
    """Expected cause → named cause → how often, over faults truly costing ``HARMFUL`` points or more and
    healthy runs."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row.case.healthy or row.cost >= HARMFUL:
            wanted = row.case.causes[0] if row.case.causes else NOTHING
            # An answer that is as right as the first counts as it.
            named = wanted if row.right else row.named
            found.setdefault(wanted, Counter())[named] += 1
    return found


def wrong(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Every case that missed a target in some draw, worst first: for whoever mends the diagnosis."""
    found: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if _missed(row):
            found.setdefault((row.case.classifier, row.case.fault, row.case.by, row.named), []).append(row)
    listed = [
        {
            "classifier": classifier,
            "mistake": fault,
            "by": by,
            "wanted": list(missed[0].case.causes),
            "named": named,
            "draws": len(missed),
            "cost": round(sum(row.cost for row in missed) / len(missed), 1),
            "spoke": sorted({evidence for row in missed for evidence in row.said.spoke}),
        }
        for (classifier, fault, by, named), missed in found.items()
    ]
    return sorted(listed, key=lambda given: -int(str(given["draws"])))


def _missed(row: Row) -> bool:
    if row.case.healthy:
        return row.accused
    return (row.cost >= HARMFUL and not row.right) or (row.cost >= NOTICEABLE and not row.noticed)
