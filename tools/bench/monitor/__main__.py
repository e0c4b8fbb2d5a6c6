"""``python -m tools.bench.monitor``: run the stream bench, print and write its figures."""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from agent.errors import LitewatchError, MachineError
from tools.bench import figures as figure_file
from tools.bench.monitor.bench import DWELLS, PARTS, Settings, measure, prepare
from tools.bench.monitor.found import figures, record
from tools.bench.monitor.page import write_page
from tools.bench.scenario import data_pack, places
from tools.console import say


@click.command()
@click.option("--out", default="build/bench-monitor.json", type=click.Path(path_type=Path), show_default=True)
@click.option("--page", type=click.Path(path_type=Path), help="Also write the measured part of this page.")
@click.option(
    "--cache", default="build/bench-monitor-cache", type=click.Path(path_type=Path), show_default=True
)
@click.option("--peers", default="build/peers", type=click.Path(path_type=Path), show_default=True)
@click.option("--no-peers", is_flag=True, help="Without the peers' environments.")
@click.option("--quick", is_flag=True, help="Few photographs, faults and days: minutes, and no proof.")
@click.option("--days", default=300, show_default=True, help="Device-days at each dwell.")
@click.option("--model", default="v1", type=click.Choice(["v1", "v2"]), show_default=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; repeatable.")
@click.option("--workers", default=2, show_default=True)
def main(
    out: Path,
    page: Path | None,
    cache: Path,
    peers: Path,
    no_peers: bool,
    quick: bool,
    days: int,
    model: str,
    parts: tuple[str, ...],
    workers: int,
) -> None:
    """Months of device-days, faults nobody has seen, and the peers on the same rows.

    Exit status 1: a figure missed its target.
    """
    pack = data_pack()
    if pack is None:
        raise MachineError(f"no data pack in {', '.join(map(str, places()))}: set LITEWATCH_DATA")
    environments = None if no_peers else peers
    settings = Settings(pack=pack, cache=cache, peers=environments, model=model, days=days, workers=workers)
    if quick:
        settings = quickly(settings)
    begin = time.monotonic()

    def said(what: str) -> None:
        say(f"{time.monotonic() - begin:6.0f} s  {what}")

    material = prepare(settings, said)
    found = measure(settings, material, parts or PARTS, said)
    made = figures(found)
    matched = {"before": asdict(material.roles.before), "after": asdict(material.roles.after)}
    truth = {fault.key: material.cost(rendered) for fault, rendered in material.faults}
    figure_file.write(out, made, model=model, matching=matched, costs=truth, measured=record(found))
    if page is not None:
        write_page(page, made, found)
    figure_file.show("The stream bench", made)
    if any(figure.met is False for figure in made):
        sys.exit(1)


def quickly(settings: Settings) -> Settings:
    """Small enough for a look."""
    return Settings(
        pack=settings.pack,
        cache=settings.cache,
        peers=None,
        model=settings.model,
        photographs=120,
        faults=12,
        dwells=DWELLS[1:2],
        days=10,
        windows=20,
        per_fault=2,
        onsets=1,
        replayed=48,
        trials=50,
        workers=settings.workers,
    )


if __name__ == "__main__":
    try:
        main()
    except LitewatchError as error:
        say(str(error))
        sys.exit(error.exit_code)
