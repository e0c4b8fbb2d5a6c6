"""Results of checks and diagnoses as tables on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.plain_text import plain_text
from calibration.check_result import CheckResult, LayerView, Rung
from calibration.diagnosis_result import DiagnosisResult
from calibration.page.factor_bars import FACTOR_HEADS, factor_cells
from calibration.page.layer_plot import standing_out
from calibration.page.words import (
    ORIGIN_TITLES,
    VERDICTS,
    accuracy_text,
    cause_title,
    decibels,
    flips_text,
    flips_title,
    not_proven,
    output_error,
    percent,
    percent_interval,
    points_with_interval,
    probability,
    rung_title,
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
            *factor_cells(each, result.measure),
        )
        for each in result.factors
    ]
    loss = f", {points_with_interval(-result.loss_points, -result.loss_high, -result.loss_low)}"
    if result.measure == "agreement":
        loss = " with the healthy model's answers"
    ends = f"{percent(result.trained)} → {percent(result.deployed)}"
    title = f"{result.bundle}: {result.measure} {ends}{loss}, {result.inputs} inputs"
    if rows:
        table(_cell(title), ("Factor", "Trained", "Deployed", *FACTOR_HEADS[result.measure]), rows)
    say(result.sentence)
    _show_layers(result.layers)
    _show_notes(result.notes)


_SCHEME_KEYS = frozenset({"scheme", "bytes", "inputs", "flips", "latency_ms"})


def show_schemes(value: Mapping[str, Any]) -> None:
    """A comparison as ``schemes --json`` gives it: measured schemes, then those that could not be made. What
    another version wrote is shown as the table it is."""
    rows = value["rows"]
    if not all(set(row) >= _SCHEME_KEYS for row in rows):
        show_mappings(f"{value.get('model', '')}: quantization schemes".lstrip(": "), rows)
    else:
        made = [_scheme_row(row, value) for row in rows]
        missing = [row for row in value.get("missing") or () if isinstance(row, dict)]
        made += [
            (_cell(_short(row.get("scheme"))), *"–––", "–", _cell(str(row.get("reason")))) for row in missing
        ]
        quality = "MSE" if value.get("measure") == "mse" else "accuracy"
        title = f"{value.get('model', '')}: quantization schemes (● on the Pareto front)"
        table(_cell(title), ("scheme", f"{quality} (90 %)", "flips", "size", "ms", ""), made)
    if value.get("recommended") is not None:
        say(f"recommended: {_short(value['recommended'])}. {value.get('why') or ''}")


def _scheme_row(row: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[str, ...]:
    name = _cell(_short(row["scheme"]))
    if row["scheme"] == value.get("recommended"):
        name = f"[bold green]{name}[/]"
    latency = _number(row["latency_ms"], "{:.3g}")
    if row.get("device_latency_ms") is not None:
        latency += f" (device {_number(row['device_latency_ms'], '{:.3g}')})"
    size = row["bytes"] / 1024 if isinstance(row["bytes"], (int, float)) else None
    return (
        f"{'●' if row.get('on_front') is True else ' '} {name}",
        _scheme_quality(row, "{:.4g}" if value.get("measure") == "mse" else "{:.1%}"),
        _cell(f"{_short(row['flips'])} of {_short(row['inputs'])}"),
        _number(size, "{:,.1f} kB"),
        latency,
        _cell(str(row.get("note") or "")),
    )


def _scheme_quality(row: Mapping[str, Any], form: str) -> str:
    if row.get("quality") is None:
        return "–" if row.get("labelled") else "no labels"
    shown = _number(row["quality"], form)
    if row.get("low") is None or row.get("high") is None:
        return shown
    return f"{shown} ({_number(row['low'], form)} … {_number(row['high'], form)})"


def _number(value: Any, form: str) -> str:
    return form.format(value) if isinstance(value, (int, float)) else _cell(_short(value))


def show_mappings(title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Any list of JSON objects as a table: a column for each key that some object has."""
    columns = list(dict.fromkeys(str(key) for each in found for key in each))
    rows = [[_cell(_short(each.get(column))) for column in columns] for each in found]
    table(_cell(title), [_cell(column) for column in columns], rows)


def _check_title(result: CheckResult) -> str:
    cause = f", cause: {cause_title(result.cause)}" if result.cause else ""
    return f"{result.bundle}: {VERDICTS[result.verdict]}{cause}"


def _rung_row(rung: Rung, task: str) -> tuple[str, ...]:
    accuracy = accuracy_text(rung)
    if rung.low is not None and rung.high is not None:
        accuracy += f" ({percent_interval(rung.low, rung.high)})"
    points = "–"
    if rung.points is not None:
        points = points_with_interval(rung.points, rung.points_low, rung.points_high)
        points += "" if rung.p is None else f", {probability(rung.p)}"
        points += ", not proven" if not_proven(rung) else ""
    colour = _COLOURS[rung.verdict]
    return (
        _cell(rung_title(rung.name)),
        f"[{colour}]{VERDICTS[rung.verdict]}[/{colour}]",
        accuracy,
        points,
        "–" if rung.compared is None else flips_text(rung, task),
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
