"""A runner in a child process: the same answers, and whatever kills it costs the agent one frame."""

import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import standin
import tiny
from broker import eventually
from contract_delegate import DelegateContract, image

from agent.contracts import Runner, TensorSpec
from agent.errors import BundleError, DelegateError
from agent.runtime.child import ChildRunner
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.delegate_probe import probe_delegate
from agent.runtime.external import External
from agent.runtime.flatbuffer import check
from agent.runtime.opening import open_delegate

pytestmark = pytest.mark.runtime

ROOT = Path(__file__).resolve().parent.parent
RED = image(200, 60, 0)


class TestCpuInAChild(DelegateContract):
    kind = "cpu"

    def open(self, model: bytes, *, threads: int = 1) -> Runner:
        check(model)
        return ChildRunner(self.delegate(), model, runtime=tiny.runtime(), threads=threads, timeout_s=60)


@pytest.fixture
def library() -> Path:
    return standin.library()


def ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()  # a zombie still has its folder


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(Path("/dev/shm").iterdir())
    yield
    assert set(Path("/dev/shm").iterdir()) <= before


# The stand-in's answers are the CPU's.


def test_the_stand_in_gives_the_answers_of_the_reference_kernels(
    library: Path, rng: np.random.Generator
) -> None:
    cpu, device = tiny.runner(tiny.CLASSIFIER, kernels="reference"), standin.child(library)
    assert (device.input, device.outputs) == (cpu.input, cpu.outputs)
    assert (device.info.delegate, device.info.ops_delegated, device.info.ops_total) == ("external", 1, 1)
    for picture in rng.integers(0, 256, (50, 1, 8, 8, 3)).astype(np.uint8):
        assert np.array_equal(device.run(picture)[0], cpu.run(picture)[0])
    device.close()


# What ends a child.

BROKEN = [
    ({"fail_after": 2}, r"running the model failed: stand-in: the device was lost at invoke 2.*"),
    ({"segfault_after": 2}, r"running the model: killed by signal 11 \(SIGSEGV\).*"),
    ({"hang_after": 2}, r"running the model: no answer within 0\.5 s"),
]


@pytest.mark.parametrize(("options", "cause"), BROKEN, ids=["fail", "segfault", "hang"])
def test_a_device_that_breaks_ends_the_child_and_says_how(
    library: Path, options: dict[str, Any], cause: str
) -> None:
    runner = standin.child(library, timeout_s=0.5, **options)
    assert runner.run(RED)[0].argmax() == 1  # invoke 1; the trial run was invoke 0
    with pytest.raises(DelegateError, match=rf"^delegate external: {cause}$"):
        runner.run(RED)
    assert ended(runner.pid)
    with pytest.raises(DelegateError, match=rf"^this runner is closed: delegate external: {cause}$"):
        runner.run(RED)
    runner.close()


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"refuse_create": 1}, r"Failed to load delegate from \S+ stand-in: refused as asked"),
        (
            {"claim_nothing": True},
            r"it took over 0 of the model's 1 operators and left edgetpu-custom-op, which .*",
        ),
        ({"fail_after": 0}, r"running the model failed: stand-in: the device was lost at invoke 0.*"),
        ({"segfault_after": 0}, r"opening the model: killed by signal 11 \(SIGSEGV\).*"),
    ],
)
def test_a_delegate_that_does_not_work_is_refused_at_opening(
    library: Path, options: dict[str, Any], cause: str
) -> None:
    with pytest.raises(DelegateError, match=rf"^delegate external: {cause}$"):
        standin.child(library, **options)


def test_a_delegate_that_claims_nothing_is_no_silent_run_on_the_cpu(library: Path) -> None:
    message = "delegate external: it took over 0 of the model's 3 operators; give it a model made for it, or"
    with pytest.raises(DelegateError) as caught:
        External(library=str(library)).open(tiny.CLASSIFIER, runtime=tiny.runtime(), threads=1)
    assert str(caught.value).startswith(message)


def test_a_device_that_hangs_at_opening_is_given_up(library: Path) -> None:
    hanging = standin.external(library, hang_after=0)
    with pytest.raises(DelegateError, match=r"^delegate external: opening the model: no answer within 2 s$"):
        ChildRunner(hanging, tiny.EDGETPU, runtime=tiny.runtime(), threads=1, timeout_s=1, opening_s=2.0)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("libnone.so.9", r"libnone\.so\.9: cannot open shared object file: .*; name an installed library .*"),
        ("libm.so.6", r"libm\.so\.6 is no TFLite delegate \(it lacks tflite_plugin_create_delegate\)"),
    ],
)
def test_a_library_that_is_none_is_named(path: str, cause: str) -> None:
    problem = probe_delegate(External(library=path), None, runtime=tiny.runtime())
    assert re.fullmatch(f"delegate external: {cause}", problem)


