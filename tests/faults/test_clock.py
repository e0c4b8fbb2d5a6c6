"""A wrong wall clock: it jumps by a year and back, and a machine boots without one.

The agent runs under a preloaded clock (wall_clock.c) that a file sets; its monotonic clock is true.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker import Broker, eventually, start_broker
from fake_collector import FakeCollector
from running import Running

from agent.telemetry.messages import Envelope

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="skipped: no C compiler for the clock")

YEAR_S = 365 * 86_400
JUMPS = (-YEAR_S, YEAR_S, 0, YEAR_S, -YEAR_S, 0)


class WallClock:
    """What the preloaded clock says."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "off"
        library = folder / "wall_clock.so"
        source = Path(__file__).with_name("wall_clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._file)}
        self.set(0)

    def set(self, off_s: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(str(off_s))
        new.replace(self._file)


@pytest.fixture
def wall(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = start_broker(tmp_path / "broker")
    yield made
    made.stop()


def latest(collector: FakeCollector) -> Envelope | None:
    heard = collector.of("health")
    return heard[-1] if heard else None


def test_the_clock_jumps_by_a_year_and_back(
    tmp_path: Path, wall: WallClock, broker: Broker, figure: Callable[..., None]
) -> None:
    collector = FakeCollector(broker)
    agent = Running(tmp_path, broker=broker).start(**wall.environment)
    sessions = []
    try:
        eventually(lambda: collector.of("health"), within_s=30, what="the agent runs")
        for off_s in JUMPS:
            wall.set(off_s)
            year = str(time.gmtime(time.time() + off_s).tm_year)
            eventually(
                lambda year=year: (now := latest(collector)) is not None and now.sent_at.startswith(year),
                what=f"messages of {year}",
            )
        wall.set(YEAR_S)  # it ends in the future, and the next run begins in the past
        agent.stop()
        sessions.append(collector.of("health")[-1].session)
        wall.set(-YEAR_S)
        agent.start(**wall.environment)
        eventually(
            lambda: collector.of("health")[-1].session not in sessions, within_s=30, what="a second session"
        )
        agent.stop()
        sessions.append(collector.of("health")[-1].session)
    finally:
        agent.end()
        collector.close()
    lost = historical = 0
    for session in sessions:
        heard = collector.seqs(session)
        lost += max(heard) - len(set(heard))
    historical = sum(
        heard.envelope.historical for heard in collector.heard if heard.envelope.session in sessions
    )
    figure("clock jumps of a year: messages lost", lost, "messages", target=0,
           detail=f"{len(JUMPS)} jumps, {len(collector.heard)} messages")  # fmt: skip
    figure("clock jumps of a year: fresh messages called historical", historical, "messages", target=0)
    assert (lost, historical) == (0, 0)
    assert sessions == sorted(sessions)


class Authority:
    """A certificate authority of today, and a broker's certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.ca, self.certificate, self.key = folder / "ca.pem", folder / "broker.pem", folder / "broker.key"
        ca_key, request, names = folder / "ca.key", folder / "request", folder / "names"
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        new = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test")
        self._openssl(
            "req", "-x509", "-days", "2", *new, "-addext", usage, "-keyout", ca_key, "-out", self.ca
        )
        new = ("-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker")
        self._openssl("req", *new, "-keyout", self.key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial",
                      "-days", "2", "-extfile", names, "-out", self.certificate)  # fmt: skip

    @staticmethod
    def _openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def test_without_a_clock_at_boot_it_waits_for_one(
    tmp_path: Path, wall: WallClock, figure: Callable[..., None]
) -> None:
    """1970: no certificate is valid yet. The agent runs, says why it is not heard, and never ends."""
    if shutil.which("openssl") is None:
        pytest.skip("skipped: no openssl")
    made = Authority(tmp_path / "authority")
    lines = f"cafile {made.ca}\ncertfile {made.certificate}\nkeyfile {made.key}"
    broker = start_broker(tmp_path / "broker", config_extra=lines)
    agent = Running(tmp_path, broker=broker, tls={"ca": str(made.ca)})
    wall.set(-int(time.time()) + 60)
    agent.start(**wall.environment)
    try:
        agent.hears("not yet valid; is this machine's clock right?")
        agent.hears("telemetry: broker")  # the device is degraded, and says so
        assert agent.alive
        wall.set(0)
        began = time.monotonic()
        agent.hears("telemetry: well again")
        took = time.monotonic() - began
        agent.stop()
    finally:
        agent.end()
        broker.stop()
    figure(
        "no clock at boot, TLS: back after the clock was set", round(took, 1), "s", detail="it never ended"
    )
    states = agent.bodies("state")
    assert any("clock" in problem for state in states for problem in state["problems"])
    assert agent.bodies("health")
