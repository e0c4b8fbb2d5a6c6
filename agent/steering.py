"""What a command does to the running agent: the service as ``control.Controls`` sees it.

Everything here runs in the main loop, between two frames.
"""

import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from agent.canary import Canary
from agent.capture import Capture, NotCapturedError
from agent.checking import Checking
from agent.config import AgentConfig
from agent.contracts import Frame
from agent.control import MonitorChanges
from agent.errors import ConfigError, MachineError
from agent.failover import Failover
from agent.health import Tally
from agent.pipeline import Outcome, Pipeline
from agent.startup import Assembly, check_promise
from agent.telemetry.messages import Body, Check
from agent.watch import Watch, WatchSettings


class Voice(Protocol):
    """What the commands say through: the service itself."""

    def emit(self, body: Body, *, urgent: bool = False) -> None: ...

    def say_again(self) -> None:
        """Publish ``state`` and ``about`` once more."""
        ...

    def state(self) -> dict[str, Any]:
        """What the device says of itself now, and whether the broker hears it."""
        ...


class Steering:
    """``last`` gives the newest frame that was run, with its outcome."""

    def __init__(
        self,
        *,
        config: AgentConfig,
        assembly: Assembly,
        voice: Voice,
        pipeline: Pipeline,
        watch: Watch,
        tally: Tally,
        canary: Callable[[], Canary | None],
        capture: Capture,
        checking: Checking | None,
        last: Callable[[], tuple[Frame, Outcome] | None],
        now_ns: Callable[[], int],
    ) -> None:
        self._monitor = config.monitor
        self._config = config
        self._assembly = assembly
        self._voice = voice
        self._pipeline = pipeline
        self._watch = watch
        self._tally = tally
        self._canary = canary
        self._capture = capture
        self._checking = checking
        self._last = last
        self._now_ns = now_ns

    def rebirth(self) -> None:
        self._voice.say_again()

    def pause(self) -> None:
        self._tally.paused = True

    def resume(self) -> None:
        self._tally.paused = False

    def check(self) -> str:
        """The ladder runs in a process of its own and publishes its result as ``check``."""
        if self._checking is None:
            raise MachineError("check: this agent does not know its own agent.yaml")
        if self._checking.running:
            raise MachineError("check: one is running already")
        transaction = str(uuid.uuid4())
        try:
            self._checking.start(transaction)
        except OSError as error:
            raise MachineError(f"check: cannot be started: {error.strerror}") from None
        return transaction

    def sample(self) -> str:
        last = self._last()
        if last is None:
            raise NotCapturedError("sample: no frame has been run yet")
        frame, outcome = last
        message = self._capture.now(frame, outcome.prediction, outcome.frame, self._now_ns())
        if message is not None:
            self._voice.emit(message)
        return outcome.frame

    def set(self, changes: MonitorChanges) -> None:
        """Raises ConfigError where the promise cannot be kept that way."""
        wanted = changes.of(self._monitor)
        problems = check_promise(self._config, wanted, self._assembly.bundle)
        if problems:
            raise ConfigError(*problems)
        before, self._monitor = self._monitor, wanted
        self._pipeline.sample_every = wanted.sample_every
        if wanted.sample_every != before.sample_every:
            self._watch.repace()
        if wanted.window == before.window:
            return
        settings = WatchSettings(
            samples=wanted.window.samples,
            interval_s=wanted.window.interval_s,
            tolerance_points=wanted.tolerance_points,
        )
        self._watch.change(settings, now_ns=self._now_ns())

    def canary(self) -> dict[str, Any]:
        canary = self._canary()
        if canary is None:
            raise MachineError("canary: it is off, not ready yet, or the bundle has no golden tensors")
        return asdict(canary.run_all())

    def commission(self) -> None:
        canary = self._canary()
        if canary is not None:
            canary.forget()
        self._watch.forget(now_ns=self._now_ns())

    def lend(self) -> None:
        """Without effect where only the CPU runs: it can be shared."""
        if isinstance(self._assembly.runner, Failover):
            self._assembly.runner.lend()

    def state(self) -> dict[str, Any]:
        return self._voice.state()

    def publish(self, check: Check) -> None:
        self._voice.emit(check, urgent=True)

    def take_back(self) -> None:
        if isinstance(self._assembly.runner, Failover):
            self._assembly.runner.take_back()
