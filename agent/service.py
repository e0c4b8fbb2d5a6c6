"""The agent as one process: the only place where its parts are put together.

Threads: the source fills the frame buffer, the main loop takes from it, runs the model and keeps
the statistics, the publisher empties the outbox. Only buffer and outbox are shared. SIGTERM and SIGHUP
set a flag each. The watchdog is fed by the main loop's progress, never by a timer.
"""

import gc
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cv2

from agent.buffer import FrameBuffer
from agent.change import Learned
from agent.config import AgentConfig
from agent.contracts import Frame, Skipped
from agent.control import Control
from agent.device.control_socket import ControlSocket
from agent.errors import FrameError, FrameLostError, LitewatchError, MachineError, OutboxError, WireError
from agent.examination import Compared, Examination, Failed, Watched
from agent.feeder import Feeder
from agent.health import Tally
from agent.monitor.takeover import TakeoverAlarm
from agent.parts import Parts, announcer, make_canary, put_together
from agent.pipeline import Outcome
from agent.preprocess.trace import Comparison
from agent.problems import Problems, plain_line
from agent.startup import NOT_YET_COMPARED, Assembly, Session, about
from agent.steering import Steering
from agent.telemetry.messages import Alarm, Body, Check, Command, Labels, Reply, Severity, kind_of
from agent.thresholds import learn

if TYPE_CHECKING:
    from agent.telemetry.ports import Inbound
    from agent.telemetry.telemetry import Telemetry

BUFFER_FRAMES = 8
LIVE_BUFFER_FRAMES = 1
"""Of a live source the newest wins."""
WAIT_S = 0.5
"""How long the main loop waits for a frame before it looks after everything else."""
LOOK_INTERVAL_NS = 50_000_000
"""A fast model's frames do not each pay for everything else."""
TELEMETRY_INTERVAL_NS = 5_000_000_000
"""How often telemetry is asked what keeps messages from arriving."""
RECEIVING_NS = 250_000_000
"""What has arrived may not keep the frames waiting for longer at a time."""
STOP_WITHIN_S = 5.0
End: TypeAlias = Literal["ended", "reload"]

_log = logging.getLogger(__name__)


