"""The canary on the live runner: which golden tensor is run when, and what follows from its answer.

It runs on the main loop's thread, between frames; ``trial`` alone may be called from another. Rules of
blessing and comparing stand in ``monitor.blessing`` and ``monitor.canary``; time is an argument.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.contracts import Array, Decoder, Runner, RunnerInfo
from agent.errors import FrameLostError
from agent.monitor.blessing import Candidate, Reference, plainly_wrong
from agent.monitor.blessings import Blessings
from agent.monitor.canary import CanaryInput, CanaryOptions, Difference, Key, difference
from agent.plain_text import plain_text
from agent.telemetry.messages import Alarm, Body

EAGER_S = 1.0
"""Between two runs while an answer is awaited: to be blessed, or to clear an alarm."""
RIGHT_TIMES = 2
"""Every golden tensor is to be answered right so often before the alarm is cleared."""
_LONGEST_NAME = 100


class Store(Protocol):
    """Where blessings outlive a restart."""

    def load(self) -> Blessings: ...

    def save(self, blessings: Blessings) -> None: ...


class Sink(Protocol):
    def emit(self, body: Body, *, urgent: bool = False) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryReport:
    """One run of every golden tensor. ``blessed`` of ``inputs`` answers are known here; ``mismatches``
    says which of them was not repeated, and how; ``refused`` why there are none."""

    delegate: str
    inputs: int
    runs: int
    blessed: int
    mismatches: tuple[str, ...] = ()
    refused: str = ""


class Canary:
    """``key`` says how a runner with that info computes. ``on_mismatch`` hears of every answer that was
    not repeated, ``on_problem`` of answers that could not be blessed (None: well again), ``progress`` of
    each tensor that was run.

    Raises FrameError when a recorded output cannot be decoded, ValueError without golden tensors.
    """

    def __init__(
        self,
        *,
        golden: Sequence[CanaryInput],
        runner: Runner,
        decoder: Decoder,
        key: Callable[[RunnerInfo], Key],
        store: Store,
        options: CanaryOptions,
        sink: Sink,
        on_mismatch: Callable[[str], None],
        on_problem: Callable[[str | None], None],
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        if not golden:
            raise ValueError("no golden tensors")
        self._golden = tuple(golden)
        self._tensors = tuple(given.sha256 for given in golden)
        self._runner = runner
        self._specs = runner.outputs
        self._reference = Reference(golden, runner.outputs, decoder)
        self._key = key
        self._store = store
        self._interval_s = options.interval_s
        self._sink = sink
        self._on_mismatch = on_mismatch
        self._on_problem = on_problem
        self._progress = progress
        self._blessings = store.load()
        self._candidate: tuple[Key, Candidate] | None = None
        self._refused: dict[Key, str] = {}
        self._accused: dict[Key, Counter[int]] = {}
        self._next = 0
        self._due_ns: int | None = None
        self._pace_s = 0.0
        self.runs = 0
        self.mismatches = 0

    @property
    def blessed(self) -> int:
        """Golden tensors whose answers by what serves now are known."""
        return len(self._blessed(self._key(self._runner.info)) or ())

    @property
    def alarmed(self) -> bool:
        return bool(self._accused)

    def tick(self, now_ns: int, *, idle: bool) -> None:
        """Run one golden tensor when it is due: as soon as no frame waits (``idle``), and with frames
        waiting after twice the interval. A FrameLostError of the runner is not the canary's to tell."""
        if not self._interval_s:
            return
        if self._due_ns is None:
            self._due_ns, self._pace_s = now_ns, self._pace()
        if now_ns < self._due_ns or (not idle and now_ns < self._due_ns + int(self._pace_s * 1e9)):
            return
        try:
            self._run_next()
        except FrameLostError:
            self._candidate = None
        self._pace_s = self._pace()
        self._due_ns = now_ns + int(self._pace_s * 1e9)

    def run_all(self) -> CanaryReport:
        """Run every golden tensor now, and bless first where that is still to be done.

        Raises FrameLostError when the runner is lost meanwhile: ask again.
        """
        before, key = self.runs, self._key(self._runner.info)
        while self._blessed(key) is None:
            if self._bless(key) is None:
                raise FrameLostError("canary: the runner was changed meanwhile; ask again")
            if key in self._refused and self._candidate is None:
                break
        found = []
        for place in range(len(self._golden)) if self._blessed(key) is not None else ():
            self._next = place
            said = self._check(key)
            if said:
                found.append(said)
        return CanaryReport(
            delegate=key.delegate,
            inputs=len(self._golden),
            runs=self.runs - before,
            blessed=len(self._blessed(key) or ()),
            mismatches=tuple(found),
            refused=self._refused.get(key, ""),
        )

    def trial(self, runner: Runner) -> str:
        """Why ``runner`` must not serve: it does not repeat what is blessed for it or, where nothing
        is, lies beyond every tolerance from what was recorded. "" when it may; DelegateError as it runs."""
        answers = [runner.run(given.tensor) for given in self._golden]
        blessed = self._blessed(self._key(runner.info))
        if blessed is None:
            away = self._reference.away(answers)
            return (
                f"its answers are not the recorded ones (distance {away:.2g})" if plainly_wrong(away) else ""
            )
        for given, was, now in zip(self._golden, blessed, answers, strict=True):
            found = difference(was, now, self._specs)
            if found is not None:
                return _sentence(given, found)
        return ""

    def forget(self) -> None:
        """Begin anew: what the device answers next is blessed by the same rules as at first."""
        self._blessings = Blessings()
        self._store.save(self._blessings)
        self._candidate, self._due_ns = None, None
        self._refused.clear()
        self._on_problem(None)
        if self._accused:
            key = next(iter(self._accused))
            self._accused.clear()
            self._emit_cleared(key, "forgotten on command: the device is blessed anew")

    def _blessed(self, key: Key) -> tuple[tuple[Array, ...], ...] | None:
        return self._blessings.of(key, self._tensors)

    def _pace(self) -> float:
        key = self._key(self._runner.info)
        awaited = self._blessed(key) is None and key not in self._refused
        # One right answer after a wrong one: soon it is known whether all are.
        recovering = bool(self._accused.get(key))
        return min(EAGER_S, self._interval_s) if awaited or recovering else self._interval_s

    def _run_next(self) -> None:
        key = self._key(self._runner.info)
        if self._blessed(key) is None:
            self._bless(key)
        else:
            self._check(key)

    def _run(self, key: Key, tensor: Array) -> tuple[Array, ...] | None:
        """None when it was another runner that answered: the delegate came back at this moment."""
        outputs = self._runner.run(tensor)
        self.runs += 1
        self._progress()
        return outputs if self._key(self._runner.info) == key else None

    def _bless(self, key: Key) -> Candidate | None:
        """One step towards a blessing of ``key``; None when another runner answered."""
        if self._candidate is None or self._candidate[0] != key:
            self._candidate = key, Candidate(self._golden, self._specs, self._reference)
        candidate = self._candidate[1]
        outputs = self._run(key, candidate.tensor)
        if outputs is None:
            self._candidate = None
            return None
        candidate.take(outputs)
        if candidate.done:
            self._candidate = None
            self._conclude(key, candidate)
        return candidate

    def _conclude(self, key: Key, candidate: Candidate) -> None:
        if candidate.refused:
            self._refused[key] = candidate.refused
            self._on_problem(f"{key.delegate} is not blessed: {candidate.refused}; type: litewatch check")
            return
        self._refused.pop(key, None)
        self._blessings = self._blessings.adding(key, self._tensors, candidate.answers)
        self._store.save(self._blessings)
        self._on_problem(None)

    def _check(self, key: Key) -> str:
        """One golden tensor against its blessed answer; what is wrong with it, or ""."""
        place = self._next
        self._next = (place + 1) % len(self._golden)
        blessed = self._blessed(key)
        outputs = self._run(key, self._golden[place].tensor)
        if outputs is None or blessed is None:
            return ""
        found = difference(blessed[place], outputs, self._specs)
        self._on_problem(None)
        if found is None:
            self._right(key, place)
            return ""
        self.mismatches += 1
        said = _sentence(self._golden[place], found)
        self._wrong(key, self._golden[place], found, said)
        return said

    def _wrong(self, key: Key, given: CanaryInput, found: Difference, said: str) -> None:
        first = not self._accused
        self._accused[key] = Counter()
        if first:
            evidence = {"values": float(found.values), "differing": float(found.differing)}
            if found.largest is not None:
                evidence["largest"] = found.largest
            alarm = Alarm(
                alarm="hardware",
                status="raised",
                severity="critical",
                cause="hardware",
                summary=f"{key.delegate} no longer repeats its own answers: {said}",
                evidence=evidence,
                top=(plain_text(given.name, longest=_LONGEST_NAME),),
            )
            self._sink.emit(alarm, urgent=True)
        self._on_mismatch(said)

    def _right(self, key: Key, place: int) -> None:
        right = self._accused.get(key)
        if right is None:
            return
        right[place] += 1
        if all(right[other] >= RIGHT_TIMES for other in range(len(self._golden))):
            del self._accused[key]
            if not self._accused:
                self._emit_cleared(key, f"all {len(self._golden)} golden inputs came right twice")

    def _emit_cleared(self, key: Key, why: str) -> None:
        alarm = Alarm(
            alarm="hardware",
            status="cleared",
            severity="critical",
            cause="hardware",
            summary=f"{key.delegate}: {why}",
        )
        self._sink.emit(alarm, urgent=True)


def _sentence(given: CanaryInput, found: Difference) -> str:
    return f"golden input '{plain_text(given.name, longest=_LONGEST_NAME)}', {found}"
