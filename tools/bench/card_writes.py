"""What the agent writes to its card in a day, as the kernel counts it: ``python -m tools.bench.card_writes``.

Agent, broker and collector are the real ones with default settings, but every interval of the agent is
shortened by the same factor, so that a minute shows up to an hour: as many messages, commits and
confirmations, of the same sizes. A start is a figure of its own.

SQLite brings its write-ahead log into the database every 4 MB, too rarely to be seen in a minute. Closing
does the same, so each is taken to cost what the whole end of the agent cost, or the size of the database
where that is more, and as many are added as a day's writes fill logs.

``/proc/PID/io`` counts what the process hands to the file system. As root the state directory lies on an
ext4 of its own, and a second figure tells what reaches that device, the file system's journal included.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from agent.errors import MachineError
from agent.sections import HealthConfig, MonitorConfig
from agent.telemetry.options import OutboxOptions
from tools.bench.figures import Figure, show, write
from tools.bench.scenario import Scenario, data_pack, prepare
from tools.cli import LITEWATCH
from tools.console import say
from tools.demo.broker import Broker, local_broker

FRAME_RATES = (10, 30)
"""Cameras this fast; with default sampling a window takes 250 s or 83 s."""
SAMPLES_PER_S = 60
"""As many frames a second are sampled here: more would be too much for two cores."""
SETTLE_S = 20.0
"""Runtime chosen, thresholds made, first windows closed."""
MEASURE_S = 90.0
TARGET_MB = 20.0
SECONDS_A_DAY = 86_400
CARD_MIB = 256
LOG_BYTES = 4000 * 1024
"""Of the write-ahead log before it is brought in: see agent.telemetry.outbox_database."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """The folder that holds the state directory; ``device`` is the block device's name where it has one."""

    folder: Path
    device: str | None

    def sectors_written(self) -> int | None:
        if self.device is None:
            return None
        os.sync()
        return int(Path(f"/sys/block/{self.device}/stat").read_text().split()[6])


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Bytes a day by the process while it runs, by its checkpoints and by the device while it runs;
    bytes of a start."""

    process: float
    checkpoints: float
    device: float | None
    start: int


def figures(folder: Path, pack: Path) -> Iterator[Figure]:
    """Bytes a day at each frame rate, and what a start adds."""
    scenario = prepare(folder / "scenario", pack)
    with _card(folder) as card, local_broker(folder) as broker, _collector(folder, broker):
        for fps in FRAME_RATES:
            written = _measure(scenario, card, broker, fps)
            factor = _factor(fps)
            detail = f"{written.checkpoints / 1e6:.1f} of it checkpoints; intervals divided by {factor}"
            yield Figure(
                name=f"written a day, {fps} frames/s",
                value=(written.process + written.checkpoints) / 1e6,
                unit="MB",
                target=TARGET_MB,
                detail=detail,
            )
            if written.device is not None:
                yield Figure(
                    name=f"reaching the device a day, {fps} frames/s",
                    value=written.device / 1e6,
                    unit="MB",
                    detail="with ext4's own journal, without checkpoints",
                )
        yield Figure(
            name="written by a start",
            value=written.start / 1e6,
            unit="MB",
            detail="the second, and its first 20 s",
        )


def _factor(fps: int) -> int:
    return SAMPLES_PER_S * MonitorConfig().sample_every // fps


def _measure(scenario: Scenario, card: Card, broker: Broker, fps: int) -> Written:
    factor = _factor(fps)
    config = _config(scenario, broker, factor, name=f"camera-{fps}")
    with _agent(config, card, scenario.folder / f"agent-{fps}.log") as process:
        _settle(process)
        start, began = _written_by(process.pid), time.monotonic()
        first = card.sectors_written()
        _wait(process, MEASURE_S)
        end, last = _written_by(process.pid), card.sectors_written()
        days = (time.monotonic() - began) * factor / SECONDS_A_DAY
        process.terminate()
        # Ended, but not yet forgotten by the kernel: with all it wrote to the last.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        closing = _written_by(process.pid) - end
    if end == start:
        raise MachineError(f"{card.folder} is not on a disk: the kernel counts nothing")
    database = (card.folder / config.stem / "outbox.db").stat().st_size
    running = (end - start) / days
    return Written(
        process=running,
        checkpoints=running / LOG_BYTES * max(closing, database),
        device=None if first is None or last is None else (last - first) * 512 / days,
        start=start,
    )


def _config(scenario: Scenario, broker: Broker, factor: int, *, name: str) -> Path:
    """Every interval by the factor; sampling every frame of a camera that is slower by as much."""
    monitor = MonitorConfig()
    document = {
        "device": {"id": name},
        "model": {"bundle": str(scenario.bundle)},
        "source": {
            "kind": "directory",
            "path": str(scenario.pictures),
            "loop": True,
            "fps": SAMPLES_PER_S,
        },
        "monitor": {
            "sample_every": 1,
            "window": {"interval_s": monitor.window.interval_s / factor},
            "canary": {"interval_s": monitor.canary.interval_s / factor},
        },
        "health": {"interval_s": HealthConfig().interval_s / factor},
        "outbox": {"flush_interval_s": OutboxOptions().flush_interval_s / factor},
        "mqtt": {"host": broker.host, "port": broker.port, "version": broker.mqtt_version},
    }
    path = scenario.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def _agent(config: Path, card: Card, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """As systemd runs it: with a state directory, which then also keeps the last good config."""
    state = card.folder / config.stem
    state.mkdir()
    environment = {**os.environ, "STATE_DIRECTORY": str(state)}
    with _process([*LITEWATCH, "run", "-c", str(config)], log, environment) as first:
        _settle(first)  # the first start also learns thresholds and keeps the bundle
    with _process([*LITEWATCH, "run", "-c", str(config)], log, environment) as process:
        yield process


@contextmanager
def _collector(folder: Path, broker: Broker) -> Iterator[None]:
    command = [
        *LITEWATCH,
        "collect",
        "--mqtt",
        f"{broker.host}:{broker.port}",
        "--db",
        str(folder / "fleet.db"),
    ]
    with _process(command, folder / "collector.log", dict(os.environ)):
        yield


@contextmanager
def _process(
    command: Sequence[str], log: Path, environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _card(folder: Path) -> Iterator[Card]:
    """An ext4 of its own where that can be had, else a plain folder."""
    image, mount = folder / "card.img", folder / "card"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        yield Card(folder=mount, device=None)
        return
    with image.open("wb") as file:
        file.truncate(CARD_MIB * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop,noatime", str(image), str(mount)]).returncode:
        yield Card(folder=mount, device=None)
        return
    try:
        found = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(mount)], capture_output=True, text=True, check=True
        )
        yield Card(folder=mount, device=Path(found.stdout.strip()).name)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def _settle(process: "subprocess.Popen[bytes]") -> None:
    _wait(process, SETTLE_S)


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise MachineError("the agent ended before it was measured")


def _written_by(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("build/bench-card.json"), show_default=True
)
def main(out: Path) -> None:
    """Measure; exit status 1 when more than 20 MB a day are written. About five minutes."""
    pack = data_pack()
    if pack is None:
        say("skipped: no data pack (set LITEWATCH_DATA to the folder that holds labels.csv)")
        write(out, [], skipped="no data pack")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the result: /tmp is often in memory, where nothing is counted.
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        measured = list(figures(Path(folder).resolve(), pack))
    write(out, measured, machine=platform.processor() or platform.machine(), kernel=platform.release())
    show("Written to the card", measured)
    if any(figure.met is False for figure in measured):
        sys.exit(1)


if __name__ == "__main__":
    main()