class Service:
    """One session of the agent, from a ready assembly to a clean stop."""

    def __init__(
        self, config: AgentConfig, assembly: Assembly, telemetry: "Telemetry", session: Session
    ) -> None:
        self._config = config
        self._assembly = assembly
        self._telemetry = telemetry
        self._session = session
        self._signals = session.signals
        self._stopping = False
        self._outcome: End = "ended"
        self._compared = NOT_YET_COMPARED
        self._problems = Problems(telemetry, on_change=session.notifier.status)
        live = config.source.live
        self._buffer = FrameBuffer(LIVE_BUFFER_FRAMES if live else BUFFER_FRAMES, lossless=not live)
        self._feeder = Feeder(
            config.source, self._buffer, on_problem=lambda problem: self._problems.set("source", problem)
        )
        self._tally = Tally()
        self._last: tuple[Frame, Outcome] | None = None
        self._parts: Parts = put_together(
            config,
            assembly,
            session,
            sink=self,
            problems=self._problems,
            learn=lambda wanted: self._examination.learn(wanted),
            explain=lambda raised: self._diagnoser.explain(raised),
        )
        self._diagnoser = self._parts.diagnoser(lambda: self._compared, session, sink=self)
        self._examination = Examination(
            assembly,
            learn=lambda wanted: learn(
                wanted,
                config.monitor,
                estimator=assembly.bundle.estimator,
                fps=config.source.fps,
                folder=session.state,
            ),
            canary=lambda: make_canary(config, assembly, session, sink=self, problems=self._problems),
            keep=session.keep,
        )
        self._parts.watch.begin()
        self._control = Control(self._steering())
        self._socket = ControlSocket(session.socket, post=self._parts.asks.put)
        self._announcer = announcer(config, assembly, session, telemetry)
        now_ns = time.monotonic_ns()
        self._health_due_ns = self._look_due_ns = self._frame_log_due_ns = self._telemetry_due_ns = now_ns
        self._takeovers = TakeoverAlarm()

    def stop(self) -> None:
        self._stopping = True

    def emit(self, body: Body, *, urgent: bool = False) -> None:
        """Publish; what cannot be is a problem to show, never the end of the agent."""
        try:
            self._telemetry.emit(body, urgent=urgent)
        except (WireError, OutboxError) as error:
            _log.error("a message was lost: %s", error)
            self._problems.set(f"message {kind_of(body)}", f"could not be published: {error}")
        else:
            self._problems.set(f"message {kind_of(body)}", None)
        if isinstance(body, Alarm):
            self._diagnoser.heard(body)
        elif isinstance(body, Check):
            self._diagnoser.checked(body)

    def say_again(self) -> None:
        """Publish what is retained once more, for whoever missed it."""
        self._telemetry.say_state_again()

    def state(self) -> dict[str, Any]:
        """What the device says of itself now, and whether the broker hears it."""
        problems = self._problems.known
        return {
            "device": self._config.device.id,
            "site": self._config.device.site,
            "state": "degraded" if problems else "online",
            "problems": list(problems),
            "connected": self._telemetry.stats.connected,
        }

    def run(self) -> End:
        """Run until the source ends, ``frames`` are done, ``stop`` is called, or a new agent.yaml is to
        be read."""
        cv2.setNumThreads(1)
        self._telemetry.set_preprocess(self._assembly.in_use)
        self._say_about()
        self._announce()
        self._feeder.start()
        self._listen()
        self._session.notifier.ready("online")
        self._problems.ready()
        # All that is here now stays; what the frames leave behind is collected from here on.
        gc.freeze()
        gc.enable()
        try:
            self._loop()
        except LitewatchError as error:
            # The delegate or runtime failed: whoever watches the fleet must learn why it stopped.
            self._problems.set("model", str(error))
            raise
        finally:
            self._close()
        return "ended" if self._signals.stop_asked else self._outcome

    def _listen(self) -> None:
        """Take commands from this machine; without them the agent still runs, and says so."""
        try:
            self._socket.start()
        except MachineError as error:
            self._problems.set("control", str(error))

    def _loop(self) -> None:
        limit = self._session.frames
        while not (self._stopping or self._signals.stop_asked):
            item = self._next()
            if item is not None:
                self._take(item)
            elif self._buffer.ended:
                _log.info("the source has ended")
                return
            # Only now: the first prediction need not share the processor with it.
            self._examination.start()
            now_ns = time.monotonic_ns()
            if now_ns >= self._look_due_ns:
                self._look_due_ns = now_ns + LOOK_INTERVAL_NS
                self._look_after(now_ns)
            if limit is not None and self._parts.pipeline.inferences >= limit:
                return

    def _next(self) -> Frame | Skipped | None:
        """The next item. While paused none is taken: a live source loses its oldest, others wait."""
        if self._tally.paused:
            time.sleep(WAIT_S)
            return None
        return self._buffer.get(WAIT_S)

    def _take(self, item: Frame | Skipped) -> None:
        if isinstance(item, Skipped):
            self._skip(item.name, item.reason)
            return
        try:
            outcome = self._parts.process(item)
        except FrameError as error:
            self._skip(item.name, "; ".join(error.problems))
            return
        except FrameLostError as error:
            self._tally.lost += 1
            self._warn("lost %s: %s (%d so far)", plain_line(item.name), error, self._tally.lost)
            return
        self._last = (item, outcome)
        if self._session.on_outcome:
            self._session.on_outcome(outcome)

    def _skip(self, name: str, reason: str) -> None:
        self._tally.skipped += 1
        self._tally.skipped_last = plain_line(f"{name}: {reason}")
        self._warn("skipped %s (%d so far)", self._tally.skipped_last, self._tally.skipped)

    def _warn(self, text: str, *values: object) -> None:
        """Of one frame: a damaged stream skips every one. The log shows one a second, health counts all."""
        now_ns = time.monotonic_ns()
        if now_ns >= self._frame_log_due_ns:
            self._frame_log_due_ns = now_ns + 1_000_000_000
            _log.warning(text, *values)

    def _look_after(self, now_ns: int) -> None:
        """Everything that is not a frame: messages, thresholds, late windows, health, the watchdog."""
        self._receive_all()
        self._take_findings()
        self._parts.look_after(now_ns, idle=self._buffer.stats.left == 0)
        if self._parts.runner_changed():
            self._say_about()
        if now_ns >= self._telemetry_due_ns:
            self._telemetry_due_ns = now_ns + TELEMETRY_INTERVAL_NS
            self._look_at_telemetry(now_ns)
        if now_ns >= self._health_due_ns:
            self._health_due_ns = now_ns + int(self._config.health.interval_s * 1e9)
            self._emit_health(now_ns)
        if self._signals.hangup_asked:
            self._signals.hangup_asked = False
            self._session.rehearsal.start()
        if (problems := self._session.rehearsal.poll()) is not None:
            self._reload(problems)
        self._session.notifier.progress()

    def _receive_all(self) -> None:
        """Labels and commands that have arrived, from the broker and from this machine."""
        deadline_ns = time.monotonic_ns() + RECEIVING_NS
        while not self._telemetry.inbox.empty() and time.monotonic_ns() < deadline_ns:
            self._receive(self._telemetry.inbox.get())
        if not self._parts.asks.empty():
            ask = self._parts.asks.get()
            ask.answer(self._control.answer(ask.command, local=True))

    def _receive(self, inbound: "Inbound", *, obey: bool = True) -> None:
        body = inbound.body
        if isinstance(body, Command):
            stopping = Reply(transaction=body.transaction, ok=False, problems=("the agent is stopping",))
            self._telemetry.reply(inbound, self._control.answer(body) if obey else stopping)
        elif isinstance(body, Labels):
            for problem in self._parts.truth.receive(body):
                _log.warning("refused: %s", problem)

    def _take_findings(self) -> None:
        for finding in self._examination.take():
            match finding:
                case Compared():
                    self._announce_reproduction(finding.comparison)
                case Learned():
                    self._parts.watch.attach(finding)
                case Watched():
                    self._parts.canary = finding.canary
                case Failed():
                    self._problems.set(finding.subject, finding.problem)
                    if finding.subject in ("monitor", "thresholds") and finding.problem:
                        self._parts.watch.missed()

    def _look_at_telemetry(self, now_ns: int) -> None:
        stats = self._telemetry.stats
        self._announcer.look(connected=stats.connected)
        self._problems.set("telemetry", "; ".join(stats.problems) or None)
        change = self._takeovers.update(stats.takeovers, now_ns)
        if change == "raised":
            summary = (
                f"another client has taken over this device's connection {stats.takeovers} times: is "
                "the device.id, or a copied card, used twice?"
            )
            self._alarm("identity", "hardware", summary, severity="critical")
        elif change == "cleared":
            summary = "for a day nobody has taken over this device's connection"
            self._alarm("identity", "hardware", summary, status="cleared", severity="notice")

    def _reload(self, problems: tuple[str, ...]) -> None:
        """agent.yaml was tried out: applied by starting anew, or refused and this one goes on."""
        if self._signals.stop_asked:
            return
        if problems:
            _log.error("the new agent.yaml is refused: %s", "; ".join(map(plain_line, problems)))
            self._problems.set("config", f"the new one is refused: {'; '.join(problems)}")
            return
        _log.info("agent.yaml is read again")
        self._session.notifier.reloading()
        self._outcome = "reload"
        self.stop()

    def _say_about(self) -> None:
        said = about(self._assembly, self._config, self._compared, self._session.origin)
        try:
            self._telemetry.set_about(said)
        except WireError as error:
            self._problems.set("message about", f"could not be published whole: {error}")
            self._telemetry.set_about(replace(said, config={}))

    def _announce(self) -> None:
        """Say at start what will explain everything later."""
        for subject, problem in self._session.problems:
            self._problems.set(subject, problem)
        refused = self._session.origin.refused
        if refused:
            self._problems.set("config", f"the last good one runs, for this is refused: {'; '.join(refused)}")
        differs = self._assembly.in_use.differs
        if differs:
            summary = f"a forced override differs from training in {', '.join(differs)}"
            self._problems.set("preprocess", summary)
            self._alarm("preprocess", f"preprocess:{differs[0]}", summary, top=differs)
        if not self._assembly.answer.right:
            self._problems.set("model", f"golden input: {self._assembly.answer.detail}")

    def _announce_reproduction(self, compared: Comparison) -> None:
        self._compared = compared
        self._say_about()
        if compared.verdict == "differs" and compared.step and not self._assembly.in_use.differs:
            summary = f"this machine does not reproduce step {compared.step}: {compared.detail}"
            self._problems.set("preprocess", summary)
            self._alarm("preprocess", f"preprocess:{compared.step}", summary)

    def _alarm(
        self,
        alarm: str,
        cause: str,
        summary: str,
        *,
        status: Literal["raised", "cleared"] = "raised",
        severity: Severity = "warning",
        top: tuple[str, ...] = (),
    ) -> None:
        body = Alarm(alarm=alarm, status=status, severity=severity, cause=cause, summary=summary, top=top)
        self.emit(body, urgent=True)

    def _emit_health(self, now_ns: int) -> None:
        self.emit(
            self._parts.health(
                now_ns, tally=self._tally, frames=self._buffer.stats, telemetry=self._telemetry.stats
            )
        )

    def _steering(self) -> Steering:
        parts = self._parts
        return Steering(
            config=self._config,
            assembly=self._assembly,
            voice=self,
            pipeline=parts.pipeline,
            watch=parts.watch,
            tally=self._tally,
            canary=lambda: parts.canary,
            capture=parts.capture,
            checking=parts.checking,
            last=lambda: self._last,
            now_ns=time.monotonic_ns,
        )

    def _close(self) -> None:
        """Close what is open, hand over what has gathered, say goodbye."""
        self._session.rehearsal.close()
        if self._outcome == "ended" or self._signals.stop_asked:
            self._session.notifier.stopping()
        self._socket.close()
        self._feeder.close()
        now_ns = time.monotonic_ns()
        while not self._telemetry.inbox.empty():
            self._receive(self._telemetry.inbox.get(), obey=False)
        self._take_findings()
        self._parts.watch.end(now_ns)
        self._emit_health(now_ns)
        self._problems.close()
        self._parts.close()
        self._telemetry.stop(STOP_WITHIN_S)
        self._assembly.runner.close()
