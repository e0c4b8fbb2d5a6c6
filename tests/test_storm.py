"""The storm: agent, broker and collector are killed at random moments; every committed message arrives.

Real processes and ``kill -9``. mosquitto keeps its default queue and persistence, so it forgets what it
acknowledged; the collector stays away for several rounds at a time, longer than that queue lasts.
``LITEWATCH_STORM_ROUNDS`` sets the rounds (20 by default; 200 is the full storm).
"""

import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from broker import Broker, eventually, start_broker
from devices import DEVICE
from storm_agent import message

from agent.telemetry import wire
from agent.telemetry.messages import kind_of

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = int(os.environ.get("LITEWATCH_STORM_ROUNDS", "20"))
SEED = 7
CALM_S = 120.0
"""How long everything may take to arrive once the storm is over."""

Identity = tuple[str, int]


@dataclass
class Storm:
    """The three processes, and who is killed when."""

    directory: Path
    broker: Broker
    chance: random.Random
    agent: subprocess.Popen[bytes] = field(init=False)
    collector: subprocess.Popen[bytes] | None = None
    collector_away: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    logged_before: int = 0

    def start_agent(self) -> None:
        self.logged_before = self.log_size()
        version = "5" if self.broker.kind == "mosquitto" else "3.1.1"
        self.agent = self._start(
            "agent", str(ROOT / "tests" / "storm_agent.py"), str(self.directory), self.broker.host,
            str(self.broker.port), version,
        )  # fmt: skip

    def start_collector(self) -> None:
        version = "5" if self.broker.kind == "mosquitto" else "3.1.1"
        self.collector = self._start(
            "collector", "-c", "from tools.cli import entry; entry()", "collect",
            "--mqtt", f"{self.broker.host}:{self.broker.port}", "--mqtt-version", version,
            "--db", str(self.directory / "collected.db"),
        )  # fmt: skip

    def round(self) -> None:
        """Once the agent commits, wait a random moment, then kill one or more and start them again."""
        eventually(self.agent_works, what="an agent that commits")
        time.sleep(self.chance.uniform(0.0, 0.8))
        victims = self.chance.choices(
            [("agent",), ("broker",), ("collector",), ("broker", "collector"), ("agent", "broker")],
            weights=[4, 3, 3, 1, 1],
        )[0]
        for victim in victims:
            self.kills[victim] = self.kills.get(victim, 0) + 1
        if "agent" in victims:
            kill(self.agent)
        if "collector" in victims and self.collector is not None:
            kill(self.collector)
            self.collector = None
            self.collector_away = self.chance.choice([0, 0, 1, 10])
        if "broker" in victims:
            self.broker.kill9()
            time.sleep(self.chance.uniform(0.0, 0.3))
            self.broker.restart()
        if "agent" in victims:
            self.start_agent()
        self.collector_away -= 1
        if self.collector is None and self.collector_away < 0:
            self.start_collector()

    def calm(self) -> None:
        """Everybody is back; the agent delivers what it holds and ends by itself."""
        if self.collector is None:
            self.start_collector()
        eventually(self.agent_works, what="an agent that commits")
        self.agent.send_signal(signal.SIGTERM)
        try:
            self.agent.wait(CALM_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the agent could not deliver everything:\n{self.logs()}")
        assert self.agent.returncode == 0, self.logs()

    def end(self) -> None:
        for process in (self.agent, self.collector):
            if process is not None:
                kill(process)
        self.broker.stop()

    def committed(self) -> set[Identity]:
        """Every message that was certainly on the device's disk."""
        found: set[Identity] = set()
        for line in (self.directory / "committed.log").read_text().splitlines():
            session, seq = line.split()
            found |= {(session, number) for number in range(1, int(seq) + 1)}
        return found

    def agent_works(self) -> bool:
        return self.log_size() > self.logged_before

    def log_size(self) -> int:
        log = self.directory / "committed.log"
        return log.stat().st_size if log.exists() else 0

    def collected(self) -> list[tuple[str, int, str, str]]:
        """What the collector has stored: session, seq, kind, body."""
        with sqlite3.connect(f"file:{self.directory / 'collected.db'}?mode=ro", uri=True) as database:
            return database.execute(
                "SELECT session, seq, kind, body FROM messages WHERE device = ?", (DEVICE,)
            ).fetchall()

    def quarantined(self) -> int:
        with sqlite3.connect(f"file:{self.directory / 'collected.db'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM quarantine").fetchone()[0])

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.directory.glob("*.out"))
        )

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.out").open("ab") as out:
            return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=out, stderr=out)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.timeout(180 + 4 * ROUNDS)
def test_every_committed_message_arrives_and_none_twice(tmp_path: Path) -> None:
    storm = Storm(tmp_path, start_broker(tmp_path / "broker"), random.Random(SEED))
    storm.start_agent()
    storm.start_collector()
    try:
        for _ in range(ROUNDS):
            storm.round()
        storm.calm()
        committed = storm.committed()
        eventually(
            lambda: committed <= {(session, seq) for session, seq, _, _ in storm.collected()},
            within_s=CALM_S,
            what="every committed message collected",
        )
        collected = storm.collected()
        quarantined = storm.quarantined()
    finally:
        storm.end()
    identities = [(session, seq) for session, seq, _, _ in collected]
    assert len(identities) == len(set(identities))
    assert quarantined == 0
    for _, seq, kind, body in collected:
        if kind != "state":  # message n travels as seq n + 1
            expected, _ = message(seq - 1)
            assert (kind, json.loads(body)) == (kind_of(expected), json.loads(wire.body_json(expected)))
    assert len(committed) > 10 * ROUNDS
    logging.getLogger("storm").info(  # seen with --log-cli-level=INFO
        "%d rounds, kills %s, %d committed, %d collected", ROUNDS, storm.kills, len(committed), len(collected)
    )