def test_a_running_device_is_broken_and_healed_by_its_switch(library: Path, tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    runner = standin.child(library, switch=str(switch))
    right = runner.run(RED)[0]
    switch.write_text("off_by_one")
    assert (runner.run(RED)[0] != right).tolist() == [[True, False, False, False]]
    switch.write_text("wrong")
    assert np.array_equal(np.roll(runner.run(RED)[0], 1), right)
    switch.write_text("absent")
    with pytest.raises(DelegateError, match="the device was lost"):
        runner.run(RED)
    with pytest.raises(DelegateError, match="stand-in: no device is there"):
        standin.child(library, switch=str(switch))
    switch.write_text("ok")
    healed = standin.child(library, switch=str(switch))
    assert np.array_equal(healed.run(RED)[0], right)
    healed.close()


def test_a_child_killed_while_idle_is_noticed_at_the_next_run(library: Path) -> None:
    runner = standin.child(library)
    os.kill(runner.pid, signal.SIGKILL)
    with pytest.raises(DelegateError, match=r"running the model: killed by signal 9 \(SIGKILL\)"):
        runner.run(RED)
    assert ended(runner.pid)


def test_a_child_is_deaf_to_the_signals_of_the_terminal_and_of_systemd(library: Path) -> None:
    runner = standin.child(library)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(runner.pid, number)
    assert runner.run(RED)[0].argmax() == 1
    runner.close()


def test_closing_from_another_thread_frees_a_run_that_hangs(library: Path) -> None:
    runner = standin.child(library, hang_after=1, timeout_s=60)
    said: list[str] = []

    def hang() -> None:
        try:
            runner.run(RED)
        except DelegateError as error:
            said.append(str(error))

    thread = threading.Thread(target=hang)
    thread.start()
    runner.close()
    thread.join(30)
    assert not thread.is_alive() and ended(runner.pid)
    assert said == ["this runner is closed"]


def test_nothing_is_left_of_children_that_ended_in_every_way(library: Path) -> None:
    standin.child(library).close()  # what is opened once and for all is open now
    before = len(list(Path("/proc/self/fd").iterdir()))
    pids = []
    for options, _ in BROKEN[:2] * 2:
        runner = standin.child(library, **options)
        pids.append(runner.pid)
        with pytest.raises(DelegateError):
            [runner.run(RED) for _ in range(3)]
    closed, forgotten = standin.child(library), standin.child(library)
    pids += [closed.pid, forgotten.pid]
    closed.close()
    gone = weakref.ref(forgotten)
    del forgotten, closed, runner
    assert gone() is None
    assert all(map(ended, pids))
    # Fewer when something else of this process was let go meanwhile.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


PARENT = """
import sys, time
sys.path[:0] = [{tests!r}, {root!r}]
import threading, numpy as np, standin
from pathlib import Path
made = []
# Opened by a thread that has ended: the child's life hangs on the process, not on the thread.
options = dict({options!r}, timeout_s=600)
thread = threading.Thread(target=lambda: made.append(standin.child(Path({library!r}), **options)))
thread.start()
thread.join()
print(made[0].pid, flush=True)
made[0].run(np.zeros((1, 8, 8, 3), np.uint8))
print("ran", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("options", [{}, {"hang_after": 1}], ids=["idle", "inside the driver"])
def test_a_child_dies_with_its_parent(library: Path, options: dict[str, Any]) -> None:
    code = PARENT.format(tests=str(ROOT / "tests"), root=str(ROOT), library=str(library), options=options)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if not options:
            assert parent.stdout.readline() == "ran\n"
        assert Path(f"/proc/{child}").exists()
    finally:
        parent.kill()
        parent.communicate(timeout=60)
    # Its new parent reaps it; one that does not is the container's affair.
    eventually(lambda: _dead(child), within_s=30)


def _dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


HARDENED = """
import ctypes, mmap, sys
sys.path[:0] = [{tests!r}, {root!r}]
PR_SET_MDWE = 65
if ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0):
    print("unknown to this kernel")
    raise SystemExit
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    import numpy as np, standin
    from pathlib import Path
    runner = standin.child(Path({library!r}))
    print(runner.run(np.full((1, 8, 8, 3), (200, 60, 0), np.uint8))[0].argmax())
