"""A runner that outlives its hardware: the CPU twin serves while the delegate is away.

``run``, ``lend``, ``take_back``, ``distrust`` and ``close`` belong to one thread; a second one, alive
only while the delegate is away, opens it again and again and puts it back when it answers right.
"""

import logging
import threading
from collections.abc import Callable
from typing import Literal

from agent.contracts import Array, Runner, RunnerInfo, TensorSpec
from agent.errors import BundleError, DelegateError, FrameLostError, LitewatchError

FIRST_S, MOST_S = 1.0, 10.0
"""Before the first and between later attempts to open the delegate again; doubled in between."""
STEADY_S = 60.0
"""A delegate that has served so long has come back for good."""
FLAPS = 5
"""Returns that did not last, after which the longest pause doubles as well: every change of what serves
is written to disk and published."""
FLAPPING_S = 300.0
LEND_WITHIN_S = 5.0
CLOSE_WITHIN_S = 5.0
"""An attempt that is stuck in opening is left behind: it lets go of what it opens by itself."""

_log = logging.getLogger(__name__)


class _UntrueError(DelegateError):
    """The delegate runs, and computes something else."""


class Patience:
    """How long to wait before the delegate is tried again."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._attempts = 0
        self._flaps = 0

    def next_s(self) -> float:
        most_s = min(MOST_S * 2.0 ** max(0, self._flaps - FLAPS), FLAPPING_S)
        wait_s = min(self._first_s * 2.0 ** min(self._attempts, 40), most_s)
        self._attempts += 1
        return wait_s

    def served(self, seconds: float) -> None:
        """It was lost after so long."""
        if seconds >= STEADY_S:
            self._attempts = self._flaps = 0
        else:
            self._flaps += 1

    def untrue(self) -> None:
        """It came back and was wrong: to run all golden inputs for ever costs the CPU that serves."""
        self._flaps += 1


class Failover:
    """A ``contracts.Runner`` of two twins.

    ``hardware`` opens the delegate (and may take its time), ``cpu`` the same model on the CPU. With
    ``fallback`` "cpu" that is kept open beside the delegate and takes over at once; with "none" (or
    without ``cpu``) every frame is lost until the delegate is back. ``trial`` says why an opened
    delegate must not serve ("" when it may). ``on_problem`` hears why the delegate is away, and None
    when it is back, each time from the thread that knows.

    Raises BundleError when the twins take or give other tensors, and whatever ``cpu`` raises. A delegate
    that cannot be opened is away from the start; DelegateError then only where there is no ``cpu`` at all,
    from which to know the tensors.
    """

    def __init__(
        self,
        *,
        hardware: Callable[[], Runner],
        cpu: Callable[[], Runner] | None,
        trial: Callable[[Runner], str],
        on_problem: Callable[[str | None], None],
        now_ns: Callable[[], int],
        fallback: Literal["cpu", "none"] = "cpu",
        first_s: float = FIRST_S,
    ) -> None:
        self._hardware = hardware
        self._trial = trial
        self._on_problem = on_problem
        self._now_ns = now_ns
        self._patience = Patience(first_s)
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._device: Runner | None = None
        self._twin = cpu() if cpu is not None else None
        self._served_since_ns = now_ns()
        self.failovers = 0
        """Times the delegate stopped serving, the start without it included."""
        self.away_since_ns: int | None = None
        """None while the delegate serves."""
        self._lent = False
        lost = self._begin()
        model = self._twin or self._device
        assert model is not None  # ``_begin`` raises where neither could be opened
        self._known = model
        """Whose tensors the delegate's must be; only its descriptions are used, closed or not."""
        if self._twin is not None and fallback == "none":
            self._twin.close()
            self._twin = None
        if lost is not None:
            self._away(str(lost))

    @property
    def info(self) -> RunnerInfo:
        """Of what runs now; while nothing does, of what could."""
        return (self._device or self._twin or self._known).info

    @property
    def input(self) -> TensorSpec:
        return self._known.input

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._known.outputs

    @property
    def serving(self) -> Literal["delegate", "cpu", "none"]:
        if self._device is not None:
            return "delegate"
        return "none" if self._twin is None else "cpu"

    def run(self, tensor: Array) -> tuple[Array, ...]:
        """As ``Runner.run``; DelegateError only of the CPU.

        Raises FrameLostError when the delegate is lost with this tensor (the next goes to the CPU), and
        for each while nothing serves.
        """
        device = self._device
        if device is None:
            if self._twin is None:
                raise FrameLostError("no frame is run until the delegate is back")
            return self._twin.run(tensor)
        try:
            return device.run(tensor)
        except DelegateError as error:
            self._lose(str(error))
            raise FrameLostError(f"on its way when the delegate was lost: {error}") from error

    def distrust(self, reason: str) -> None:
        """The delegate computed wrongly: it serves no longer, until it passes ``trial`` again."""
        if self._device is not None:
            self._lose(reason)

    def lend(self) -> None:
        """Let the device go, for another program. Raises DelegateError while it is just being opened."""
        if not self._opening.acquire(timeout=LEND_WITHIN_S):
            raise DelegateError("the delegate is being opened at this moment: try again")
        try:
            self._stop.set()
        finally:
            self._opening.release()
        self._thread = None
        self._let_go()
        self._lent = True
        self._away("lent to another program", counts=False, tries=False)

    def take_back(self) -> None:
        """The other program is done: open the device again, at once. Without effect unless lent."""
        if self._device is None and self._thread is None:
            self._try_again(wait_s=0.0)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(CLOSE_WITHIN_S)
        self._let_go()
        if self._twin is not None:
            self._twin.close()

    def _begin(self) -> DelegateError | None:
        """Open the delegate for the first time; why it is away, if it is."""
        try:
            self._device = self._opened(self._twin)
        except DelegateError as error:
            if self._twin is None:
                raise
            return error
        except BaseException:
            if self._twin is not None:
                self._twin.close()
            raise
        return None

    def _opened(self, known: Runner | None) -> Runner:
        """The delegate, opened and found to be right, with the tensors of ``known``."""
        runner = self._hardware()
        try:
            if known is not None:
                _same_tensors(runner, known)
            wrong = self._trial(runner)
            if wrong:
                raise _UntrueError(f"delegate {runner.info.delegate}: {wrong}")
        except BaseException:
            runner.close()
            raise
        return runner

    def _lose(self, reason: str) -> None:
        self._patience.served((self._now_ns() - self._served_since_ns) / 1e9)
        self._let_go()
        self._away(reason)

    def _let_go(self) -> None:
        with self._lock:
            device, self._device = self._device, None
        if device is not None:
            device.close()

    def _away(self, reason: str, *, counts: bool = True, tries: bool = True) -> None:
        self.failovers += counts
        if self.away_since_ns is None:
            self.away_since_ns = self._now_ns()
        self._say(reason)
        if tries:
            self._try_again(wait_s=self._patience.next_s())

    def _say(self, reason: str) -> None:
        instead = "the CPU runs the model" if self._twin is not None else "frames are lost until it is back"
        self._on_problem(f"{reason}; {instead}")

    def _try_again(self, *, wait_s: float) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._try, args=(self._stop, wait_s), name="delegate", daemon=True
        )
        self._thread.start()

    def _try(self, stop: threading.Event, wait_s: float) -> None:
        """On its own thread: until the delegate serves again, or ``stop``."""
        while not stop.wait(wait_s):
            with self._opening:
                if stop.is_set() or self._attempt(stop):
                    return
            wait_s = self._patience.next_s()

    def _attempt(self, stop: threading.Event) -> bool:
        """Whether the delegate was opened."""
        try:
            runner = self._opened(self._known)
        except (_UntrueError, BundleError) as error:
            # Another reason than that for which it is away, and one that stays.
            self._patience.untrue()
            self._say_unless(stop, str(error))
        except LitewatchError as error:
            _log.info("the delegate is still away: %s", error)
            # Said once only: every new word is a message, and a write to the card.
            if self._lent:
                self._say_unless(stop, str(error))
        except Exception:  # a defect in a driver's wrapper must not end the attempts
            _log.exception("the delegate could not be opened")
        else:
            self._put_back(runner, stop)
            return True
        return False

    def _say_unless(self, stop: threading.Event, reason: str) -> None:
        with self._lock:
            if not stop.is_set():
                self._lent = False
                self._say(reason)

    def _put_back(self, runner: Runner, stop: threading.Event) -> None:
        with self._lock:
            if not stop.is_set():
                self._device, self._served_since_ns, self.away_since_ns = runner, self._now_ns(), None
                self._lent = False
                self._on_problem(None)
                return
        runner.close()


def _same_tensors(runner: Runner, known: Runner) -> None:
    """Raises BundleError unless a frame means the same to ``runner`` and to its twin."""
    here, there = (runner.input, *runner.outputs), (known.input, *known.outputs)
    if len(here) != len(there):
        raise BundleError(
            f"model: with the delegate it has {len(here) - 1} outputs, on the CPU {len(there) - 1}"
        )
    names = ("input", *(f"output {number}" for number in range(len(there) - 1)))
    problems = [
        f"model: with the delegate its {name} is {_form(one)}, on the CPU {_form(other)}"
        for name, one, other in zip(names, here, there, strict=True)
        if _form(one) != _form(other)
    ]
    if problems:
        raise BundleError(*problems)


def _form(spec: TensorSpec) -> str:
    """What a tensor's numbers mean; two converters may name it and round its scale differently."""
    quantized = f", scale {spec.scale:.5g}, zero point {spec.zero_point}" if spec.quantized else ""
    return f"{spec.dtype} {spec.shape}{quantized}"
