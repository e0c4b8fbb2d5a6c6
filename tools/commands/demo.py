"""``litewatch demo``: a fleet of four in under a minute, and what went wrong on it."""

import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.errors import MachineError
from agent.plain_text import plain_text
from tools.collector.requirement import require_sqlalchemy
from tools.collector.words import loss_text, seems_fallen
from tools.commands.report import to_json
from tools.console import drawn_table, emit_json, live, say
from tools.fleet_table import COLUMNS, lines, row

if TYPE_CHECKING:
    from rich.table import Table

    from tools.collector.fleet import Device as Reported
    from tools.collector.store import Store
    from tools.demo.prepare import Device

SECONDS = 28.0
"""How long the devices watch; packing before and draining after take a few seconds more."""
DRAINS_WITHIN_S = 15.0
WIDTH = 150
"""Columns, where the output is no terminal."""


@click.command(
    epilog="\b\nExamples:\n  litewatch demo\n  litewatch demo --json\n  litewatch demo --keep",
    short_help="Four devices, one broker, and what went wrong.",
)
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
@click.option("--seconds", type=click.FloatRange(min=16), default=SECONDS, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The fleet as JSON on standard output.")
@click.option("--svg", type=click.Path(path_type=Path), help="Also draw the result as a picture.")
def demo(keep: bool, seconds: float, as_json: bool, svg: Path | None) -> None:
    """Watch four devices: one healthy, one with the wrong preprocessing, one whose scene darkens,
    and one regression whose input drifts.

    Real processes, a real broker, a real model: the agents and the collector are the commands of
    this package. Ends by itself in under a minute.
    """
    require_sqlalchemy()
    if svg is not None and (as_json or not svg.absolute().parent.is_dir()):
        raise click.BadParameter("expected a file in a folder that exists, and no --json", param_hint="--svg")
    # Told to end, the demo still ends its processes and removes its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="litewatch-demo-") as folder:
        fleet, stories = _play(Path(folder), seconds=seconds, keep=keep)
    if as_json:
        emit_json({"devices": [to_json(device) for device in fleet]})
        return
    drawn = _Drawing(svg)
    drawn.print(drawn_table("Fleet", COLUMNS, [row(device, datetime.now(UTC)) for device in fleet]))
    for device in fleet:
        drawn.print(
            f"\n[bold]{device.device}[/] ({stories[device.device]}): {verdict(device)}", highlight=False
        )
        drawn.print(f"  {plain_text(device.finding.evidence)}", markup=False, highlight=False)
        for line in lines(device):
            drawn.print(f"  {line}", markup=False, highlight=False)
    drawn.save()


def verdict(device: "Reported") -> str:
    """In rich markup: did this device lose accuracy, and what is the closest sign of a cause?"""
    cause = device.finding.cause
    if device.finding.fell:
        return f"[bold red]lost accuracy; closest cause: {cause or 'none found'}[/]{_alarmed(device)}"
    if cause:
        return f"[bold yellow]changed ({cause}), no loss shown by labels[/]{_alarmed(device)}"
    if seems_fallen(device.estimate):
        return "[bold yellow]seems less accurate by the estimate; labels do not show it[/]"
    return "[bold green]healthy[/]"


def _alarmed(device: "Reported") -> str:
    """The worst alarm's severity and what it is estimated to cost."""
    if not device.alarms:
        return ""
    alarm = device.alarms[0].alarm
    return f" (alarm {alarm.alarm}: {alarm.severity}, {loss_text(alarm)})"


class _Drawing:
    """Prints, and keeps what it printed for a picture where one is wanted."""

    def __init__(self, svg: Path | None) -> None:
        from rich.console import Console

        self._svg = svg
        self._console = Console(width=None if sys.stdout.isatty() else WIDTH, record=svg is not None)
        self.print = self._console.print

    def save(self) -> None:
        if self._svg:
            drawn = self._console.export_svg(title="litewatch demo")
            # A picture must not send whoever looks at it to a font server.
            self._svg.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def _play(folder: Path, *, seconds: float, keep: bool) -> "tuple[Sequence[Reported], dict[str, str]]":
    from tools.collector.store import Store
    from tools.demo.broker import local_broker
    from tools.demo.play import agent_command, check_alive, collector_command, running, stream_labels
    from tools.demo.prepare import prepare

    database = folder / "fleet.db"
    with local_broker(folder) as broker:
        say(f"broker: {broker.name} on {broker.host}:{broker.port}")
        say("packing two models with their reference, and rendering what the cameras will see …")
        devices = prepare(folder, broker, seconds=seconds)
        store = Store(str(database))
        with ExitStack() as processes:
            collector = processes.enter_context(
                running(collector_command(database, broker), folder / "collector.log")
            )
            with ExitStack() as agents:
                alive = {"collector": collector}
                for device in devices:
                    log = folder / f"{device.name}.log"
                    alive[device.name] = agents.enter_context(running(agent_command(device), log))
                say(f"{len(devices)} devices watch for {seconds:.0f} s …")
                with live(lambda: _table(store)) as redraw:

                    def look() -> None:
                        check_alive(alive, folder)
                        redraw()

                    _wait_for_agents(store, devices, look)
                    stream_labels(devices, broker, after_each=look)
                    _keep(keep, broker.port, database, look)
                say("devices stop; the collector takes what is left …")
            fleet = _drained(store, devices)
        store.close()
    return fleet, {device.name: device.story for device in devices}


def _table(store: "Store") -> "Table":
    from tools.collector.fleet import fleet

    now = datetime.now(UTC)
    return drawn_table("Fleet", COLUMNS, [row(device, now) for device in fleet(store)])


def _wait_for_agents(store: "Store", devices: "Sequence[Device]", look: Callable[[], None]) -> None:
    """Labels sent before an agent has subscribed would reach nobody."""
    from tools.collector.fleet import fleet

    deadline = time.monotonic() + DRAINS_WITHIN_S
    awaited = {device.name for device in devices}
    while awaited := awaited - {seen.device for seen in fleet(store) if seen.state in ("online", "degraded")}:
        if time.monotonic() > deadline:
            raise MachineError(f"not online within {DRAINS_WITHIN_S:.0f} s: {', '.join(sorted(awaited))}")
        look()
        time.sleep(0.2)


def _keep(keep: bool, port: int, database: Path, look: Callable[[], None]) -> None:
    if not keep:
        return
    say(f"kept running: broker on port {port}, litewatch report --db {database}; Ctrl-C ends it")
    try:
        while True:
            look()
            time.sleep(1)
    except KeyboardInterrupt:
        return


def _drained(store: "Store", devices: "Sequence[Device]") -> "Sequence[Reported]":
    """The fleet, once every device's last words have arrived."""
    from tools.collector.fleet import fleet

    deadline = time.monotonic() + DRAINS_WITHIN_S
    while time.monotonic() < deadline:
        seen = fleet(store)
        if all(device.state == "stopped" and not device.awaited for device in seen) and len(seen) == len(
            devices
        ):
            break
        time.sleep(0.2)
    return fleet(store)
