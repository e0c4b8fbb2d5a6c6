"""``litewatch report``: the fleet, as a table for people, a page for a browser or JSON for scripts."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.plain_text import plain_text
from tools.collector.requirement import require_sqlalchemy
from tools.commands.collect import DEFAULT_DATABASE
from tools.console import emit_json, say, table
from tools.fleet_table import COLUMNS, lines, row
from tools.writing import require_writable, write_text

if TYPE_CHECKING:
    from agent.telemetry.messages import Health
    from tools.collector.fleet import Device


@click.command(short_help="Show the fleet.")
@click.option(
    "--db",
    envvar="LITEWATCH_DB",
    default=DEFAULT_DATABASE,
    show_default=True,
    metavar="PATH|URL",
    help="The collector's database. Also LITEWATCH_DB.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the fleet as a page that needs no other file and no network.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def report(db: str, html: Path | None, as_json: bool) -> None:
    """Show every device: what it runs, how accurate it is, what is wrong and since when.

    Accuracy is from labels; what is estimated without them is marked as such. A cause is the first that
    has a sign: a check that proved a loss, preprocessing known to differ, a check that found a change, a
    drift that was alarmed, under the name the device's own diagnosis gives it. The evidence says what was
    measured. Alarms come worst first, by the accuracy they are estimated to cost.

    \b
    Examples:
      litewatch report
      litewatch report --db fleet.db --json
      litewatch report --html fleet.html
    """
    require_sqlalchemy()
    require_writable(html, "--html")
    from tools.collector.fleet import fleet
    from tools.collector.store import Store

    store = Store(db, create=False)
    try:
        devices = fleet(store)
    finally:
        store.close()
    now = datetime.now(UTC)
    if as_json:
        emit_json({"devices": [to_json(device) for device in devices]})
    elif devices:
        show(devices, now=now)
    else:
        say(f"{db} has heard of no device yet")
    if html is not None:
        from tools.fleet_page import fleet_page

        write_text(html, fleet_page(devices, now=now), "--html")
        say(f"wrote {html}")


def to_json(device: "Device") -> dict[str, Any]:
    """One entry of ``devices[]``; numbers as they were sent."""
    accuracy, drift, current = device.accuracy, device.drift, device.current
    return {
        "device": device.device,
        "site": device.site,
        "state": device.state,
        "problems": list(device.problems),
        "model": device.model,
        "frames": device.frames,
        "accuracy": current.accuracy,
        "accuracy_from": current.origin,
        "accuracy_low": current.low,
        "accuracy_high": current.high,
        "labelled": asdict(accuracy) | {"confusion": [list(cell) for cell in accuracy.confusion]}
        if accuracy
        else None,
        "estimate": asdict(device.estimate) if device.estimate else None,
        "loss_points": current.loss_points,
        "preprocess": device.preprocess,
        "fingerprint": device.fingerprint,
        "differs": list(device.differs),
        "reproduction": device.reproduction,
        "drift": asdict(drift) | {"top": list(drift.top)} if drift else None,
        "alarms": [
            asdict(active.alarm) | {"top": list(active.alarm.top), "since": active.since}
            for active in device.alarms
        ],
        "diagnosis": _diagnosis(device),
        "cause": device.finding.cause,
        "evidence": device.finding.evidence,
        "commissioning": asdict(device.commissioning) if device.commissioning else None,
        "stream": asdict(device.stream) if device.stream else None,
        "machine": _machine(device.health, device.troubles),
        "last_seen": device.last_seen,
        "messages_lost": device.lost,
        "messages_awaited": device.awaited,
        "messages_evicted": device.evicted,
        "quarantined": device.quarantined,
    }


def _diagnosis(device: "Device") -> dict[str, Any] | None:
    told = device.diagnosed
    if told is None:
        return None
    causes = [asdict(cause) for cause in told.diagnosis.causes]
    return asdict(told.diagnosis) | {"causes": causes, "at": told.at, "stands": told.stands}


def _machine(health: "Health | None", troubles: Sequence[str]) -> dict[str, Any] | None:
    if health is None:
        return None
    told = (
        "delegate",
        "delegate_away_s",
        "failovers",
        "soc_temperature_c",
        "throttled_now",
        "throttled_since_boot",
        "tpu",
        "tpu_temperature_c",
        "tpu_usb_mbps",
        "tpu_resets",
        "canary_mismatches",
    )
    values = {name: getattr(health, name) for name in told}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return plain | {"troubles": list(troubles)}


def show(devices: Sequence["Device"], *, now: datetime) -> None:
    """The table, and below it what each device has to say for its row."""
    table("Fleet", COLUMNS, [row(device, now) for device in devices])
    for device in devices:
        colour = "red" if device.finding.fell else "yellow" if device.finding.cause else "green"
        name = click.style(plain_text(f"{device.site}/{device.device}"), fg=colour, bold=True)
        cause = f"{device.finding.cause} – " if device.finding.cause else ""
        click.echo(f"{name}: {plain_text(cause + device.finding.evidence)}{_delivery(device)}")
        for line in lines(device):
            click.echo(f"  {line}")


def _delivery(device: "Device") -> str:
    counts = {
        "messages lost": device.lost,
        "messages awaited": device.awaited,
        "payloads quarantined": device.quarantined,
    }
    told = ", ".join(f"{what}: {count}" for what, count in counts.items() if count)
    return f" [{told}]" if told else ""
