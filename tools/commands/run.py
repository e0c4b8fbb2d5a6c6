"""``litewatch run``: the agent on this device."""

import gc
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.signals import Signals
from tools.commands.config import read_text
from tools.console import ReaderGoneError

if TYPE_CHECKING:
    from agent.pipeline import Outcome

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
UNDER_SYSTEMD_LOG_FORMAT = "%(levelname)s %(message)s"


@click.command(
    epilog="\b\nExamples:\n  litewatch run -c agent.yaml\n  litewatch run -c agent.yaml --print --frames 100"
)
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), required=True, help="agent.yaml")
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--print", "print_", is_flag=True, help="Print every prediction as a line of JSON.")
@click.option("--json", "as_json", is_flag=True, help="The same as --print.")
@click.option("--rehearse", is_flag=True, hidden=True, help="Say as JSON what would not run, and end.")
def run(path: Path, frames: int | None, print_: bool, as_json: bool, rehearse: bool) -> None:
    """Run the model on the source's frames, watch it, and publish what it suffers.

    Relative paths in agent.yaml start at its own folder. Runs until the source ends or SIGTERM; SIGHUP
    reads agent.yaml again. Exit status 2 for a bad config or bundle, 1 when this machine cannot run it.
    """
    signals = Signals()
    if not rehearse:
        # First of all: the imports below take a second, in which nothing that is asked may be lost.
        signals.install()
    # What starting makes stays for good: looking for garbage in it would cost a tenth of the start.
    # The service turns the collector on again.
    gc.disable()
    # OpenCV writes a line for each damaged frame; the agent counts them and says so once a second.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Imported here: `--help` must not cost the time of OpenCV.
    from agent.launch import Launch, problems_of, start
    from tools.cli import LITEWATCH

    begin = time.monotonic()
    under_systemd = "JOURNAL_STREAM" in os.environ
    logging.basicConfig(level=logging.INFO, format=UNDER_SYSTEMD_LOG_FORMAT if under_systemd else LOG_FORMAT)
    file, folder = path.resolve(), _here()
    if file.parent.is_dir():
        os.chdir(file.parent)

    def show(outcome: "Outcome") -> None:
        try:
            sys.stdout.write(json.dumps(described(outcome), allow_nan=False) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderGoneError from None

    launch = Launch(
        read=lambda: read_text(file),
        name=path.name,
        file=file,
        environment=os.environ,
        command=LITEWATCH,
        folder=folder,
        signals=signals,
        frames=frames,
        on_outcome=show if print_ or as_json else None,
    )
    if rehearse:
        click.echo(json.dumps(problems_of(launch)))
        return
    code = start(launch)
    logging.info("stopped after %.1f s", time.monotonic() - begin)
    raise click.exceptions.Exit(code)


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # somebody has removed it
        return None


def described(outcome: "Outcome") -> dict[str, object]:
    """A prediction for people and pipes: the frame's id and name, and what the model said."""
    from agent.contracts import Classification, Detections

    line: dict[str, object] = {"frame": outcome.frame, "name": outcome.name}
    prediction = outcome.prediction
    if isinstance(prediction, Classification):
        return line | {"top": prediction.top, "score": round(prediction.score, 4)}
    if isinstance(prediction, Detections):
        found = zip(
            prediction.classes.tolist(), prediction.scores.tolist(), prediction.boxes.tolist(), strict=True
        )
        return line | {"detections": [{"class": c, "score": s, "box": box} for c, s, box in found]}
    return line | {"values": prediction.values.tolist()}
