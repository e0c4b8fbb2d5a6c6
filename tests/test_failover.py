"""The CPU takes over from a lost delegate, and gives back: with fakes for the order of things, with real
child processes and the stand-in for an Edge TPU for the rest."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
import tiny
from broker import eventually

from agent.contracts import Array, Runner, RunnerInfo, TensorSpec
from agent.errors import BundleError, DelegateError, FrameLostError
from agent.failover import FLAPS, MOST_S, STEADY_S, Failover, Patience
from agent.runtime.child import ChildRunner

INPUT = TensorSpec(name="in", shape=(1, 2), dtype="uint8", scale=0.5)
OUTPUT = TensorSpec(name="out", shape=(1,), dtype="uint8", scale=0.25)
TENSOR = np.array([[1, 2]], np.uint8)


class FakeRunner:
    """A runner that says who it is, and fails when told to."""

    def __init__(self, says: int, delegate: str, *, output: TensorSpec = OUTPUT) -> None:
        self.info = RunnerInfo(
            runtime="fake",
            version="1",
            delegate=delegate,
            kernels="builtin",
            threads=1,
            ops_total=1,
            ops_delegated=1,
        )
        self.input = INPUT
        self.outputs = (output,)
        self.says = says
        self.fails = ""
        self.closed = False

    def run(self, tensor: Array) -> tuple[Array, ...]:
        assert not self.closed
        if self.fails:
            raise DelegateError(self.fails)
        return (np.array([self.says], np.uint8),)

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeDevice:
    """What can be opened, again and again; ``absent`` says why not."""

    absent: str = ""
    output: TensorSpec = OUTPUT
    opened: list[FakeRunner] = field(default_factory=list)
    gate: threading.Event | None = None
    attempts: int = 0

    def open(self) -> Runner:
        self.attempts += 1
        if self.gate is not None:
            assert self.gate.wait(20)
        if self.absent:
            raise DelegateError(self.absent)
        runner = FakeRunner(7, "edgetpu", output=self.output)
        self.opened.append(runner)
        return runner


@dataclass
class Rig:
    device: FakeDevice
    problems: list[str | None] = field(default_factory=list)
    wrong: str = ""
    now_ns: int = 0
    cpu: FakeRunner = field(default_factory=lambda: FakeRunner(1, "cpu"))

    def make(self, **options: Any) -> Failover:
        given: dict[str, Any] = {
            "hardware": self.device.open,
            "cpu": lambda: self.cpu,
            "trial": lambda runner: self.wrong,
            "on_problem": self.problems.append,
            "now_ns": lambda: self.now_ns,
            "first_s": 0.01,
        }
        return Failover(**{**given, **options})


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[Failover, Rig]]]:
    all_made: list[tuple[Failover, Rig]] = []
    before = set(threading.enumerate())

    def make(rig: Rig | None = None, **options: Any) -> tuple[Failover, Rig]:
        rig = rig or Rig(FakeDevice())
        all_made.append((rig.make(**options), rig))
        return all_made[-1]

    yield make
    for failover, rig in all_made:
        if rig.device.gate is not None:
            rig.device.gate.set()
        failover.close()
        assert all(runner.closed for runner in rig.device.opened) and rig.cpu.closed
    assert not trying(before)


def trying(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads begun since ``before`` that open the delegate."""
    return [thread for thread in set(threading.enumerate()) - before if thread.name == "delegate"]


def said(failover: Failover) -> int:
    return int(failover.run(TENSOR)[0][0])


def test_the_delegate_serves_while_it_is_well(made) -> None:
    failover, rig = made()
    assert said(failover) == 7
    assert (failover.serving, failover.info.delegate, failover.failovers) == ("delegate", "edgetpu", 0)
    assert failover.away_since_ns is None
    assert rig.problems == []


