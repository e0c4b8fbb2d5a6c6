"""The measured part of docs/diagnosis-bench.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.errors import InputError
from tools.bench.diagnosis.conditions import Compared
from tools.bench.diagnosis.score import NOTHING, Row, confusion
from tools.bench.figures import Figure

BEGIN, END = "<!-- measured: written by the bench -->", "<!-- end of what was measured -->"


def write_measured(page: Path, text: str) -> None:
    """Put ``text`` between the two marks of ``page``. Raises InputError when they are not there."""
    try:
        before, _, rest = page.read_text().partition(BEGIN)
        _, mark, after = rest.partition(END)
        if not mark:
            raise InputError(f"--page: {page} has no marks '{BEGIN}' and '{END}'")
        page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    except OSError as error:
        raise InputError(f"--page: {page} cannot be written: {error.strerror}") from None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def figure_table(figures: Sequence[Figure]) -> str:
    sign = {"at most": "≤", "at least": "≥"}
    met = {True: "met", False: "**missed**", None: ""}
    rows = [
        (
            figure.name,
            f"{figure.value:.1f} {figure.unit}",
            "" if figure.target is None else f"{sign[figure.bound]} {figure.target:g}",
            met[figure.met],
            figure.detail,
        )
        for figure in figures
    ]
    return table(("figure", "value", "target", "", "over"), rows)


def confusion_table(rows: Sequence[Row]) -> str:
    """Rows: what is wrong; columns: what the ladder names first; in draws."""
    counted = confusion(rows)
    named = sorted({name for counts in counted.values() for name in counts}, key=_order)
    body = [
        (wanted, *(str(counted[wanted][name] or "") for name in named))
        for wanted in sorted(counted, key=_order)
    ]
    return table(("wrong ↓ named →", *named), body)


def _order(name: str) -> tuple[int, str]:
    return (1 if name == NOTHING else 2 if "no cause" in name else 0, name)


def fault_table(rows: Sequence[Row]) -> str:
    """One row for each mistake, over classifiers and implementations."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.case.fault, []).append(row)
    body = []
    for fault, found in groups.items():
        per_case: dict[tuple[str, str], float] = {}
        for row in found:
            per_case[row.case.classifier, row.case.by] = row.cost_all
        costs = sorted(per_case.values())
        harmful = [row for row in found if row.cost >= 3.0]
        body.append(
            (
                fault,
                " / ".join(found[0].case.causes[:2]) or NOTHING,
                str(len(per_case)),
                f"{costs[0]:.1f} to {costs[-1]:.1f}",
                _share([row.right for row in harmful]) if not found[0].case.healthy else "–",
                _share([row.noticed for row in found]),
                _share([row.said.verdict == "harmful" for row in found]),
                _share([bool(row.baseline) and row.baseline[0] in row.case.causes for row in harmful]),
            )
        )
    head = ("mistake", "right answer", "cases", "true cost, points", "named (cost ≥ 3)", "noticed", "harmful")
    return table((*head, "ML-EXray named (cost ≥ 3)"), body)


def _share(held: Sequence[bool]) -> str:
    return f"{100 * sum(held) / len(held):.0f} %" if held else "–"


def condition_table(found: Sequence[Compared]) -> str:
    """One row for each condition, one pair of columns for each classifier: cost in the table / here."""
    classifiers = list(dict.fromkeys(given.classifier for given in found))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for given in found:
        costs = f"{given.table:.1f} / {given.measured:.1f}"
        rows.setdefault((given.condition, given.pipeline), {})[given.classifier] = costs
    body = [(*key, *(cells.get(name, "") for name in classifiers)) for key, cells in rows.items()]
    return table(("condition of the table", "pipeline here", *classifiers), body)


def measured(sections: Mapping[str, str]) -> str:
    return "\n".join(f"### {title}\n\n{text}" for title, text in sections.items())
