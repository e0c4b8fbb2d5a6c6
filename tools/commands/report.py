"""``litewatch report``: the fleet, as a table for people or JSON for scripts."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from agent.plain_text import plain_text
from tools.collector.requirement import require_sqlalchemy
from tools.commands.collect import DEFAULT_DATABASE
from tools.console import emit_json, say, table

if TYPE_CHECKING:
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


@click.command(short_help="Show the fleet.")
@click.option(
    "--db",
    envvar="LITEWATCH_DB",
    default=DEFAULT_DATABASE,
    show_default=True,
    metavar="PATH|URL",
    help="The collector's database. Also LITEWATCH_DB.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def report(db: str, as_json: bool) -> None:
    """Show every device: what it runs, how accurate it is, what is wrong and since when.

    A cause is the first that has a sign: a check that proved a loss, preprocessing known to differ, a
    check that found a change, a drift that was alarmed. The evidence says what was measured.

    \b
    Examples:
      litewatch report
      litewatch report --db fleet.db --json
    """
    require_sqlalchemy()
    from tools.collector.fleet import fleet
    from tools.collector.store import Store

    store = Store(db, create=False)
    try:
        devices = fleet(store)
    finally:
        store.close()
    if as_json:
        emit_json({"devices": [to_json(device) for device in devices]})
    elif devices:
        show(devices, now=datetime.now(UTC))
    else:
        say(f"{db} has heard of no device yet")


def to_json(device: "Device") -> dict[str, Any]:
    """One entry of ``devices[]``; numbers as they were sent."""
    accuracy, drift = device.accuracy, device.drift
    return {
        "device": device.device,
        "site": device.site,
        "state": device.state,
        "problems": list(device.problems),
        "model": device.model,
        "frames": device.frames,
        "accuracy": accuracy.accuracy if accuracy else None,
        "labelled": asdict(accuracy) | {"confusion": [list(cell) for cell in accuracy.confusion]}
        if accuracy
        else None,
        "loss_points": device.loss_points,
        "preprocess": device.preprocess,
        "fingerprint": device.fingerprint,
        "differs": list(device.differs),
        "reproduction": device.reproduction,
        "drift": asdict(drift) | {"top": list(drift.top)} if drift else None,
        "alarms": [
            asdict(active.alarm) | {"top": list(active.alarm.top), "since": active.since}
            for active in device.alarms
        ],
        "cause": device.finding.cause,
        "evidence": device.finding.evidence,
        "last_seen": device.last_seen,
        "messages_lost": device.lost,
        "messages_awaited": device.awaited,
        "messages_evicted": device.evicted,
        "quarantined": device.quarantined,
    }


def show(devices: Sequence["Device"], *, now: datetime) -> None:
    """The table, and below it one line of evidence for each device that has some."""
    table("Fleet", COLUMNS, [row(device, now) for device in devices])
    for device in devices:
        colour = "red" if device.finding.fell else "yellow" if device.finding.cause else "green"
        name = click.style(plain_text(f"{device.site}/{device.device}"), fg=colour, bold=True)
        cause = f"{device.finding.cause} – " if device.finding.cause else ""
        click.echo(f"{name}: {plain_text(cause + device.finding.evidence)}{_delivery(device)}")


def row(device: "Device", now: datetime) -> tuple[str, ...]:
    return (
        _safe(f"{device.site}/{device.device}"),
        _state(device),
        f"{_safe(device.model or '–')}\n{_safe(device.preprocess or '–')}",
        str(device.frames),
        _accuracy(device),
        _drift(device),
        ", ".join(_alarm(active.alarm.alarm, active.alarm.severity) for active in device.alarms) or "–",
        f"[yellow]{_safe(device.finding.cause)}[/yellow]" if device.finding.cause else "–",
        _age(device.last_seen, now),
    )


def _state(device: "Device") -> str:
    colours = {"online": "green", "starting": "cyan", "degraded": "yellow", "stopped": "dim", "lost": "red"}
    return f"[{colours[device.state]}]{device.state}[/]" if device.state else "–"


def _accuracy(device: "Device") -> str:
    measured = device.accuracy
    if measured is None or measured.n == 0:
        return "no labels"
    colour = "red" if device.finding.fell else "green"
    if measured.accuracy is None:
        reference = f" / {measured.reference:.3g}" if measured.reference is not None else ""
        return f"[{colour}]MSE {measured.mse:.3g}[/]{reference}" if measured.mse is not None else "–"
    loss = f" ({-device.loss_points:+.1f})" if device.loss_points is not None else ""
    return f"[{colour}]{100 * measured.accuracy:.1f} %[/]{loss}"


def _drift(device: "Device") -> str:
    if device.drift is None:
        return "–"
    text = f"p = {device.drift.p:.2g}"
    return f"[yellow]{text}[/]" if device.drift.p <= device.drift.alpha else text


def _alarm(name: str, severity: str) -> str:
    colour = {"critical": "red", "warning": "yellow"}.get(severity, "cyan")
    return f"[{colour}]{_safe(name)}[/]"


def _delivery(device: "Device") -> str:
    counts = {
        "messages lost": device.lost,
        "messages awaited": device.awaited,
        "payloads quarantined": device.quarantined,
    }
    told = ", ".join(f"{what}: {count}" for what, count in counts.items() if count)
    return f" [{told}]" if told else ""


def _age(at: str, now: datetime) -> str:
    seconds = max(0, round((now - datetime.fromisoformat(at)).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _safe(text: str) -> str:
    """Text from the network inside rich markup: no colour, link or cursor of its own."""
    from rich.markup import escape

    return escape(plain_text(text))
