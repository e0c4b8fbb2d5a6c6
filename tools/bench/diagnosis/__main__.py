"""``python -m tools.bench.diagnosis``: run the fault bench, print and write its figures."""

import sys
import time
from pathlib import Path

import click

from agent.errors import LitewatchError, MachineError
from tools.bench.diagnosis.bench import Settings, run
from tools.bench.scenario import data_pack, places
from tools.console import say


@click.command()
@click.option(
    "--out", default="build/bench-diagnosis.json", type=click.Path(path_type=Path), show_default=True
)
@click.option("--page", type=click.Path(path_type=Path), help="Also write the measured part of this page.")
@click.option(
    "--cache", default="build/bench-diagnosis-cache", type=click.Path(path_type=Path), show_default=True
)
@click.option("--photographs", type=int, help="Only so many of the data pack's labelled photographs.")
@click.option("--size", default=64, show_default=True, help="Photographs in a golden set.")
@click.option("--groups", default=3, show_default=True, help="Sets of inputs whose tensors are compared.")
@click.option("--draws", default=16, show_default=True, help="Draws of the golden set in each group.")
@click.option("--workers", default=2, show_default=True)
def main(
    out: Path,
    page: Path | None,
    cache: Path,
    photographs: int | None,
    size: int,
    groups: int,
    draws: int,
    workers: int,
) -> None:
    """Make known mistakes on purpose, and count how often the diagnosis names them.

    Exit status 1: a figure missed its target.
    """
    pack = data_pack()
    if pack is None:
        raise MachineError(f"no data pack in {', '.join(map(str, places()))}: set LITEWATCH_DATA")
    settings = Settings(
        pack=pack,
        cache=cache,
        photographs=photographs,
        size=size,
        groups=groups,
        draws=draws,
        workers=workers,
    )
    begin = time.monotonic()
    found = run(settings, out=out, written=page, clock=lambda: time.monotonic() - begin)
    if any(figure.met is False for figure in found):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except LitewatchError as error:
        say(str(error))
        sys.exit(error.exit_code)
