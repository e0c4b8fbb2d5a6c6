"""A broker that is there and yet is not: silent, resetting, slow, half-open, away for three days."""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from broker import Broker, eventually, start_broker
from devices import DEVICE, SITE, Device, make_clock
from fake_collector import FakeCollector, wait_quietly
from proxy import Mode, Proxy

from agent.telemetry.letterhead import HISTORICAL_S, Letterhead
from agent.telemetry.messages import Alarm, Window
from agent.telemetry.mqtt import MqttLink
from agent.telemetry.options import MqttOptions, OutboxOptions
from agent.telemetry.outbox import Outbox
from agent.telemetry.sender import REPLAY_PER_S
from agent.telemetry.telemetry import Telemetry
from tools.demo.broker import free_port

pytest_plugins = ("broker",)

WEATHER_CHANGES = 30
HOURS = 72
REPLAY_S = 8.0
SPEED = 30.0
EVERY_S = 300.0
"""How often a device at default settings makes a window and says how it is."""


def window(number: int) -> Window:
    return Window(opened_at="", closed_at="", duration_s=0, frames=number, samples=0, features=(), groups={})


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    made = Proxy(broker.host, broker.port)
    yield made
    made.close()


@pytest.fixture
def collector(broker: Broker) -> Iterator[FakeCollector]:
    made = FakeCollector(broker)
    yield made
    made.close()


@pytest.fixture
def device(broker: Broker, proxy: Proxy, tmp_path: Path) -> Iterator[Device]:
    through = replace(broker, host=proxy.host, port=proxy.port)
    made = Device(tmp_path, through, keepalive_s=1, connect_timeout_s=1.0)
    yield made
    made.telemetry.stop(2.0)


def works(device: Device, collector: FakeCollector, number: int) -> None:
    """A message goes all the way and is forgotten."""
    device.telemetry.emit(window(number), urgent=True)
    eventually(
        lambda: any(envelope.body.frames == number for envelope in collector.of("window")),
        what=f"message {number} arrives",
    )
    eventually(lambda: device.held == 0, what="everything is confirmed")


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("silent", "no answer within 1 s"),
        ("reset", "connection"),
        ("half-open", "connection lost"),
    ],
)
def test_a_broken_way_is_told_and_mends(
    device: Device, collector: FakeCollector, proxy: Proxy, mode: Mode, said: str
) -> None:
    works(device, collector, 1)
    if mode == "silent":
        device.cut()  # so that it must connect anew
    proxy.become(mode)
    device.telemetry.emit(window(2), urgent=True)
    eventually(
        lambda: any(said in problem for problem in device.telemetry.stats.problems), what=f"it says {said}"
    )
    assert device.held >= 1
    proxy.become("through")
    if mode != "reset":
        device_wire_is_dead(proxy)
    works(device, collector, 3)
    assert sorted(set(collector.seqs(device.session))) == [1, 2, 3]


def device_wire_is_dead(proxy: Proxy) -> None:
    """What hung on the way is gone for good, as after a router's restart."""
    proxy.become("reset")
    proxy.become("through")


def test_a_slow_way_delivers(device: Device, collector: FakeCollector, proxy: Proxy) -> None:
    works(device, collector, 1)
    proxy.become("slow")
    for number in range(2, 12):
        device.telemetry.emit(window(number), urgent=True)
    works(device, collector, 12)
    assert sorted(set(collector.seqs(device.session))) == list(range(1, 13))


def test_in_changing_weather_nothing_is_lost(
    device: Device, collector: FakeCollector, proxy: Proxy, figure: Callable[..., None]
) -> None:
    chance, number = random.Random(4), 0
    modes: tuple[Mode, ...] = ("through", "silent", "reset", "slow", "half-open")
    for _ in range(WEATHER_CHANGES):
        proxy.become(chance.choice(modes))
        until = time.monotonic() + chance.uniform(0.05, 0.7)
        while time.monotonic() < until:
            number += 1
            device.telemetry.emit(window(number), urgent=number % 7 == 0)
            time.sleep(0.01)
    device_wire_is_dead(proxy)
    works(device, collector, number + 1)
    heard = collector.seqs(device.session)
    lost = set(range(1, number + 2)) - set(heard)
    figure("bad networks: messages lost", len(lost), "messages", target=0,
           detail=f"of {number + 1}, {WEATHER_CHANGES} changes, {proxy.accepted} connections; "
                  f"{len(heard) - len(set(heard))} repeated, dropped by the collector")  # fmt: skip
    assert not lost


