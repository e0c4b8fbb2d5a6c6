"""What the outside asks of the process: to stop (SIGTERM, SIGINT), or to read agent.yaml again (SIGHUP).

Plain booleans that the main loop looks at: a handler that sets a ``threading.Event`` waits for a lock
that the very code it interrupts may hold.
"""

import signal
from types import FrameType

_ENDINGS = frozenset({signal.SIGTERM, signal.SIGINT})


class Signals:
    """Whoever acts on ``hangup_asked`` sets it back, before acting; ``stop_asked`` stays."""

    def __init__(self) -> None:
        self.stop_asked = False
        self.hangup_asked = False

    def install(self) -> None:
        """Listen from now on, also to what came since ``hold``; of the main thread only."""
        for ending in _ENDINGS:
            signal.signal(ending, self._stop)
        signal.signal(signal.SIGHUP, self._hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDINGS, signal.SIGHUP})

    def hold(self) -> None:
        """Before another image replaces this one: what comes from now on is for that one to take.

        An ending waits for its ``install``. A hangup is forgotten: the new image reads agent.yaml anyhow.
        Look at ``stop_asked`` after this.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        for ending in _ENDINGS:
            # Another thread that is given it must not put it where nobody looks any more.
            signal.signal(ending, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_asked = True

    def _hangup(self, _number: int, _frame: FrameType | None) -> None:
        self.hangup_asked = True
