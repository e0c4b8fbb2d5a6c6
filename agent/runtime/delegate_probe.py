"""Does a delegate work here? Tried in a child process, because a library may end the one that loads it."""

from agent.errors import LitewatchError
from agent.runtime.child import OPENING_S, ChildRunner
from agent.runtime.choice import Runtime
from agent.runtime.interpreter import Delegate


def probe_delegate(
    delegate: Delegate,
    model: bytes | None,
    *,
    runtime: Runtime,
    threads: int = 1,
    opening_s: float = OPENING_S,
) -> str:
    """What is wrong with ``delegate``: "" when it ran ``model`` once and took over operators of it.

    Without a model only its library is loaded and its device opened. Never hangs: what has not
    answered after ``opening_s`` is killed. A device that serves another process is refused by its
    library like an absent one.
    """
    try:
        runner = ChildRunner(
            delegate,
            model or b"",
            runtime=runtime,
            threads=threads,
            timeout_s=opening_s,
            opening_s=opening_s,
        )
    except LitewatchError as error:
        return str(error)
    runner.close()
    return ""
