"""The agent's Unix socket: commands from programs on this machine, one JSON object a line each way.

``{"command": "canary", "arguments": {}, "transaction": null}`` is answered by
``{"ok": true, "problems": [], "result": {…}, "transaction": null}``. Only the agent's own user and root
may connect. ``lend`` makes the connection a lease on the hardware delegate: when it ends, however it
ends, the agent is told to take the device back.

One thread reads and writes; what is asked is handed to the main loop, which answers in its own time.
"""

import contextlib
import json
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.device.unix_address import connect, listen
from agent.errors import MachineError
from agent.structure import StructureProblemsError, structure
from agent.telemetry.messages import Command, Reply

SOCKET = "control.sock"
LONGEST_LINE = 64 * 1024
MOST_CLIENTS = 16
LONGEST_LEASE_S = 3600.0
"""Whoever hangs with the device in hand loses it after this; the ladder takes minutes."""
TOO_MUCH = f"at most {LONGEST_LINE} bytes may wait for their answer"
LENT = "lend: another process has the device"

_log = logging.getLogger(__name__)


def socket_path(state: Path, environment: Mapping[str, str]) -> Path:
    """Where an agent with these listens: in systemd's runtime directory, else in its state directory."""
    runtime = environment.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return (Path(runtime) if runtime else state) / SOCKET


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A command from this machine; ``answer`` may be called once, from any thread."""

    command: Command
    answer: Callable[[Reply], None]


@dataclass(eq=False, slots=True)
class _Client:
    connection: socket.socket
    received: bytes = b""
    unsent: bytes = b""
    asking: bool = False
    ended: bool = False
    """It sends no more; what it asked last is still answered."""
    mask: int = selectors.EVENT_READ


@dataclass(eq=False, slots=True)
class _Lease:
    holder: _Client
    until: float


class ControlSocket:
    """Listens from ``start`` to ``close``. ``post`` is called from its thread."""

    def __init__(
        self, path: Path, post: Callable[[Ask], None], *, longest_lease_s: float = LONGEST_LEASE_S
    ) -> None:
        self._path = path
        self._post = post
        self._longest_lease_s = longest_lease_s
        self._selector = selectors.DefaultSelector()
        self._clients: set[_Client] = set()
        self._lease: _Lease | None = None
        self._answers: deque[tuple[_Client, Command, Reply]] = deque()
        self._wakes, self._waker = socket.socketpair()
        self._listener: socket.socket | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="litewatch-control", daemon=True)

    def start(self) -> None:
        """Listen. Raises MachineError when the socket cannot be made, or another agent has it."""
        self._listener = listen(self._path)
        for waiting in (self._listener, self._wakes, self._waker):
            waiting.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wakes, selectors.EVENT_READ, self._woken)
        self._thread.start()

    def close(self) -> None:
        """End every connection and remove the socket. A lease ends without a word: the agent ends too."""
        if self._listener is None:
            self._end()
            return
        self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody is left to wake
            self._waker.send(b"x")

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception:  # a defect here must not go unseen; the agent itself goes on
            _log.exception("the control socket failed; local commands are not taken any more")
        finally:
            self._end()

    def _turn(self) -> None:
        left_s = None if self._lease is None else max(0.0, self._lease.until - time.monotonic())
        for key, mask in self._selector.select(left_s):
            if isinstance(key.data, _Client):
                self._serve(key.data, mask)
            else:
                key.data()
        if self._lease is not None and time.monotonic() >= self._lease.until:
            _log.warning("the device was lent for %g s: it is taken back", self._longest_lease_s)
            self._drop(self._lease.holder)

    def _end(self) -> None:
        for client in list(self._clients):
            self._clients.discard(client)
            client.connection.close()
        for end in (self._wakes, self._waker, self._selector):
            end.close()
        if self._listener is not None:
            self._listener.close()
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= MOST_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients.add(client)
        self._selector.register(connection, client.mask, client)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakes.recv(4096)
        while self._answers:
            client, command, reply = self._answers.popleft()
            client.asking = False
            held = self._lease is not None and self._lease.holder is client
            if command.command == "take_back" or (command.command == "lend" and not reply.ok):
                self._lease = None if held else self._lease
            if client in self._clients:
                self._say(client, reply)
                self._next_line(client)

    def _serve(self, client: _Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send(client)
        if mask & selectors.EVENT_READ and client in self._clients:
            self._receive(client)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.received += data
        if not data:
            client.ended = True
            self._take_back_from(client)
        elif len(client.received) > LONGEST_LINE:
            self._say(client, _refusal(TOO_MUCH))
            self._drop(client)
            return
        self._next_line(client)

    def _next_line(self, client: _Client) -> None:
        """Ask what the client asked next, once its last question is answered."""
        while client in self._clients and not client.asking:
            line, end, rest = client.received.partition(b"\n")
            if not end and not client.ended:
                break
            client.received = rest
            if line.strip():
                self._ask(client, line)
            elif not end:
                break
        self._watch(client)

    def _ask(self, client: _Client, line: bytes) -> None:
        try:
            command = _command(line)
        except StructureProblemsError as error:
            self._say(client, _refusal(*error.problems))
            return
        problem = self._lease_problem(client, command.command)
        if problem:
            self._say(client, _refusal(problem))
            return
        if command.command == "lend":
            self._lease = _Lease(client, time.monotonic() + self._longest_lease_s)
        client.asking = True
        self._post(Ask(command=command, answer=lambda reply: self._answer(client, command, reply)))

    def _lease_problem(self, client: _Client, command: str) -> str | None:
        if command == "lend" and client.ended:
            return "lend: the connection must stay open while the device is used"
        if command == "lend" and self._lease is not None:
            return LENT
        if command == "take_back" and (self._lease is None or self._lease.holder is not client):
            return "take_back: this connection has not borrowed the device"
        return None

    def _answer(self, client: _Client, command: Command, reply: Reply) -> None:
        self._answers.append((client, command, reply))
        self._wake()

    def _say(self, client: _Client, reply: Reply) -> None:
        try:
            line = json.dumps(asdict(reply), allow_nan=False)
        except (TypeError, ValueError) as error:
            line = json.dumps(asdict(_refusal(f"the answer cannot be written as JSON ({error})")))
        client.unsent += line.encode() + b"\n"
        self._send(client)

    def _send(self, client: _Client) -> None:
        try:
            while client.unsent:
                client.unsent = client.unsent[client.connection.send(client.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        self._watch(client)

    def _watch(self, client: _Client) -> None:
        """Wait for what can still happen on this connection; end it when nothing can."""
        if client not in self._clients:
            return
        if client.ended and not (client.asking or client.received or client.unsent):
            self._drop(client)
            return
        mask = (0 if client.ended else selectors.EVENT_READ) | (selectors.EVENT_WRITE if client.unsent else 0)
        if mask == client.mask:
            return
        if not client.mask:
            self._selector.register(client.connection, mask, client)
        elif not mask:
            self._selector.unregister(client.connection)
        else:
            self._selector.modify(client.connection, mask, client)
        client.mask = mask

    def _drop(self, client: _Client) -> None:
        if client not in self._clients:
            return
        self._clients.discard(client)
        if client.mask:
            self._selector.unregister(client.connection)
        client.connection.close()
        self._take_back_from(client)

    def _take_back_from(self, client: _Client) -> None:
        if self._lease is not None and self._lease.holder is client:
            self._lease = None
            self._post(Ask(command=Command(command="take_back"), answer=lambda _: None))


def _command(line: bytes) -> Command:
    """Raises StructureProblemsError."""
    try:
        data = json.loads(line.decode())
    except RecursionError:
        raise StructureProblemsError(["nested too deeply"]) from None
    except ValueError as error:
        raise StructureProblemsError([f"not JSON in UTF-8 ({error})"]) from None
    return structure(data, Command, root="")


def _refusal(*problems: str) -> Reply:
    return Reply(transaction=None, ok=False, problems=problems)


def ask(address: Path, command: Mapping[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
    """What the agent at ``address`` answers: ``ok``, ``problems``, ``result`` and ``transaction``.

    Raises NotServedError when no agent listens there, MachineError when it does not answer.
    """
    with connect(address, timeout_s=timeout_s) as connection:
        return _asked(connection, address, command)


@contextlib.contextmanager
def lease(address: Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Has the agent's hardware delegate while the block runs; the agent takes it back afterwards, also
    when this process dies. Raises NotServedError, or MachineError when the agent does not lend it."""
    with connect(address, timeout_s=timeout_s) as connection:
        reply = _asked(connection, address, {"command": "lend"})
        if not reply["ok"]:
            raise MachineError(f"the agent does not lend its device: {'; '.join(reply['problems'])}")
        try:
            yield
        finally:
            with contextlib.suppress(MachineError):  # it sees the end of the connection as well
                _asked(connection, address, {"command": "take_back"})


def _asked(connection: socket.socket, address: Path, command: Mapping[str, Any]) -> dict[str, Any]:
    line = b""
    try:
        connection.sendall(json.dumps(command).encode() + b"\n")
        while not line.endswith(b"\n") and (data := connection.recv(LONGEST_LINE)):
            line += data
    except OSError as error:
        raise MachineError(f"{address}: the agent does not answer: {error}") from None
    if not line.endswith(b"\n"):
        raise MachineError(f"{address}: the agent hung up without an answer")
    reply: dict[str, Any] = json.loads(line)
    return reply
