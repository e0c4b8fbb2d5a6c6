"""``litewatch collect``: the fleet's telemetry into a database, until told to stop."""

import hashlib
import json
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import click

from agent.plain_text import plain_text
from tools.collector.options import mqtt_options, to_mqtt
from tools.collector.requirement import require_sqlalchemy
from tools.console import say

if TYPE_CHECKING:
    from tools.collector.subscriber import Event

DEFAULT_DATABASE = "litewatch.db"


@click.command(short_help="Collect the fleet's telemetry.")
@mqtt_options
@click.option(
    "--db",
    envvar="LITEWATCH_DB",
    default=DEFAULT_DATABASE,
    show_default=True,
    metavar="PATH|URL",
    help="SQLite file, or a URL such as postgresql+psycopg://host/litewatch. Also LITEWATCH_DB.",
)
@click.option("--group", metavar="NAME", help="Share the work with the other collectors of this group.")
@click.option("--client-id", help="Name at the broker; default: made from this machine and --db.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines on standard output.")
def collect(db: str, group: str | None, client_id: str | None, as_json: bool, **broker: Any) -> None:
    """Collect the fleet's telemetry into a database until SIGTERM or Ctrl-C.

    Every message is stored once; what is malformed or speaks for another device goes to a
    quarantine with the reason. Devices are told to delete only what has been committed here, so
    the collector, the broker and the database may each be restarted at any moment.

    \b
    Examples:
      litewatch collect
      litewatch collect --mqtt broker.example:8883 --ca ca.pem --username fleet --password-file pw
      LITEWATCH_DB=postgresql+psycopg://db/litewatch litewatch collect --group fleet
    """
    require_sqlalchemy()
    from tools.collector.collector import Collector
    from tools.collector.store import Store
    from tools.collector.subscriber import Subscriber

    options = to_mqtt(**broker, client_id=client_id)
    if group is not None and (not group or set(group) & set("/+#")):
        raise click.BadParameter("expected a name without '/', '+' and '#'", param_hint="--group")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    tell = _json_line if as_json else _line
    subscriber = Subscriber(
        options,
        client_id=client_id or _client_id(db, group),
        on_event=tell,
        group=group,
        # A member of a group that goes for good must not keep its share at the broker.
        persistent=group is None or client_id is not None,
    )
    store = Store(db)
    try:
        totals = Collector(store, subscriber, on_event=tell).run(stop)
    finally:
        store.close()
    dropped = f", {subscriber.dropped} dropped" if subscriber.dropped else ""
    say(
        f"stopped: {totals.stored} stored, {totals.duplicates} duplicates,"
        f" {totals.quarantined} quarantined{dropped}"
    )


def _client_id(db: str, group: str | None) -> str:
    """The same at each start, so that the broker keeps what comes meanwhile; of a group, each its own."""
    where = f"{socket.gethostname()} {db if '://' in db else os.path.realpath(db)}"
    name = f"litewatch-collector-{hashlib.sha256(where.encode()).hexdigest()[:12]}"
    return name if group is None else f"{name}-{os.urandom(4).hex()}"


def _line(event: "Event") -> None:
    where = f"{event.site}/{event.device}: " if event.device else ""
    say(plain_text(where + event.text))


def _json_line(event: "Event") -> None:
    fields = {"event": event.event, "site": event.site, "device": event.device, "text": event.text}
    click.echo(json.dumps(fields))