def test_one_frame_is_lost_and_the_next_runs_on_the_cpu(made) -> None:
    failover, rig = made()
    rig.device.absent = "no device"
    rig.device.opened[0].fails = "delegate edgetpu: the USB device is gone"
    rig.now_ns = 5
    with pytest.raises(FrameLostError, match="the USB device is gone"):
        failover.run(TENSOR)
    assert said(failover) == 1
    assert (failover.serving, failover.info.delegate, failover.failovers) == ("cpu", "cpu", 1)
    assert failover.away_since_ns == 5
    assert rig.problems == ["delegate edgetpu: the USB device is gone; the CPU runs the model"]
    assert rig.device.opened[0].closed


def test_it_comes_back_by_itself(made) -> None:
    failover, rig = made()
    rig.device.absent = "no device"
    rig.device.opened[0].fails = "gone"
    with pytest.raises(FrameLostError):
        failover.run(TENSOR)
    eventually(lambda: rig.device.attempts >= 3)
    rig.device.absent = ""
    eventually(lambda: failover.serving == "delegate")
    assert said(failover) == 7
    assert failover.away_since_ns is None
    # An absent device is tried in silence: its reason was said.
    assert rig.problems == ["gone; the CPU runs the model", None]
    assert failover.failovers == 1


def test_absent_at_the_start(made) -> None:
    failover, rig = made(Rig(FakeDevice(absent="libedgetpu.so.1 is not installed"), now_ns=9))
    assert said(failover) == 1
    assert (failover.serving, failover.failovers, failover.away_since_ns) == ("cpu", 1, 9)
    assert rig.problems == ["libedgetpu.so.1 is not installed; the CPU runs the model"]
    rig.device.absent = ""
    eventually(lambda: said(failover) == 7)


def test_without_a_fallback_frames_are_lost_until_it_is_back(made) -> None:
    failover, rig = made(Rig(FakeDevice(absent="no device")), fallback="none")
    assert failover.input == INPUT and failover.outputs == (OUTPUT,)
    assert rig.cpu.closed, "the CPU's model is only asked for its tensors"
    for _ in range(2):
        with pytest.raises(FrameLostError, match="until the delegate is back"):
            failover.run(TENSOR)
    assert failover.serving == "none"
    assert rig.problems == ["no device; frames are lost until it is back"]
    rig.device.absent = ""
    eventually(lambda: failover.serving == "delegate")
    assert said(failover) == 7


def test_without_a_cpu_model_the_delegate_must_be_there_at_the_start() -> None:
    rig = Rig(FakeDevice(absent="no device"))
    with pytest.raises(DelegateError, match="no device"):
        rig.make(cpu=None)


def test_what_is_wrong_does_not_serve_and_does_not_come_back(made) -> None:
    failover, rig = made(Rig(FakeDevice(), wrong="golden input 'a' is wrong"))
    assert failover.serving == "cpu"
    assert rig.device.opened[0].closed
    eventually(lambda: rig.device.attempts >= 3)
    assert failover.serving == "cpu"
    wrong = "delegate edgetpu: golden input 'a' is wrong; the CPU runs the model"
    assert set(rig.problems) == {wrong}
    rig.wrong = ""
    eventually(lambda: failover.serving == "delegate")
    assert rig.problems[-1] is None


def test_distrust(made) -> None:
    failover, rig = made()
    rig.wrong = "still wrong"
    failover.distrust("golden input 'a' was not repeated")
    assert said(failover) == 1
    assert rig.problems[0] == "golden input 'a' was not repeated; the CPU runs the model"
    eventually(lambda: rig.device.attempts >= 2)
    failover.distrust("says the canary of the CPU")
    assert failover.failovers == 1
    rig.wrong = ""
    eventually(lambda: failover.serving == "delegate")


def test_twins_with_other_tensors_are_refused() -> None:
    rig = Rig(FakeDevice(output=replace(OUTPUT, scale=0.5, shape=(1, 1))))
    with pytest.raises(BundleError) as caught:
        rig.make()
    assert caught.value.problems == (
        "model: with the delegate its output 0 is uint8 (1, 1), scale 0.5, zero point 0, "
        "on the CPU uint8 (1,), scale 0.25, zero point 0",
    )
    assert rig.cpu.closed and rig.device.opened[0].closed