"""


def test_it_runs_where_memory_that_was_written_cannot_be_executed(library: Path) -> None:
    # What systemd's MemoryDenyWriteExecute= demands, and the child inherits.
    code = HARDENED.format(tests=str(ROOT / "tests"), root=str(ROOT), library=str(library))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    if done.stdout == "unknown to this kernel\n":
        pytest.skip("skipped: this kernel has no PR_SET_MDWE")
    assert done.stdout == "1\n", done.stderr


# Odd kinds: what a delegate of another make could do. The child imports them from here.


@dataclass(frozen=True, kw_only=True, slots=True)
class Odd:
    """A runner of float32 (1, 1) whose second output grows with its input, or that says goodbye."""

    words: str = ""
    name: ClassVar[str] = "odd"
    hardware: ClassVar[bool] = True
    twin: ClassVar[Literal["cpu", "edgetpu"]] = "cpu"

    def open(self, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
        if self.words:
            sys.stderr.write("starting\n" * 100_000)  # much more than a pipe holds
            sys.exit(f"{self.words}\n\n")
        return _Growing(Cpu().open(model, runtime=runtime, threads=threads))


class _Growing:
    def __init__(self, inner: Runner) -> None:
        self.info, self.input, self.close = inner.info, inner.input, inner.close
        self.outputs = (*inner.outputs, TensorSpec(name="grown", shape=(0,), dtype="int64"))
        self._inner = inner

    def run(self, tensor: np.ndarray) -> tuple[np.ndarray, ...]:
        return (*self._inner.run(tensor), np.arange(int(tensor[0, 0])))


def test_outputs_may_change_their_shape() -> None:
    runner = ChildRunner(Odd(), tiny.LINEAR, runtime=tiny.runtime(), threads=1, timeout_s=60)
    for size in (0, 3, 100_000, 2, 2, 0):
        y, grown = runner.run(np.array([[size]], np.float32))
        assert y.tolist() == [[2 * size + 1]]
        assert grown.tolist() == list(range(size))
    runner.close()


def test_the_last_words_of_a_child_are_told() -> None:
    with pytest.raises(DelegateError) as caught:
        ChildRunner(
            Odd(words="usb: not enough power"), tiny.LINEAR, runtime=tiny.runtime(), threads=1, timeout_s=60
        )
    message = "delegate odd: opening the model: ended with exit status 1: usb: not enough power"
    assert str(caught.value) == message


# Which way a kind is opened.


def test_the_cpu_runs_here_and_hardware_in_a_child(library: Path) -> None:
    def open_one(delegate: Any, edgetpu: bytes | None = None) -> Runner:
        return open_delegate(
            delegate,
            cpu=tiny.CLASSIFIER,
            edgetpu=edgetpu,
            runtime=tiny.runtime(),
            threads=1,
            timeout_s=60,
        )

    assert not isinstance(open_one(Cpu()), ChildRunner)
    with closing(open_one(standin.edgetpu(library), tiny.EDGETPU)) as runner:
        assert isinstance(runner, ChildRunner)
        assert (runner.info.delegate, runner.run(RED)[0].argmax()) == ("edgetpu", 1)
    with pytest.raises(BundleError, match=r"^model: the bundle has no model for the Edge TPU"):
        open_one(standin.edgetpu(library))
    # An external delegate takes the ordinary model unless told otherwise.
    with pytest.raises(DelegateError, match="it took over 0 of the model's 3 operators"):
        open_one(External(library=str(library)), tiny.EDGETPU)
    with pytest.raises(BundleError, match=r"^model: not a \.tflite file"):
        open_one(standin.edgetpu(library), b"PK")


def test_a_delegate_is_probed(library: Path) -> None:
    runtime = tiny.runtime()
    working, crashing = standin.edgetpu(library), standin.external(library, segfault_after=0)
    assert probe_delegate(working, tiny.EDGETPU, runtime=runtime) == ""
    assert probe_delegate(working, None, runtime=runtime) == ""
    assert probe_delegate(crashing, None, runtime=runtime) == ""  # as far as that goes
    assert "killed by signal 11" in probe_delegate(crashing, tiny.EDGETPU, runtime=runtime)
    refusing = standin.external(library, refuse_create=1)
    assert "refused as asked" in probe_delegate(refusing, None, runtime=runtime)
