"""A thousand kill -9 at random moments, of agent, broker and collector: nothing committed is lost, nothing
arrives twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bundles
import nursery
import pytest
import yaml
from broker import eventually, start_broker
from storm_agent import message
from test_storm import CALM_S, Storm, kill

from agent.telemetry import wire
from agent.telemetry.messages import kind_of
from tools.cli import LITEWATCH

KILLS = 900
SERVICE_KILLS = 100
SEED = 3


class Forked:
    """A process of the nursery's, to be killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        eventually(self._gone, what=f"the end of process {self.pid}")

    def _gone(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False


class Nursery:
    """See nursery.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, nursery.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._answer() == "ready"

    def start(self, kind: str, folder: Path, *arguments: str, **environment: str) -> Forked:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([kind, str(folder), arguments, environment]) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._answer()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def born() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


class Tempest(Storm):
    """The storm of test_storm with processes that start at once, and no mercy while they do."""

    born: Nursery

    def _start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        first = next(
            place for place, word in enumerate(arguments) if word in ("collect", str(self.directory))
        )
        kind, given = (
            ("agent", arguments[first + 1 :]) if name == "agent" else ("litewatch", arguments[first:])
        )
        return self.born.start(kind, self.directory, *given)  # type: ignore[return-value]  # plays a Popen

    def round(self) -> None:
        if self.chance.random() < 0.7:
            eventually(self.agent_works, what="an agent that commits")
            time.sleep(self.chance.uniform(0.0, self.chance.choice((0.05, 0.05, 0.3))))
        else:  # before it has done anything, or while it starts
            time.sleep(self.chance.uniform(0.0, 0.12))
        victims = self.chance.choices(
            [("agent",), ("broker",), ("collector",), ("broker", "collector"), ("agent", "broker")],
            weights=[24, 2, 2, 1, 1],
        )[0]
        for victim in victims:
            if victim == "collector" and self.collector is None:
                continue
            self.kills[victim] = self.kills.get(victim, 0) + 1
        if "agent" in victims:
            kill(self.agent)
        if "collector" in victims and self.collector is not None:
            kill(self.collector)
            self.collector = None
            self.collector_away = self.chance.choice([0, 0, 1, 15])
        if "broker" in victims:
            self.broker.kill9()
            self.broker.restart()
        if "agent" in victims:
            self.start_agent()
        self.collector_away -= 1
        if self.collector is None and self.collector_away < 0:
            self.start_collector()

    def calm(self) -> None:
        """The last agent is one whose exit code can be asked for."""
        kill(self.agent)
        self._start = super()._start  # type: ignore[method-assign]  # from here on as everywhere else
        self.start_agent()
        super().calm()


@pytest.mark.timeout(420)
def test_agent_broker_and_collector_are_killed(
    tmp_path: Path, born: Nursery, figure: Callable[..., None]
) -> None:
    storm = Tempest(tmp_path, start_broker(tmp_path / "broker"), random.Random(SEED))
    storm.born = born
    storm.start_agent()
    storm.start_collector()
    try:
        while sum(storm.kills.values()) < KILLS:
            storm.round()
        storm.calm()
        committed = storm.committed()
        eventually(
            lambda: committed <= {(session, seq) for session, seq, _, _ in storm.collected()},
            within_s=CALM_S,
            what="every committed message collected",
        )
        collected, quarantined, said = storm.collected(), storm.quarantined(), storm.logs()
    finally:
        storm.end()
    identities = [(session, seq) for session, seq, _, _ in collected]
    lost = len(committed - set(identities))
    twice = len(identities) - len(set(identities))
    altered = sum(_altered(*row) for row in collected)
    killed = ", ".join(f"{who} {count}" for who, count in sorted(storm.kills.items()))
    figure("kill -9 of agent, broker and collector", sum(storm.kills.values()), "kills", target=KILLS,
           bound="at least", detail=killed)  # fmt: skip
    figure("kill -9: committed messages lost", lost, "messages", target=0, detail=f"of {len(committed)}")
    figure("kill -9: messages stored twice, altered or refused", twice + altered + quarantined, "messages",
           target=0, detail=f"of {len(collected)}")  # fmt: skip
    assert (lost, twice, altered, quarantined) == (0, 0, 0, 0)
    assert len(committed) > 2 * KILLS
    assert "Traceback" not in said


def _altered(_session: str, seq: int, kind: str, body: str) -> bool:
    if kind == "state":
        return False
    expected, _ = message(seq - 1)  # message n travels as seq n + 1
    return (kind, json.loads(body)) != (kind_of(expected), json.loads(wire.body_json(expected)))


@pytest.mark.timeout(240)
def test_the_whole_agent_is_killed_also_while_it_starts(
    tmp_path: Path, born: Nursery, figure: Callable[..., None]
) -> None:
    """``litewatch run`` with its state directory, killed from its first breath on; then it runs."""
    bundles.make_bundle(tmp_path, vectors=True)
    (tmp_path / "rows.csv").write_text("x\n" + "".join(f"{n % 9}\n" for n in range(40)))
    config = {
        "device": {"id": "cam-1", "site": "lab"},
        "model": {"bundle": "bundle.tflite"},
        "source": {"kind": "vectors", "path": "rows.csv", "follow": True},
        "monitor": {"sample_every": 1, "window": {"samples": 20, "interval_s": 0.1}},
        "health": {"interval_s": 0.1},
        "outbox": {"flush_interval_s": 0.1},
    }
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config))
    state = tmp_path / "state"
    state.mkdir()
    chance = random.Random(SEED)
    for _ in range(SERVICE_KILLS):
        running = born.start(
            "litewatch", tmp_path, "run", "-c", str(tmp_path / "agent.yaml"), STATE_DIRECTORY=str(state)
        )
        time.sleep(chance.uniform(0, chance.choice((0.3, 0.3, 1.2))))
        running.kill()
        running.wait()
    command = [*LITEWATCH, "run", "-c", str(tmp_path / "agent.yaml"), "--frames", "20"]
    done = subprocess.run(
        command, env={**os.environ, "STATE_DIRECTORY": str(state)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr + (tmp_path / "litewatch.out").read_text()
    with sqlite3.connect(state / "outbox.db") as database:
        kept = database.execute("SELECT session, seq, kind FROM message ORDER BY id").fetchall()
    sessions: dict[str, list[int]] = {}
    for session, seq, _ in kept:
        sessions.setdefault(session, []).append(seq)
    holes = sum(seqs != list(range(1, len(seqs) + 1)) for seqs in sessions.values())
    figure("kill -9 of litewatch run", SERVICE_KILLS, "kills", target=SERVICE_KILLS, bound="at least",
           detail=f"{len(sessions)} sessions got as far as their outbox, {len(kept)} messages")  # fmt: skip
    figure("kill -9 of litewatch run: sessions with a hole", holes, "sessions", target=0)
    assert holes == 0
    assert list(sessions) == sorted(sessions)
    assert not list(state.glob("*.damaged-*"))
    assert len(sessions) > SERVICE_KILLS / 4