class SimulatedTime:
    """Monotonic time that a test moves on, or lets run so many times as fast as the real one."""

    def __init__(self) -> None:
        self._base, self._since, self._speed = 1000.0, time.monotonic(), 0.0

    def __call__(self) -> float:
        return self._base + (time.monotonic() - self._since) * self._speed

    def pass_(self, seconds: float) -> None:
        self._base += seconds

    def run(self, speed: float) -> None:
        self._base, self._since, self._speed = self(), time.monotonic(), speed


@pytest.mark.timeout(120)
def test_three_days_without_a_broker_are_replayed_in_order(
    tmp_path: Path, figure: Callable[..., None]
) -> None:
    """Made and kept for 72 simulated hours; then the broker is back. How fast the replay is, is measured in
    true time; then time runs thirty times as fast, or this would take two minutes."""
    now = SimulatedTime()
    began = now()
    port = free_port()
    clock = make_clock(monotonic=now, wall=lambda: 1_767_225_600.0 + now())
    options = OutboxOptions()
    mqtt = MqttOptions(host="127.0.0.1", port=port, backoff_max_s=20)
    outbox = Outbox(
        tmp_path / "outbox.db", session="s", max_bytes=options.max_bytes,
        flush_interval_s=options.flush_interval_s, clock=now,
    )  # fmt: skip
    telemetry = Telemetry(
        letterhead=Letterhead(device=DEVICE, site=SITE, session="s", clock=clock), outbox=outbox,
        link=MqttLink(mqtt, client_id="litewatch-lab-cam-1"), mqtt=mqtt, options=options,
    )  # fmt: skip
    made_at: dict[int, float] = {}
    telemetry.start()
    number = 0
    while now() - began < HOURS * 3600:
        now.pass_(EVERY_S)
        number += 2
        telemetry.emit(window(number - 1))
        telemetry.emit(window(number))
        made_at |= {number - 1: now(), number: now()}
        if number % 48 == 0:
            number += 1
            telemetry.emit(_alarm(number), urgent=True)
            made_at[number] = now()
    telemetry.flush()
    now.run(1.0)
    back = now()
    broker = start_broker(tmp_path / "broker", port=port)
    collector = FakeCollector(broker)
    try:
        # At first it may send a second's worth at once.
        eventually(
            lambda: len(collector.seqs("s")) > 2 * REPLAY_PER_S, within_s=60, what="the replay goes on"
        )
        before, since = len(collector.seqs("s")), now()
        wait_quietly(REPLAY_S)
        rate = (len(collector.seqs("s")) - before) / (now() - since)
        now.run(SPEED)
        eventually(lambda: telemetry.stats.outbox.messages == 0, within_s=90, what="all confirmed")
        envelopes = sorted(
            (heard.envelope for heard in collector.heard if heard.envelope.seq > 0), key=lambda e: e.seq
        )
        order = list(dict.fromkeys(collector.seqs("s")))
    finally:
        telemetry.stop(2.0)
        collector.close()
        broker.stop()
    historical = {envelope.seq for envelope in envelopes if envelope.historical}
    aged = {seq for seq, at in made_at.items() if back - at > HISTORICAL_S + 5}
    lost = set(made_at) - set(order)
    disorder = sum(later < earlier for earlier, later in itertools.pairwise(order))
    figure("72 hours away: messages lost", len(lost), "messages", target=0, detail=f"of {number}")
    figure("72 hours away: out of order", disorder, "messages", target=0)
    figure("72 hours away: old ones not marked historical", len(aged - historical), "messages", target=0)
    figure("72 hours away: replay", round(rate, 1), "messages/s", target=1.1 * REPLAY_PER_S,
           detail=f"over {REPLAY_S:g} s, after the first second's worth")  # fmt: skip
    assert (lost, disorder, aged - historical) == (set(), 0, set())
    assert 0 < rate <= 1.1 * REPLAY_PER_S
    # Three days at default settings, without what was made at once.
    assert number > HOURS * 12 * 2


def _alarm(number: int) -> Alarm:
    return Alarm(
        alarm="drift", status="raised", severity="notice", cause="", summary="", evidence={"n": number}
    )
