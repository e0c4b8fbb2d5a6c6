"""Processes without their start-up time: everything is imported once, then each one is a fork.

    python tests/faults/nursery.py

Reads lines of JSON ``[kind, folder, arguments…]`` and answers each with the new process's id; output
goes to ``<folder>/<kind>.out``. ``agent``: tests/storm_agent.py; ``litewatch``: a command of litewatch.
The children are ended with their nursery.
"""

import ctypes
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

PR_SET_PDEATHSIG = 1


NEEDED = (
    "ai_edge_litert.interpreter", "sqlalchemy.dialects.sqlite", "storm_agent", "agent.service",
    "agent.telemetry.mqtt", "agent.telemetry.telemetry", "tools.cli", "tools.collector.collector",
    "tools.commands.collect", "tools.commands.run",
)  # fmt: skip
"""What the children would import. None of it may start a thread."""


def child(kind: str, folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(folder / f"{kind}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ.update(environment)
    if kind == "agent":
        import storm_agent

        host, port, version = arguments
        storm_agent.main(folder, host, int(port), version)
    else:
        from tools.cli import main

        sys.exit(main(arguments))


def serve() -> None:
    for name in NEEDED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        kind, folder, arguments, environment = json.loads(line)
        process = os.fork()
        if process == 0:
            code = 1
            try:
                child(kind, Path(folder), arguments, environment)
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        sys.stdout.write(f"{process}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
