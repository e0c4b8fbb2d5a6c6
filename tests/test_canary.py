"""The canary on a live runner: when it runs, what it tells, and what follows."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
import standin
import tiny
import twins
from broker import eventually

from agent.blessings import BlessingsFile
from agent.bundle import Bundle, load
from agent.canary import Canary
from agent.canary_inputs import canary_inputs
from agent.contracts import Array, Runner, RunnerInfo, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.errors import FrameLostError
from agent.failover import Failover
from agent.monitor.blessing import NOISES, REPEATS
from agent.monitor.blessings import Blessings
from agent.monitor.canary import CanaryInput, CanaryOptions, Key
from agent.runtime.cpu import Cpu
from agent.runtime.external import External
from agent.runtime.setup import setup_of
from agent.telemetry.messages import Alarm, Body

S = 1_000_000_000
INPUT = TensorSpec(name="in", shape=(1, 2), dtype="uint8")
SCORES = TensorSpec(name="scores", shape=(1, 2), dtype="uint8", scale=1 / 256)
COUNT = 3
UNTIL_BLESSED = COUNT * (1 + REPEATS + NOISES)
CPU = RunnerInfo(
    runtime="fake", version="1", delegate="cpu", kernels="builtin", threads=1, ops_total=1, ops_delegated=0
)
TPU = replace(CPU, delegate="edgetpu", ops_delegated=1)


def model(tensor: Array) -> Array:
    first = int(tensor.astype(int).sum()) // 2
    return np.array([[first, 255 - first]], np.uint8)


def golden() -> list[CanaryInput]:
    tensors = [np.full((1, 2), 50 + 10 * number, np.uint8) for number in range(COUNT)]
    return [
        CanaryInput(name=f"{number}.png", tensor=tensor, outputs=(model(tensor),), level=np.float64(1))
        for number, tensor in enumerate(tensors)
    ]


@dataclass
class FakeMachine:
    """A runner: ``wrong`` adds to every first score; ``lost`` loses the frame."""

    info: RunnerInfo = CPU
    wrong: int = 0
    lost: bool = False
    becomes: RunnerInfo | None = None
    ran: list[int] = field(default_factory=list)
    input: TensorSpec = INPUT
    outputs: tuple[TensorSpec, ...] = (SCORES,)

    def run(self, tensor: Array) -> tuple[Array, ...]:
        if self.lost:
            raise FrameLostError("lost")
        if self.becomes is not None:
            self.info, self.becomes = self.becomes, None
        self.ran.append(int(tensor[0, 0]))
        answer = model(tensor)
        answer[0, 0] += self.wrong
        return (answer,)

    def close(self) -> None: ...


@dataclass
class MemoryStore:
    kept: Blessings = field(default_factory=Blessings)
    saves: int = 0

    def load(self) -> Blessings:
        return self.kept

    def save(self, blessings: Blessings) -> None:
        self.kept = blessings
        self.saves += 1


@dataclass
class Rig:
    machine: FakeMachine = field(default_factory=FakeMachine)
    store: MemoryStore = field(default_factory=MemoryStore)
    alarms: list[Alarm] = field(default_factory=list)
    urgent: list[bool] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    problems: list[str | None] = field(default_factory=list)
    now_ns: int = 0

    def emit(self, body: Body, *, urgent: bool = False) -> None:
        assert isinstance(body, Alarm)
        self.alarms.append(body)
        self.urgent.append(urgent)

    def canary(self, **options: Any) -> Canary:
        given: dict[str, Any] = {
            "golden": golden(),
            "runner": self.machine,
            "decoder": ClassificationDecoder(values="scores"),
            "key": lambda info: Key.of(info, model_sha256=info.delegate, cpu="this"),
            "store": self.store,
            "options": CanaryOptions(),
            "sink": self,
            "on_mismatch": self.mismatches.append,
            "on_problem": self.problems.append,
        }
        return Canary(**{**given, **options})

    def ticks(self, canary: Canary, seconds: int, *, idle: bool = True) -> list[int]:
        """Tick ten times a second; at which seconds (rounded down) it ran."""
        ran = []
        for _ in range(10 * seconds):
            before = canary.runs
            canary.tick(self.now_ns, idle=idle)
            ran += [self.now_ns // S] * (canary.runs - before)
            self.now_ns += S // 10
        return ran

    def blessed_canary(self, **options: Any) -> Canary:
        canary = self.canary(**options)
        self.ticks(canary, UNTIL_BLESSED)
        assert canary.blessed == COUNT
        return canary


def test_it_is_blessed_within_seconds_and_then_runs_once_a_minute_in_turn() -> None:
    rig = Rig()
    canary = rig.canary()
    assert canary.blessed == 0
    assert rig.ticks(canary, UNTIL_BLESSED) == list(range(UNTIL_BLESSED))
    assert canary.blessed == COUNT and rig.store.saves == 1
    first = UNTIL_BLESSED - 1
    rig.machine.ran.clear()
    assert rig.ticks(canary, 250) == [first + 60, first + 120, first + 180, first + 240]
    assert rig.machine.ran == [50, 60, 70, 50]
    assert (canary.runs, canary.mismatches, rig.alarms) == (UNTIL_BLESSED + 4, 0, [])


def test_it_prefers_idle_time_and_waits_no_longer_than_twice_the_interval() -> None:
    rig = Rig()
    canary = rig.blessed_canary()
    last_s = UNTIL_BLESSED - 1
    assert rig.ticks(canary, 110, idle=False) == []
    assert rig.ticks(canary, 1, idle=True) == [rig.now_ns // S - 1], "the first idle moment after it is due"
    last_s = rig.now_ns // S - 1
    assert rig.ticks(canary, 250, idle=False) == [last_s + 120, last_s + 240]


def test_a_busy_device_is_blessed_as_well() -> None:
    rig = Rig()
    canary = rig.canary()
    rig.ticks(canary, 2 * UNTIL_BLESSED + 1, idle=False)
    assert canary.blessed == COUNT


def test_off() -> None:
    rig = Rig()
    assert rig.ticks(rig.canary(options=CanaryOptions(interval_s=0)), 200) == []


def test_blessings_outlive_a_restart() -> None:
    rig = Rig()
    rig.blessed_canary()
    rig.machine.wrong = 1
    again = rig.canary()
    assert again.blessed == COUNT
    rig.ticks(again, 1)
    assert again.mismatches == 1


def test_a_mismatch_is_a_hardware_alarm_raised_once_and_cleared_after_all_came_right_twice() -> None:
    rig = Rig()
    canary = rig.blessed_canary()
    rig.machine.wrong = 2
    rig.ticks(canary, 300)
    assert (canary.mismatches, canary.alarmed) == (5, True)
    assert rig.alarms == [
        Alarm(
            alarm="hardware",
            status="raised",
            severity="critical",
            cause="hardware",
            summary="cpu no longer repeats its own answers: golden input '0.png', "
            "output 'scores': 1 of 2 values differ, by up to 2 levels",
            evidence={"values": 2.0, "differing": 1.0, "largest": 2.0},
            top=("0.png",),
        )
    ]
    assert (
        rig.mismatches[0] == "golden input '0.png', output 'scores': 1 of 2 values differ, by up to 2 levels"
    )
    assert len(rig.mismatches) == 5
    rig.machine.wrong = 0
    rig.ticks(canary, 60)
    assert len(rig.alarms) == 1
    rig.ticks(canary, 2 * COUNT)
    assert [alarm.status for alarm in rig.alarms] == ["raised", "cleared"]
    assert rig.alarms[1].summary == "cpu: all 3 golden inputs came right twice"
    assert rig.urgent == [True, True]
    assert not canary.alarmed


def test_one_wrong_answer_among_right_ones_begins_the_count_anew() -> None:
    rig = Rig()
    canary = rig.blessed_canary()
    rig.machine.wrong = 1
    rig.ticks(canary, 60)
    rig.machine.wrong = 0
    while len(rig.machine.ran) < UNTIL_BLESSED + 1 + 2 * COUNT - 1:
        rig.ticks(canary, 1)
    rig.machine.wrong = 1
    rig.ticks(canary, 1)
    rig.machine.wrong = 0
    rig.ticks(canary, 59)
    assert len(rig.alarms) == 1 and canary.mismatches == 2
    rig.ticks(canary, 60 + 2 * COUNT)
    assert [alarm.status for alarm in rig.alarms] == ["raised", "cleared"]


def test_a_faulty_device_is_never_blessed_and_says_so() -> None:
    rig = Rig(machine=FakeMachine(wrong=100))
    canary = rig.canary()
    rig.ticks(canary, UNTIL_BLESSED)
    assert canary.blessed == 0 and rig.store.saves == 0 and rig.alarms == []
    problem = str(rig.problems[-1])
    assert problem.startswith("cpu is not blessed: the answers lie ") and problem.endswith("litewatch check")
    # It is asked again at the ordinary pace, and heals.
    rig.machine.wrong = 0
    assert len(rig.ticks(canary, 240)) == 4
    rig.ticks(canary, 60 * UNTIL_BLESSED)
    assert canary.blessed == COUNT and rig.problems[-1] is None


def test_each_way_of_computing_has_its_own_blessing() -> None:
    """The delegate fails the canary; while the CPU serves, its right answers do not clear the alarm."""
    rig = Rig(machine=FakeMachine(info=TPU))
    canary = rig.blessed_canary()
    rig.machine.wrong = 1
    rig.ticks(canary, 60)
    assert [alarm.status for alarm in rig.alarms] == ["raised"]
    rig.machine.info, rig.machine.wrong = CPU, 0
    assert canary.blessed == 0
    rig.ticks(canary, 60 + UNTIL_BLESSED + 60 * 2 * COUNT)
    assert canary.blessed == COUNT and len(rig.store.kept.known) == 2
    assert len(rig.alarms) == 1 and canary.alarmed
    rig.machine.info = TPU
    rig.ticks(canary, 60 + 2 * COUNT)
    assert [alarm.status for alarm in rig.alarms] == ["raised", "cleared"]


def test_an_answer_of_another_runner_than_asked_is_no_mismatch() -> None:
    """The delegate comes back on its own thread, also between question and answer."""
    rig = Rig(machine=FakeMachine(info=TPU))
    canary = rig.blessed_canary()
    rig.machine.becomes = CPU
    rig.machine.wrong = 1  # the CPU rounds otherwise
    rig.ticks(canary, 60)
    assert (canary.mismatches, rig.alarms) == (0, [])
    assert rig.machine.info == CPU


def test_a_lost_frame_is_not_the_canarys_to_tell() -> None:
    rig = Rig()
    canary = rig.blessed_canary()
    rig.machine.lost = True
    assert rig.ticks(canary, 200) == []
    assert (canary.mismatches, rig.alarms) == (0, [])
    with pytest.raises(FrameLostError):
        canary.run_all()


def test_run_all_blesses_and_reports() -> None:
    rig = Rig()
    canary = rig.canary()
    report = canary.run_all()
    assert (report.delegate, report.inputs, report.runs) == ("cpu", COUNT, UNTIL_BLESSED + COUNT)
    assert (report.blessed, report.mismatches, report.refused) == (COUNT, (), "")
    rig.machine.wrong = 1
    report = canary.run_all()
    assert report.runs == COUNT and len(report.mismatches) == COUNT
    assert (
        report.mismatches[2]
        == "golden input '2.png', output 'scores': 1 of 2 values differ, by up to 1 levels"
    )
    assert [alarm.status for alarm in rig.alarms] == ["raised"]


def test_run_all_on_a_faulty_device() -> None:
    report = Rig(machine=FakeMachine(wrong=100)).canary().run_all()
    assert (report.blessed, report.runs) == (0, UNTIL_BLESSED)
    assert report.refused.startswith("the answers lie ")


def test_forget_begins_anew_by_the_same_rules() -> None:
    rig = Rig()
    canary = rig.blessed_canary()
    rig.machine.wrong = 1
    rig.ticks(canary, 60)
    canary.forget()
    assert [alarm.status for alarm in rig.alarms] == ["raised", "cleared"]
    assert canary.blessed == 0 and rig.store.kept == Blessings()
    rig.machine.wrong = 100
    rig.ticks(canary, UNTIL_BLESSED)
    assert canary.blessed == 0
    rig.machine.wrong = 0
    canary.forget()
    rig.ticks(canary, UNTIL_BLESSED)
    assert canary.blessed == COUNT


def test_trial_of_a_delegate_that_wants_to_come_back() -> None:
    rig = Rig(machine=FakeMachine(info=TPU))
    canary = rig.canary()
    assert canary.trial(FakeMachine(info=TPU)) == ""
    assert canary.trial(FakeMachine(info=TPU, wrong=1)) == "", "rounding, as far as is known"
    assert canary.trial(FakeMachine(info=TPU, wrong=100)).startswith("its answers are not the recorded ones")
    rig.ticks(canary, UNTIL_BLESSED)
    assert canary.trial(FakeMachine(info=TPU)) == ""
    assert canary.trial(FakeMachine(info=TPU, wrong=1)) == (
        "golden input '0.png', output 'scores': 1 of 2 values differ, by up to 1 levels"
    )
    assert canary.runs == UNTIL_BLESSED, "a trial is not a run of the canary"


def test_without_golden_tensors_there_is_no_canary() -> None:
    with pytest.raises(ValueError, match="no golden tensors"):
        Rig().canary(golden=[])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load(standin.standin_bundle(tmp_path_factory.mktemp("standin")), most_golden=8)


def test_the_tensors_of_a_bundle(bundle: Bundle) -> None:
    tensor = TensorSpec(name="in", shape=(1, 8, 8, 3), dtype="uint8")
    found = canary_inputs(bundle, tensor, count=5)
    assert [given.name for given in found] == [given.name for given in bundle.golden.inputs[:5]]
    for given, recorded in zip(found, bundle.golden.inputs, strict=False):
        assert recorded.tensor is not None and given.sha256 == recorded.tensor.sha256
        assert np.array_equal(given.outputs[0], recorded.outputs[0])
        assert given.level == 1
    assert len(canary_inputs(bundle, tensor, count=64)) == len(bundle.golden.inputs)


def test_a_bundle_of_readings(tmp_path: Path) -> None:
    bundle = load(bundles.make_bundle(tmp_path, vectors=True))
    runner = tiny.runner(tiny.LINEAR)
    found = canary_inputs(bundle, runner.input, count=8)
    assert len(found) == min(8, len(bundle.golden.inputs))
    rig = Rig(machine=runner)  # type: ignore[arg-type]  # a real one in the fake's place
    report = rig.canary(golden=found, decoder=bundle.decoder).run_all()
    assert (report.blessed, report.mismatches, report.refused) == (len(found), (), "")
    runner.close()


@pytest.mark.runtime
@pytest.mark.parametrize("kernels", ["auto", "builtin", "reference"])
def test_every_family_of_kernels_is_blessed_on_a_real_network(tmp_path: Path, kernels: Any) -> None:
    bundle = load(bundles.make_golden_bundle(tmp_path), most_golden=8)
    runner = tiny.runner(tiny.TWIN_INT8, kernels=kernels)
    rig = Rig(machine=runner)  # type: ignore[arg-type]  # a real one in the fake's place
    found = canary_inputs(bundle, runner.input, count=8)
    store = BlessingsFile(tmp_path / "blessings.bin")
    canary = rig.canary(golden=found, decoder=bundle.decoder, store=store)
    assert canary.run_all().refused == ""
    again = rig.canary(golden=found, decoder=bundle.decoder, store=store)
    assert again.blessed == 8 and again.run_all().mismatches == ()
    runner.close()


@pytest.mark.runtime
def test_another_model_of_the_same_form_is_not_blessed(tmp_path: Path) -> None:
    """As weights that were damaged before the first start."""
    bundle = load(bundles.make_golden_bundle(tmp_path), most_golden=8)
    tensors = twins.graph(tiny.TWIN_INT8).tensors
    largest = max(range(len(tensors)), key=lambda number: len(tensors[number].content))
    weights = np.frombuffer(tensors[largest].content, np.int8).copy()
    weights[: weights.size // 2] = 0
    runner = tiny.runner(twins.with_weights(tiny.TWIN_INT8, largest, weights))
    found = canary_inputs(bundle, runner.input, count=8)
    rig = Rig(machine=runner)  # type: ignore[arg-type]  # a real one in the fake's place
    report = rig.canary(golden=found, decoder=bundle.decoder).run_all()
    assert report.blessed == 0 and "times as far from the recorded ones" in report.refused
    runner.close()


@pytest.mark.runtime
def test_a_tpu_that_begins_to_miscompute(bundle: Bundle, tmp_path: Path) -> None:
    """One bit of one output: no accuracy is lost, no drift to be seen; the canary fails over."""
    switch = tmp_path / "switch"
    say: Callable[[str], object] = switch.write_text
    say("ok")
    rig = Rig()
    late: list[Canary] = []

    def trial(runner: Runner) -> str:
        return late[0].trial(runner) if late else ""

    failover = Failover(
        hardware=lambda: standin.child(standin.library(), switch=str(switch)),
        cpu=lambda: tiny.runner(tiny.CLASSIFIER),
        trial=trial,
        on_problem=rig.problems.append,
        now_ns=lambda: rig.now_ns,
        first_s=0.05,
    )
    canary = rig.canary(
        golden=canary_inputs(bundle, failover.input, count=COUNT),
        runner=failover,
        decoder=bundle.decoder,
        on_mismatch=failover.distrust,
    )
    late.append(canary)
    assert failover.serving == "delegate"
    assert canary.run_all().blessed == COUNT
    say("off_by_one")
    report = canary.run_all()
    assert len(report.mismatches) == 1
    assert failover.serving == "cpu"
    assert "1 of 4 values differ, by up to 1 levels; the CPU runs the model" in str(rig.problems[-1])
    assert [alarm.cause for alarm in rig.alarms] == ["hardware"]
    # It is tried again, and stays away as long as it is wrong.
    eventually(lambda: any("delegate external: golden input" in (said or "") for said in rig.problems))
    assert failover.serving == "cpu"
    say("ok")
    eventually(lambda: failover.serving == "delegate")
    rig.ticks(canary, 60 + 2 * COUNT)
    assert [alarm.status for alarm in rig.alarms] == ["raised", "cleared"]
    failover.close()


def test_another_option_or_library_of_a_delegate_is_another_way_of_computing(tmp_path: Path) -> None:
    library = tmp_path / "libx.so"
    library.write_bytes(b"one")
    first = setup_of(External(library=str(library)))
    assert setup_of(External(library=str(library))) == first
    assert setup_of(External(library=str(library), options={"fast": True})) != first
    library.write_bytes(b"two")
    assert setup_of(External(library=str(library))) != first
    assert setup_of(Cpu()) == ""
