"""Results of checks and diagnoses as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.plain_text import plain_text
from calibration.check_result import CheckResult, LayerView, Rung
from calibration.diagnosis_result import DiagnosisResult
from calibration.page.layer_plot import standing_out
from calibration.page.words import (
    ORIGIN_TITLES,
    VERDICTS,
    cause_title,
    decibels,
    flips_text,
    flips_title,
    output_error,
    percent,
    percent_interval,
    points_with_interval,
    probability,
    rung_title,
    signed,
)
from tools.console import say, table

_COLOURS = {"ok": "green", "changed": "yellow", "harmful": "red"}
_LAYERS, _WIDEST = 8, 60


def show_check(result: CheckResult) -> None:
    """The ladder as a table; the sentence, layers and notes as lines for people."""
    columns = (
        "Rung",
        "Verdict",
        "Accuracy",
        "Against the rung above",
        flips_title(result.task),
        "Output error",
    )
    table(_cell(_check_title(result)), columns, [_rung_row(rung, result.task) for rung in result.rungs])
    say(result.sentence)
    for rung in result.rungs:
        if rung.sentence not in ("", result.sentence) and rung.verdict != "ok":
            say(f"{rung_title(rung.name)}: {rung.sentence}")
    _show_layers(result.layers)
    say(f"golden tensors: {ORIGIN_TITLES[result.origin].lower()}")
    _show_notes(result.notes)


def show_diagnosis(result: DiagnosisResult) -> None:
    """The factors as a table; the sentence, layers and notes as lines for people."""
    rows = [
        (
            _cell(each.name),
            _cell(each.trained),
            _cell(each.deployed),
            points_with_interval(-each.points, -each.high, -each.low),
            "–" if each.repaired_points is None else f"{signed(each.repaired_points)} points",
            f"{'proven' if each.proven else 'not proven'}, {probability(each.p)}",
        )
        for each in result.factors
    ]
    loss = points_with_interval(-result.loss_points, -result.loss_high, -result.loss_low)
    ends = f"{percent(result.trained)} → {percent(result.deployed)}"
    title = f"{result.bundle}: {result.measure} {ends}, {loss}, {result.inputs} inputs"
    table(_cell(title), ("Factor", "Trained", "Deployed", "Cost", "Repaired alone", "Evidence"), rows)
    say(result.sentence)
    _show_layers(result.layers)
    _show_notes(result.notes)


def show_mappings(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Any list of JSON objects as a table: a column for each key that some object has."""
    columns = list(dict.fromkeys(str(key) for each in found for key in each))
    rows = [[_cell(_short(each.get(column))) for column in columns] for each in found]
    table(_cell(title), [_cell(column) for column in columns], rows)


def _check_title(result: CheckResult) -> str:
    cause = f", cause: {cause_title(result.cause)}" if result.cause else ""
    return f"{result.bundle}: {VERDICTS[result.verdict]}{cause}"


def _rung_row(rung: Rung, task: str) -> tuple[str, ...]:
    accuracy = "–" if rung.accuracy is None else percent(rung.accuracy)
    if rung.low is not None and rung.high is not None:
        accuracy += f" ({percent_interval(rung.low, rung.high)})"
    points = "–"
    if rung.points is not None:
        points = points_with_interval(rung.points, rung.points_low, rung.points_high)
        points += "" if rung.p is None else f", {probability(rung.p)}"
    colour = _COLOURS[rung.verdict]
    return (
        _cell(rung_title(rung.name)),
        f"[{colour}]{VERDICTS[rung.verdict]}[/{colour}]",
        accuracy,
        points,
        "–" if rung.compared is None else flips_text(rung.flips, rung.inputs, task),
        "–" if rung.error is None else ", ".join(output_error(rung.error)),
    )


def _show_layers(view: LayerView | None) -> None:
    if view is None:
        return
    rows = [
        (str(each.depth + 1), _cell(each.op), _cell(each.name), decibels(each.snr_db), _cell(each.culprit))
        for each in standing_out(view, _LAYERS)
    ]
    where = f", jump at {view.jump}" if view.jump else ""
    title = f"Layers that stand out ({view.kernels}){where}"
    table(_cell(title), ("Layer", "Operator", "Name", "SNR", "What is wrong"), rows)
    _show_notes(view.findings)


def _show_notes(notes: Sequence[str]) -> None:
    for note in notes:
        say(f"- {note}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return plain_text(", ".join(_short(each) for each in value), longest=_WIDEST)
    return "–" if value is None else plain_text(" ".join(str(value).split()), longest=_WIDEST)


def _cell(text: str) -> str:
    """Neither markup nor control characters of a file's texts pass."""
    from rich.markup import escape

    return escape(plain_text(text.replace("\N{NARROW NO-BREAK SPACE}", " ")))
