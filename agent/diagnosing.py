"""Why is it worse? Gathers what this device knows when an alarm is raised, and publishes likely causes."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.alarming import Raised, Sink
from agent.contracts import DriftScore
from agent.device.coral import CoralWatch
from agent.device.vitals import Vitals
from agent.monitor.cause import Evidence, diagnose
from agent.monitor.reference import Reference
from agent.monitor.signatures import Library, Match, signature
from agent.preprocess.trace import Comparison
from agent.problems import Problems
from agent.telemetry.messages import Alarm, Check

DRIFT = "drift"
"""The alarm that is explained by whoever raised it: it has more to tell than its message."""
HARDWARE = "hardware"
_CLASS_P = "class_chi2_p"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """How the machine is now; ``blessed`` counts the canary's tensors with known answers."""

    vitals: Vitals
    tpu: str
    blessed: int


class Diagnoser:
    """``compared`` tells whether this machine prepares as trained, ``forced`` which steps an override
    changes; ``library`` is None where the bundle carries no replayed faults."""

    def __init__(
        self,
        *,
        reference: Reference,
        library: Library | None,
        problems: Problems,
        forced: tuple[str, ...],
        compared: Callable[[], Comparison],
        machine: Callable[[], Machine],
        sink: Sink,
    ) -> None:
        self._reference = reference
        self._library = library
        self._problems = problems
        self._forced = forced
        self._compared = compared
        self._machine = machine
        self._sink = sink
        self._standing: dict[str, Alarm] = {}
        self._check: Check | None = None
        self._newest: Raised | None = None

    def heard(self, alarm: Alarm) -> None:
        """Every alarm that goes out. One that is raised is explained; drift by ``explain``."""
        if alarm.status == "cleared":
            self._standing.pop(alarm.alarm, None)
            if alarm.alarm == DRIFT:
                self._newest = None
            return
        self._standing[alarm.alarm] = alarm
        if alarm.alarm != DRIFT:
            self._say(alarm.alarm)

    def checked(self, check: Check) -> None:
        """The ladder of the bundle that runs was climbed."""
        self._check = check
        if check.verdict != "ok":
            self._say("check")

    def explain(self, raised: Raised) -> None:
        """A drift alarm was raised."""
        self._newest = raised
        self._say(DRIFT)

    def _say(self, trigger: str) -> None:
        self._sink.emit(diagnose(self._evidence(), trigger=trigger), urgent=True)

    def _evidence(self) -> Evidence:
        raised, compared, machine = self._newest, self._compared(), self._machine()
        hardware = self._standing.get(HARDWARE)
        score = raised.verdict.score if raised else None
        return Evidence(
            score=score,
            against=raised.verdict.against if raised else "training",
            provisional=bool(raised and raised.verdict.provisional),
            match=self._match(raised) if raised else None,
            class_p=_class_p(score),
            estimate=raised.now.estimate if raised else None,
            loss=raised.loss if raised else None,
            canary_blessed=machine.blessed,
            canary_mismatch=hardware.summary if hardware else "",
            canary_problem=self._problems.of("canary"),
            check=self._check,
            forced=self._forced,
            reproduction=compared.verdict,
            reproduction_step=compared.step,
            reproduction_detail=compared.detail,
            picture=self._problems.of("picture"),
            source=self._problems.of("source"),
            delegate=self._problems.of("delegate"),
            tpu=machine.tpu,
            throttled_now=machine.vitals.throttled_now,
            temperatures_c=machine.vitals.temperatures_c,
        )

    def _match(self, raised: Raised) -> Match | None:
        """What the newest frames look like, against what is usual on this device once that is known."""
        if self._library is None or raised.now.recent.n < 2:
            return None
        own = raised.now.own
        usual = signature(own.calibration, self._reference) if own is not None else None
        now = signature(raised.now.recent.rows(), self._reference)
        return self._library.match(now, raised.now.effective_n, usual=usual)


def machine_of(vitals: Vitals, coral: CoralWatch | None, blessed: int) -> Machine:
    return Machine(vitals=vitals, tpu=coral.read().tpu if coral else "", blessed=blessed)


def _class_p(score: DriftScore | None) -> float | None:
    return dict(score.statistics).get(_CLASS_P) if score is not None else None
