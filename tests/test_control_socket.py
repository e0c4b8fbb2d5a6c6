"""The socket for programs on this machine: answers, refusals, and a lease that ends with its holder."""

import contextlib
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import eventually

from agent.device.control_socket import LONGEST_LINE, TOO_MUCH, ControlSocket, ask, lease, socket_path
from agent.device.unix_address import NotServedError, connect
from agent.errors import MachineError
from agent.telemetry.messages import Command, Reply
from tools.through_service import addresses, borrowed_delegate

ROOT = Path(__file__).resolve().parent.parent


class Agent:
    """A main loop on a thread: it notes every command and answers it, ``lend`` only while it may."""

    def __init__(self, path: Path, *, longest_lease_s: float = 3600.0) -> None:
        self.path = path
        self.told: list[str] = []
        self.lends = True
        self.asks: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.socket = ControlSocket(path, post=self.asks.put, longest_lease_s=longest_lease_s)
        self.socket.start()
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _loop(self) -> None:
        while (one := self.asks.get()) is not None:
            command: Command = one.command  # type: ignore[attr-defined]  # an Ask, or None at the end
            self.told.append(command.command)
            ok = command.command != "lend" or self.lends
            problems = () if ok else ("no device to lend",)
            result = {"huge": "x" * 500_000} if command.command == "huge" else dict(command.arguments)
            reply = Reply(transaction=command.transaction, ok=ok, problems=problems, result=result)
            one.answer(reply)  # type: ignore[attr-defined]

    def close(self) -> None:
        self.socket.close()
        self.asks.put(None)
        self._thread.join()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    running = Agent(tmp_path / "control.sock")
    yield running
    running.close()


def test_a_question_is_answered(agent: Agent) -> None:
    command = {"command": "set", "arguments": {"sample_every": 3}, "transaction": "t"}
    assert ask(agent.path, command) == {
        "ok": True, "problems": [], "result": {"sample_every": 3}, "transaction": "t",
    }  # fmt: skip
    assert agent.told == ["set"]


def test_only_the_agents_user_may_connect(agent: Agent) -> None:
    assert agent.path.stat().st_mode & 0o777 == 0o600


def test_many_questions_on_one_connection_are_answered_in_order(agent: Agent) -> None:
    with connect(agent.path, timeout_s=20.0) as connection:
        lines = [json.dumps({"command": "pause", "transaction": str(n)}) for n in range(50)]
        connection.sendall("\n".join(lines).encode())  # the last without an end of line
        connection.shutdown(socket.SHUT_WR)
        answers = connection.makefile("rb").read().splitlines()
    assert [json.loads(line)["transaction"] for line in answers] == [str(n) for n in range(50)]


def test_a_large_answer_arrives_whole(agent: Agent) -> None:
    assert len(ask(agent.path, {"command": "huge"})["result"]["huge"]) == 500_000


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"pause", "not JSON in UTF-8 (Expecting value: line 1 column 1 (char 0))"),
        (b"[" * 30_000, "nested too deeply"),
        (b"[]", "data: expected a mapping"),
        (b'{"command": 7}', "command: expected str, got 7"),
        (b'{"arguments": {}}', "command: required key is missing"),
        (
            b'{"command": "pause", "now": 1}',
            "data: unknown key 'now' (known: arguments, command, transaction)",
        ),
        (b"\xff", None),
        (b"x" * (LONGEST_LINE + 1), TOO_MUCH),
    ],
)
def test_what_is_no_command_is_refused_and_never_reaches_the_agent(
    agent: Agent, line: bytes, problem: str | None
) -> None:
    with connect(agent.path, timeout_s=20.0) as connection:
        connection.sendall(line + b"\n")
        answer = json.loads(connection.makefile("rb").readline())
    assert (answer["ok"], agent.told) == (False, [])
    assert problem is None or answer["problems"] == [problem]
    assert ask(agent.path, {"command": "pause"})["ok"]


def test_a_lease_is_given_back_when_the_block_ends(agent: Agent) -> None:
    with lease(agent.path):
        assert agent.told == ["lend"]
        with pytest.raises(MachineError, match="another process has the device"), lease(agent.path):
            pass
        assert not ask(agent.path, {"command": "take_back"})["ok"]  # it is not this connection's to give
    assert agent.told == ["lend", "take_back"]
    with lease(agent.path):
        pass
    assert agent.told == ["lend", "take_back"] * 2