def test_twins_may_name_their_tensors_otherwise(made) -> None:
    failover, _ = made(Rig(FakeDevice(output=replace(OUTPUT, name="tpu/out", scale=0.25000001))))
    assert failover.serving == "delegate"
    assert failover.outputs == (OUTPUT,)


def test_a_twin_that_appears_later_with_other_tensors_stays_away(made) -> None:
    failover, rig = made(Rig(FakeDevice(absent="no device", output=replace(OUTPUT, dtype="int8"))))
    rig.device.absent = ""
    eventually(lambda: any("its output 0 is int8" in (problem or "") for problem in rig.problems))
    assert failover.serving == "cpu"
    rig.device.absent = "no device"


def test_lent_and_taken_back(made) -> None:
    before = set(threading.enumerate())
    failover, rig = made()
    failover.lend()
    assert rig.device.opened[0].closed, "the device is free"
    assert said(failover) == 1
    assert (failover.serving, failover.failovers) == ("cpu", 0)
    assert rig.problems == ["lent to another program; the CPU runs the model"]
    assert not trying(before), "nobody reaches for it meanwhile"
    failover.take_back()
    eventually(lambda: said(failover) == 7)
    assert rig.problems[-1] is None


def test_a_device_that_was_away_is_lent_as_well(made) -> None:
    failover, rig = made(Rig(FakeDevice(absent="no device")))
    failover.lend()
    attempts = rig.device.attempts
    failover.take_back()
    eventually(lambda: rig.device.attempts > attempts)
    # Back from the other program it is still away, and says why.
    eventually(lambda: rig.problems[-1] == "no device; the CPU runs the model")


def test_take_back_without_lend_changes_nothing(made) -> None:
    failover, rig = made()
    failover.take_back()
    assert rig.device.attempts == 1 and said(failover) == 7


