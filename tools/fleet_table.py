"""The fleet in a terminal: a table with a row for each device, and what stands below it.

Everything that came from the network is stripped of control characters and of markup.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from agent.plain_text import plain_text
from tools.collector.words import (
    cause_text,
    commissioning_text,
    estimate_figure,
    seems_fallen,
    stream_text,
)

if TYPE_CHECKING:
    from agent.telemetry.messages import Alarm
    from tools.collector.fleet import Device

COLUMNS = (
    "Device",
    "State",
    "Model, preprocess",
    "Frames",
    "Accuracy",
    "Drift",
    "Alarms",
    "Cause",
    "Last seen",
)
CAUSES = 3
"""So many of a diagnosis; the page and the JSON have them all."""
_STATES = {"online": "green", "starting": "cyan", "degraded": "yellow", "stopped": "dim", "lost": "red"}
_SEVERITIES = {"critical": "red", "warning": "yellow", "notice": "dim"}


def row(device: "Device", now: datetime) -> tuple[str, ...]:
    """The device's cells, in rich markup."""
    return (
        _safe(f"{device.site}/{device.device}"),
        f"[{_STATES[device.state]}]{device.state}[/]" if device.state else "–",
        f"{_safe(device.model or '–')}\n{_safe(device.preprocess or '–')}",
        str(device.frames),
        _accuracy(device),
        _drift(device),
        "\n".join(_alarm(active.alarm) for active in device.alarms) or "–",
        f"[yellow]{_safe(device.finding.cause)}[/yellow]" if device.finding.cause else "–",
        age(device.last_seen, now),
    )


def lines(device: "Device") -> Iterator[str]:
    """What stands below the device's evidence, plain: the diagnosis that stands, the machine's troubles,
    how far its own baseline is, how its frames follow each other."""
    told = device.diagnosed
    if told is not None and told.stands:
        if told.diagnosis.summary:
            yield plain_text(f"diagnosis: {told.diagnosis.summary}")
        for place, cause in enumerate(told.diagnosis.causes[:CAUSES], 1):
            yield plain_text(f"  {place}. {cause_text(cause)}")
    for trouble in device.troubles:
        yield plain_text(f"machine: {trouble}")
    if device.commissioning is not None:
        yield commissioning_text(device.commissioning)
    if device.stream is not None and device.stream.dwell_samples is not None:
        yield stream_text(device.stream)


def age(at: str, now: datetime) -> str:
    """How long ago ``at`` (UTC in RFC 3339) was."""
    seconds = max(0, round((now - datetime.fromisoformat(at)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _accuracy(device: "Device") -> str:
    """From labels, and below it what is estimated without."""
    cell = _labelled(device)
    estimate = device.estimate
    if estimate is None:
        return cell
    colour = "yellow" if seems_fallen(estimate) else "dim" if estimate.value is None else "green"
    return f"{cell}\n[{colour}]est. {_safe(estimate_figure(estimate))}[/]"


def _labelled(device: "Device") -> str:
    measured, current = device.accuracy, device.current
    if measured is None or measured.n == 0:
        return "no labels"
    colour = "red" if device.finding.fell else "green"
    if measured.accuracy is None:
        reference = f" / {measured.reference:.3g}" if measured.reference is not None else ""
        return f"[{colour}]MSE {measured.mse:.3g}[/]{reference}" if measured.mse is not None else "–"
    loss = f" ({-current.loss_points:+.1f})" if current.loss_points is not None else ""
    return f"[{colour}]{100 * measured.accuracy:.1f} %[/]{loss}"


def _drift(device: "Device") -> str:
    if device.drift is None:
        return "–"
    text = f"p = {device.drift.p:.2g}"
    return f"[yellow]{text}[/]" if device.drift.p <= device.drift.alpha else text


def _alarm(alarm: "Alarm") -> str:
    """The name in the colour of its severity (a notice is grey), with the points it is estimated to cost."""
    loss = f" {-alarm.loss_points:+.1f}" if alarm.loss_points is not None else ""
    provisional = ", provisional" if alarm.provisional else ""
    return f"[{_SEVERITIES[alarm.severity]}]{_safe(alarm.alarm)}{loss}{provisional}[/]"


def _safe(text: str) -> str:
    """Text from the network inside rich markup: no colour, link or cursor of its own."""
    from rich.markup import escape

    return escape(plain_text(text))
