"""The process in which a hardware delegate runs: ``python -P -m agent.runtime.child_process``.

Started by ``child.ChildRunner`` with three descriptors: the channel, the memory and the lifeline. The
memory first holds the model, then the tensors. The channel brings one request (pickled by the parent:
which kind of delegate, which runtime, how many threads) and then one byte for every run; each is
answered, the first with what the runner is, a run with one byte, or with JSON where something is new:
other shapes, or an error. When the channel is closed the delegate is, and the process ends.

The lifeline is a pipe of which the parent holds the other end. Its end by whatever means makes the
kernel kill this process, also in the middle of a driver's call that never returns.
"""

import fcntl
import json
import os
import pickle
import select
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

import numpy as np

from agent.contracts import Runner
from agent.errors import BundleError, InputError, LitewatchError
from agent.runtime.tensor_memory import Form, TensorMemory, form

SAME = b"."
"""The answer of a run whose outputs have the shapes they had before; also the order to run."""
LONGEST = 1 << 16
"""Of a message on the channel, bytes."""


def main(channel_number: int, memory: int, lifeline: int) -> None:
    # A terminal's Ctrl-C and systemd's stop reach this process as well; the parent says when to go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die_with(lifeline)
    with socket.socket(fileno=channel_number) as channel:
        try:
            runner = _opened(channel, memory)
        except LitewatchError as error:
            channel.send(_error(error))
            return
        if runner is not None:
            _serve(channel, memory, *runner)


def die_with(lifeline: int) -> None:
    """Have the kernel kill this process when the pipe's other end is closed.

    PR_SET_PDEATHSIG would do so when the *thread* ends that started this process.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    check = select.poll()
    check.register(lifeline, 0)  # POLLHUP is always reported: the parent may have gone before
    if check.poll(0):
        os._exit(1)


def _opened(channel: socket.socket, memory: int) -> tuple[Runner, TensorMemory] | None:
    """The runner and its tensors, tried out and announced; None when only the library was wanted."""
    delegate, runtime, threads = pickle.loads(channel.recv(LONGEST))
    with open(memory, "rb", closefd=False) as file:
        file.seek(0)
        model = file.read()
    os.ftruncate(memory, 0)
    if not model:
        delegate.load(runtime)
        channel.send(json.dumps({"loaded": True}).encode())
        return None
    runner: Runner = delegate.open(model, runtime=runtime, threads=threads)
    for output in runner.outputs:
        if np.dtype(output.dtype).kind not in "uifb":
            raise BundleError(f"model: output '{output.name}' gives text, not numbers")
    # A library that loads may still fail at its first run, and better here than with a frame.
    tried = runner.run(np.zeros(runner.input.shape, runner.input.dtype))
    forms = [form(output) for output in tried]
    tensors = TensorMemory(memory, form(runner.input), forms)
    answer = {
        "info": asdict(runner.info),
        "input": asdict(runner.input),
        "outputs": [asdict(output) for output in runner.outputs],
        "forms": forms,
    }
    channel.send(json.dumps(answer).encode())
    return runner, tensors


def _serve(channel: socket.socket, memory: int, runner: Runner, tensors: TensorMemory) -> None:
    while channel.recv(1):
        try:
            outputs = runner.run(tensors.input)
        except LitewatchError as error:
            channel.send(_error(error))
            break
        answer = SAME
        forms: list[Form] = [form(output) for output in outputs]
        if tuple(forms) != tensors.forms:
            tensors = TensorMemory(memory, form(runner.input), forms)
            answer = json.dumps({"forms": forms}).encode()
        for place, output in zip(tensors.outputs, outputs, strict=True):
            np.copyto(place, output)
        channel.send(answer)
    runner.close()


def _error(error: LitewatchError) -> bytes:
    problems: Any = error.problems if isinstance(error, InputError) else [str(error)]
    return json.dumps({"error": type(error).__name__, "problems": problems}).encode()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
    # Not through Python's own end, in which a driver's left-over threads and destructors may crash.
    sys.stderr.flush()
    os._exit(0)