def test_a_device_that_is_being_opened_is_not_lent(made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.failover.LEND_WITHIN_S", 0.05)
    failover, rig = made()
    rig.device.gate = threading.Event()
    failover.distrust("wrong")
    eventually(lambda: rig.device.attempts == 2)
    with pytest.raises(DelegateError, match="try again"):
        failover.lend()
    rig.device.gate.set()
    eventually(lambda: failover.serving == "delegate")
    failover.lend()
    assert failover.serving == "cpu"


def test_close_while_it_is_being_opened_leaves_nothing_open(made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.failover.CLOSE_WITHIN_S", 0.05)
    failover, rig = made()
    rig.device.gate = threading.Event()
    failover.distrust("wrong")
    eventually(lambda: rig.device.attempts == 2)
    failover.close()
    rig.device.gate.set()
    eventually(lambda: len(rig.device.opened) == 2 and rig.device.opened[1].closed)
    assert failover.serving == "cpu"


def test_a_defect_of_the_wrapper_does_not_end_the_attempts(made) -> None:
    rig = Rig(FakeDevice(absent="no device"))
    broken = [RuntimeError("a defect")]

    def hardware() -> Runner:
        if rig.device.attempts and broken:
            raise broken.pop()
        return rig.device.open()

    failover, _ = made(rig, hardware=hardware)
    rig.device.absent = ""
    eventually(lambda: failover.serving == "delegate")
    assert not broken


def test_the_cpus_own_failure_is_not_hidden(made) -> None:
    failover, rig = made(Rig(FakeDevice(absent="no device")))
    rig.cpu.fails = "out of memory"
    with pytest.raises(DelegateError, match="out of memory"):
        failover.run(TENSOR)


def test_patience() -> None:
    patience = Patience(1.0)
    assert [patience.next_s() for _ in range(6)] == [1, 2, 4, 8, MOST_S, MOST_S]
    patience.served(STEADY_S)
    assert patience.next_s() == 1, "what has served a minute begins anew"
    patience.served(1.0)
    assert patience.next_s() == 2, "what comes and goes does not"


def test_patience_with_what_never_stays() -> None:
    patience = Patience(1.0)
    for _ in range(10):
        patience.next_s()
    for _ in range(FLAPS):
        patience.served(3.0)
    assert patience.next_s() == MOST_S
    patience.untrue()
    assert patience.next_s() == 2 * MOST_S
    for _ in range(20):
        patience.served(3.0)
    assert patience.next_s() == 300
    patience.served(STEADY_S)
    assert patience.next_s() == 1


@dataclass
class Real:
    """The stand-in behind a Failover, broken and healed through its switch."""

    failover: Failover
    switch: Path
    problems: list[str | None]
    children: list[ChildRunner]
    right: Array
    pictures: list[Array]

    def say(self, word: str) -> None:
        """Whole or not at all: the library reads it at any time."""
        new = self.switch.with_suffix(".new")
        new.write_text(word)
        new.replace(self.switch)


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    library = standin.library()
    switch = tmp_path / "switch"
    switch.write_text("ok")
    cpu = tiny.runner(tiny.CLASSIFIER)
    pictures = list(np.random.default_rng(3).integers(0, 256, (4, *cpu.input.shape), np.uint8))
    rights = [cpu.run(picture)[0] for picture in pictures]
    children: list[ChildRunner] = []
    problems: list[str | None] = []

    def hardware() -> Runner:
        children.append(standin.child(library, timeout_s=0.5, switch=str(switch)))
        return children[-1]

    def trial(runner: Runner) -> str:
        pairs = zip(pictures, rights, strict=True)
        return "" if all(np.array_equal(runner.run(p)[0], r) for p, r in pairs) else "its answers are wrong"

    failover = Failover(
        hardware=hardware,
        cpu=lambda: tiny.runner(tiny.CLASSIFIER),
        trial=trial,
        on_problem=problems.append,
        now_ns=time.monotonic_ns,
        first_s=0.05,
    )
    yield Real(failover, switch, problems, children, rights[0], pictures)
    failover.close()
    cpu.close()
    assert all(_gone(child.pid) for child in children)


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("how", "cause"),
    [("fail", "running the model failed"), ("hang", "no answer within 0.5 s"), ("segfault", "SIGSEGV")],
)
def test_a_real_delegate_is_lost_and_comes_back(real: Real, how: str, cause: str) -> None:
    failover, picture = real.failover, real.pictures[0]
    assert failover.serving == "delegate"
    assert np.array_equal(failover.run(picture)[0], real.right)
    real.say(how)
    with pytest.raises(FrameLostError, match=cause):
        failover.run(picture)
    assert failover.serving == "cpu" and failover.info.delegate == "cpu"
    assert np.array_equal(failover.run(picture)[0], real.right)
    assert _gone(real.children[0].pid)
    assert cause in str(real.problems[0])
    real.say("ok")
    eventually(lambda: failover.serving == "delegate")
    assert failover.info.delegate == "external" and failover.info.ops_delegated == 1
    assert np.array_equal(failover.run(picture)[0], real.right)
    assert real.problems[-1] is None


@pytest.mark.runtime
def test_a_real_delegate_that_computes_wrongly_stays_away(real: Real) -> None:
    real.say("wrong")
    real.failover.distrust("not repeated")
    eventually(lambda: any("its answers are wrong" in (problem or "") for problem in real.problems))
    assert real.failover.serving == "cpu"
    real.say("ok")
    eventually(lambda: real.failover.serving == "delegate")


@pytest.mark.runtime
def test_a_real_device_is_free_while_it_is_lent(real: Real) -> None:
    real.failover.lend()
    assert _gone(real.children[0].pid)
    real.failover.take_back()
    eventually(lambda: real.failover.serving == "delegate")
