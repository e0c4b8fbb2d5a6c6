"""What an agent does with its outbox, for the shim to watch: committed messages are marked.

    python tests/powercut/workload.py DATABASE SESSION SEED STEPS [SYNCHRONOUS]

Marks: ``made SESSION`` once the outbox is open, ``committed SESSION SEQ`` when everything of the session
up to SEQ is on disk, ``removed SESSION SEQ`` before SEQ and all below may go. Message n has body
``body(SESSION, n)``. Also remembers its session beside the database, as the agent does.
"""

import ctypes
import hashlib
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from agent.telemetry.outbox import Outbox  # after the path is set
from agent.telemetry.session_file import remembered_session

SESSION_FILE = "session"


def body(session: str, seq: int) -> str:
    """A message's text: of very different lengths, and not to be confused with another's."""
    seed = hashlib.sha256(f"{session} {seq}".encode()).hexdigest()
    return f'{{"n":"{seed * (1 + int(seed[:2], 16) % (150 if seed[2] == "0" else 12))}"}}'


def main(database: Path, session: str, seed: int, steps: int, synchronous: str = "") -> None:
    mark = ctypes.CDLL(None).powercut_mark
    chance = Random(seed)
    remembered = remembered_session(database.parent / SESSION_FILE)
    mark(f"remembered {remembered}".encode())
    outbox = Outbox(database, session=session, max_bytes=2**26, flush_interval_s=3600)
    if synchronous and outbox._database is not None:
        outbox._database.execute(f"PRAGMA synchronous = {synchronous}")
    mark(f"made {session}".encode())
    said = removed = 0
    for _ in range(steps):
        match chance.choices(("ordinary", "urgent", "flush", "confirm"), (8, 4, 1, 1))[0]:
            case "flush":
                outbox.flush()
            case "confirm" if chance.random() < 0.5 and said > removed:
                removed = chance.randint(removed + 1, said)
                mark(f"removed {session} {removed}".encode())
                outbox.acknowledge(session, removed)
            case kind:
                seq = outbox.stats.committed_seq + outbox.stats.pending + 1
                outbox.append(
                    "alarm", body(session, seq), created_at="2026-01-01T00:00:00Z", boot_id="b",
                    clock_synced=True, urgent=kind == "urgent",
                )  # fmt: skip
        if (committed := outbox.stats.committed_seq) > said:
            said = committed
            mark(f"committed {session} {said}".encode())
    if chance.random() < 0.5:
        outbox.close()
        mark(f"committed {session} {outbox.stats.committed_seq}".encode())


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0]), arguments[1], int(arguments[2]), int(arguments[3]), *arguments[4:])
