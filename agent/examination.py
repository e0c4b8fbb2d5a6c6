"""What is found out beside the first frames: does this machine prepare as trained, and from which
statistic on is a window drift? Both take seconds, so they run on a thread; the main loop takes what
comes out.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agent.canary import Canary
from agent.change import Learn, Learned
from agent.errors import BundleError
from agent.preprocess.trace import Comparison
from agent.selftest import reproduces
from agent.startup import Assembly

KEEP_AGAIN_S = 3600.0
"""After the last good config and bundle could not be kept: a card becomes full, and has room again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """This machine's preprocessing against the packed vectors."""

    comparison: Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """The canary, ready to run on the live runner."""

    canary: Canary


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """What could not be found out, and what that means; None: now it could."""

    subject: str
    problem: str | None


Finding: TypeAlias = Compared | Learned | Watched | Failed


class Examination:
    """``learn`` makes detectors. ``canary`` makes one, where there is to be one. ``keep`` is called last,
    when everything before it has run: this config and bundle work here."""

    def __init__(
        self,
        assembly: Assembly,
        *,
        learn: Callable[[Learn], Learned],
        canary: Callable[[], Canary | None],
        keep: Callable[[Assembly], None] | None,
        keep_again_s: float = KEEP_AGAIN_S,
    ) -> None:
        self._assembly = assembly
        self._learn_from = learn
        self._canary = canary
        self._keep = keep
        self._keep_again_s = keep_again_s
        self._keep_due_s: float | None = None
        self._found: deque[Finding] = deque()
        self._started = False
        self._lock = threading.Lock()
        self._learning = False
        self._wanted: Learn | None = None

    def start(self) -> None:
        """Once: every later call is without effect. Detectors asked for before are learned in turn."""
        if not self._started:
            self._started = True
            self._run("examination", self._examine)

    def learn(self, wanted: Learn) -> None:
        """Other detectors; of several asked for meanwhile only the newest."""
        with self._lock:
            learning, self._wanted = self._learning or not self._started, wanted
            self._learning = True
        if not learning:
            self._run("thresholds", self._learn_wanted)

    def take(self) -> list[Finding]:
        """What has come out since the last call; what is to be tried again is."""
        if self._keep_due_s is not None and time.monotonic() >= self._keep_due_s:
            self._keep_due_s = None
            self._run("last good", self._remember)
        found = []
        while self._found:
            found.append(self._found.popleft())
        return found

    def _run(self, name: str, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()

    def _examine(self) -> None:
        self._compare()
        self._learn_wanted()
        self._make_canary()
        if self._assembly.answer.right:
            self._remember()

    def _remember(self) -> None:
        if self._keep is None:
            return
        try:
            self._keep(self._assembly)
        except (OSError, BundleError) as error:
            self._found.append(Failed(subject="last good", problem=f"not kept: {error}"))
            self._keep_due_s = time.monotonic() + self._keep_again_s
        else:
            self._found.append(Failed(subject="last good", problem=None))

    def _compare(self) -> None:
        try:
            compared = reproduces(self._assembly.bundle, self._assembly.runner.input)
        except Exception as error:  # a defect here must not cost the thresholds
            _log.exception("the comparison with the packed vectors failed")
            problem = f"not compared with the packed vectors: {error!r}"
            self._found.append(Failed(subject="preprocess", problem=problem))
        else:
            self._found.append(Compared(comparison=compared))

    def _make_canary(self) -> None:
        try:
            canary = self._canary()
        except Exception as error:  # without a canary the agent still runs, and says so
            _log.exception("the canary could not be made")
            self._found.append(Failed(subject="canary", problem=f"the hardware is not tested: {error!r}"))
        else:
            if canary is not None:
                self._found.append(Watched(canary=canary))

    def _learn_wanted(self) -> None:
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                if wanted is None:
                    self._learning = False
                    return
            self._learn(wanted)

    def _learn(self, wanted: Learn) -> None:
        own = wanted.against == "commissioning"
        subject = "thresholds" if own else "monitor"
        instead = "change is tested against the bundle's reference" if own else "drift is not tested"
        try:
            learned = self._learn_from(wanted)
        except Exception as error:  # without thresholds the agent still runs, and says that it is blind
            _log.exception("the thresholds could not be made")
            self._found.append(Failed(subject=subject, problem=f"{instead}: {error!r}"))
        else:
            self._found.append(learned)
            self._found.append(Failed(subject=subject, problem=None))
