"""The agent as its own process with a small vector model, for faults of the machine it runs on."""

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import bundles
import yaml
from broker import Broker, eventually

from agent.telemetry.outbox_rows import unpacked
from tools.cli import LITEWATCH

ROOT = Path(__file__).resolve().parents[2]


class Running:
    """``litewatch run`` in ``folder``: health every fifth of a second, committed as often."""

    def __init__(
        self, folder: Path, *, state: Path | None = None, broker: Broker | None = None, **mqtt: Any
    ) -> None:
        self.folder = folder
        self.state = state or folder / "state"
        self.process: subprocess.Popen[bytes] | None = None
        bundles.make_bundle(folder, vectors=True)
        (folder / "rows.csv").write_text("x\n" + "".join(f"{number % 9}\n" for number in range(60)))
        self.config: dict[str, Any] = {
            "device": {"id": "cam-1", "site": "lab", "state_dir": str(self.state)},
            "model": {"bundle": "bundle.tflite"},
            "source": {"kind": "vectors", "path": "rows.csv", "follow": True},
            "monitor": {"sample_every": 1, "window": {"samples": 20, "interval_s": 0.5}},
            "health": {"interval_s": 0.2},
            "outbox": {"flush_interval_s": 0.2, "ack_timeout_s": 2},
        }
        if broker is not None:
            place = {"host": broker.host, "port": broker.port, "backoff_min_s": 0.05, "backoff_max_s": 0.3}
            self.config["mqtt"] = place | mqtt
        (folder / "agent.yaml").write_text(yaml.safe_dump(self.config))

    def start(self, **environment: str) -> "Running":
        with (self.folder / "agent.out").open("ab") as out:
            self.process = subprocess.Popen(
                [*LITEWATCH, "run", "-c", str(self.folder / "agent.yaml")],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdout=out,
                stderr=out,
            )
        return self

    def said(self) -> str:
        return (self.folder / "agent.out").read_text()

    def hears(self, text: str, *, within_s: float = 30.0) -> None:
        """Wait until the agent's log holds ``text``."""
        eventually(lambda: text in self.said() or not self.alive, within_s=within_s, what=text)
        assert text in self.said(), self.said()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """SIGTERM: it must end by itself, without an error."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.said()
        assert "Traceback" not in self.said(), self.said()

    def end(self) -> None:
        if self.alive and self.process is not None:
            self.process.kill()
            self.process.wait()

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """Messages of a kind in the outbox of a stopped agent, oldest first."""
        with sqlite3.connect(self.state / "outbox.db") as database:
            rows = database.execute("SELECT body FROM message WHERE kind = ? ORDER BY id", (kind,)).fetchall()
        return [json.loads(unpacked(body)) for (body,) in rows]