HOLDER = """
import sys, time
from pathlib import Path
from agent.device.control_socket import lease
with lease(Path(sys.argv[1])):
    print("has it", flush=True)
    time.sleep(1000)
"""


def test_a_killed_borrower_loses_the_device(agent: Agent) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(agent.path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        process.kill()
    eventually(lambda: agent.told == ["lend", "take_back"])


def test_a_borrower_that_hangs_loses_the_device_in_the_end(tmp_path: Path) -> None:
    impatient = Agent(tmp_path / "control.sock", longest_lease_s=0.2)
    try:
        with connect(impatient.path, timeout_s=20.0) as connection:
            connection.sendall(b'{"command": "lend"}\n')
            answers = connection.makefile("rb")
            assert json.loads(answers.readline())["ok"]
            assert answers.read() == b""
        eventually(lambda: impatient.told == ["lend", "take_back"])
    finally:
        impatient.close()


def test_a_refused_lease_binds_nobody(agent: Agent) -> None:
    agent.lends = False
    with (
        pytest.raises(MachineError, match=r"^the agent does not lend its device: no device to lend$"),
        lease(agent.path),
    ):
        pass
    agent.lends = True
    with lease(agent.path):
        pass
    assert agent.told == ["lend", "lend", "take_back"]


def test_a_lease_without_a_connection_to_hold_it_is_refused(agent: Agent) -> None:
    with connect(agent.path, timeout_s=20.0) as connection:
        connection.sendall(b'{"command": "lend"}')
        connection.shutdown(socket.SHUT_WR)
        assert not json.loads(connection.makefile("rb").read())["ok"]
    assert agent.told == []


def test_a_socket_left_by_a_dead_agent_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NotServedError, match="no agent listens here"):
        ask(path, {"command": "pause"})
    one = Agent(path)
    try:
        second = ControlSocket(path, post=lambda _: None)
        with pytest.raises(MachineError, match="another agent listens here"):
            second.start()
        second.close()
        assert ask(path, {"command": "pause"})["ok"]
    finally:
        one.close()
    assert not path.exists()


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    one = Agent(folder / "control.sock")
    try:
        assert ask(one.path, {"command": "pause"})["ok"]
    finally:
        one.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = ControlSocket(tmp_path / "none" / "control.sock", post=lambda _: None)
    with pytest.raises(MachineError, match=r"none/control\.sock: cannot listen: No such file"):
        missing.start()
    missing.close()


def test_who_waits_when_the_agent_ends_is_told(tmp_path: Path) -> None:
    silent = ControlSocket(tmp_path / "control.sock", post=lambda _: silent_asked.set())
    silent_asked = threading.Event()
    silent.start()

    def close_once_asked() -> None:
        silent_asked.wait(20)
        silent.close()

    closing = threading.Thread(target=close_once_asked)
    closing.start()
    with pytest.raises(MachineError, match="the agent hung up without an answer"):
        ask(tmp_path / "control.sock", {"command": "canary"}, timeout_s=20.0)
    closing.join()


def test_where_an_agent_listens() -> None:
    state = Path("/var/lib/litewatch")
    assert socket_path(state, {}) == state / "control.sock"
    assert socket_path(state, {"RUNTIME_DIRECTORY": "/run/litewatch:/run/other"}) == Path(
        "/run/litewatch/control.sock"
    )
    assert addresses(None, {"STATE_DIRECTORY": str(state)}) == (
        state / "control.sock",
        Path("/run/litewatch/control.sock"),
    )


class Hardware:
    hardware = True


class Processor:
    hardware = False


def test_only_hardware_is_borrowed_and_only_where_an_agent_runs(agent: Agent) -> None:
    environment = {"STATE_DIRECTORY": str(agent.path.parent)}
    with borrowed_delegate(delegate=Processor(), environment=environment) as lender:
        assert (lender, agent.told) == (None, [])
    with borrowed_delegate(delegate=Hardware(), environment=environment) as lender:
        assert (lender, agent.told) == (agent.path, ["lend"])
    assert agent.told == ["lend", "take_back"]
    with (
        contextlib.suppress(MachineError),  # of another agent on this machine
        borrowed_delegate(delegate=Hardware(), environment={"STATE_DIRECTORY": "/nonexistent"}) as lender,
    ):
        assert lender != agent.path
