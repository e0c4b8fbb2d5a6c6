"""The agent as one process: the only place where its parts are put together.

Threads: the source fills the frame buffer, the main loop takes from it, runs the model and keeps
the statistics, the publisher empties the outbox. Only buffer and outbox are shared. SIGTERM sets
one event. The watchdog is fed by the main loop's progress, never by a timer.
"""

import gc
import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import cv2

from agent.buffer import FrameBuffer
from agent.config import AgentConfig
from agent.contracts import Frame, Skipped
from agent.device.clock import boot_id, clock_synced
from agent.device.sdnotify import Notifier
from agent.device.vitals import read_vitals
from agent.errors import FrameError, InputError, LitewatchError, OutboxError, WireError
from agent.feeder import Feeder
from agent.later import Later
from agent.pipeline import Outcome, Pipeline
from agent.preprocess.trace import Comparison
from agent.problems import Problems, plain_line
from agent.selftest import reproduces
from agent.startup import Assembly, Session, about, assemble, state_dir
from agent.telemetry.clock import Clock, format_utc
from agent.telemetry.messages import Alarm, Body, Health, Labels, kind_of
from agent.telemetry.session_file import remembered_session
from agent.thresholds import ALPHA_FLOOR, prepare_detector
from agent.truth import Truth
from agent.uplink import open_telemetry
from agent.watch import Watch, WatchSettings

if TYPE_CHECKING:
    from agent.telemetry.telemetry import Telemetry

BUFFER_FRAMES = 8
WAIT_S = 0.5
"""How long the main loop waits for a frame before it looks after everything else."""
LOOK_INTERVAL_NS = 50_000_000
"""A fast model's frames do not each pay for everything else."""
TELEMETRY_INTERVAL_NS = 5_000_000_000
"""How often telemetry is asked what keeps messages from arriving."""
STOP_WITHIN_S = 5.0
PROBLEMS_SAID = 50
"""Of a bad bundle or config; a hostile one can have thousands."""
NOT_YET_COMPARED = Comparison(verdict="not checked", step=None, detail="")

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
        self._stop = threading.Event()
        self._started_ns = time.monotonic_ns()
        self._problems = Problems(telemetry, on_change=session.notifier.status)
        self._buffer = FrameBuffer(BUFFER_FRAMES, lossless=not config.source.live)
        self._feeder = Feeder(
            config.source, self._buffer, on_problem=lambda problem: self._problems.set("source", problem)
        )
        self._truth = _truth(config, assembly)
        self._watch = self._make_watch()
        self._pipeline = Pipeline(
            session=session.id,
            preprocess=assembly.preprocess,
            runner=assembly.runner,
            decoder=assembly.bundle.decoder,
            watch=self._watch,
            truth=self._truth,
            sample_every=config.monitor.sample_every,
            clock_ns=time.monotonic_ns,
        )
        self._skipped = 0
        self._skipped_last = ""
        self._examined: deque[Callable[[int], None]] = deque()
        self._health_due_ns = self._started_ns
        self._look_due_ns = self._started_ns
        self._skip_log_due_ns = self._started_ns
        self._telemetry_due_ns = self._started_ns

    def stop(self) -> None:
        self._stop.set()

    def emit(self, body: Body, *, urgent: bool = False) -> None:
        """Publish; what cannot be is a problem to show, never the end of the agent."""
        try:
            self._telemetry.emit(body, urgent=urgent)
        except (WireError, OutboxError) as error:
            _log.error("a message was lost: %s", error)
            self._problems.set(f"message {kind_of(body)}", f"could not be published: {error}")
        else:
            self._problems.set(f"message {kind_of(body)}", None)

    def run(self) -> int:
        """Run until the source ends, ``frames`` are done or ``stop`` is called; the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        signal.signal(signal.SIGINT, lambda *_: self.stop())
        cv2.setNumThreads(1)
        self._telemetry.set_preprocess(self._assembly.in_use)
        self._telemetry.set_about(about(self._assembly, self._config, NOT_YET_COMPARED))
        self._announce_override()
        self._feeder.start()
        self._problems.ready()
        self._session.notifier.ready("online")
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
            self._end()
        return 0

    def _loop(self) -> None:
        limit = self._session.frames
        examination = threading.Thread(target=self._examine, name="examination", daemon=True)
        while not self._stop.is_set():
            item = self._buffer.get(WAIT_S)
            if item is not None:
                self._take(item)
            elif self._buffer.ended:
                _log.info("the source has ended")
                return
            if examination.ident is None:
                # Only now: the first prediction need not share the processor with it.
                examination.start()
            now_ns = time.monotonic_ns()
            if now_ns >= self._look_due_ns:
                self._look_due_ns = now_ns + LOOK_INTERVAL_NS
                self._look_after(now_ns)
            if limit is not None and self._pipeline.inferences >= limit:
                return

    def _take(self, item: Frame | Skipped) -> None:
        if isinstance(item, Skipped):
            self._skip(item.name, item.reason)
            return
        try:
            outcome = self._pipeline.process(item)
        except FrameError as error:
            self._skip(item.name, "; ".join(error.problems))
            return
        if self._session.on_outcome:
            self._session.on_outcome(outcome)

    def _skip(self, name: str, reason: str) -> None:
        self._skipped += 1
        self._skipped_last = plain_line(f"{name}: {reason}")
        now_ns = time.monotonic_ns()
        if now_ns >= self._skip_log_due_ns:
            # A damaged stream skips every frame; the log shows one a second, health counts all.
            self._skip_log_due_ns = now_ns + 1_000_000_000
            _log.warning("skipped %s (%d so far)", self._skipped_last, self._skipped)

    def _look_after(self, now_ns: int) -> None:
        """Everything that is not a frame: labels, thresholds, late windows, health, the watchdog."""
        self._receive_all()
        while self._examined:
            self._examined.popleft()(now_ns)
        self._watch.tick(now_ns)
        if now_ns >= self._telemetry_due_ns:
            self._telemetry_due_ns = now_ns + TELEMETRY_INTERVAL_NS
            self._problems.set("telemetry", "; ".join(self._telemetry.stats.problems) or None)
        if now_ns >= self._health_due_ns:
            self._health_due_ns = now_ns + int(self._config.health.interval_s * 1e9)
            self.emit(self._health(now_ns))
        self._session.notifier.progress()

    def _receive_all(self) -> None:
        """Labels that have arrived. Commands are not part of this version."""
        while not self._telemetry.inbox.empty():
            body = self._telemetry.inbox.get().body
            problems = self._truth.receive(body) if isinstance(body, Labels) else ["commands are not taken"]
            for problem in problems:
                _log.warning("refused: %s", problem)

    def _announce_override(self) -> None:
        """Say at start what will explain everything later."""
        differs = self._assembly.in_use.differs
        if differs:
            summary = f"a forced override differs from training in {', '.join(differs)}"
            self._problems.set("preprocess", summary)
            self._alarm_preprocess(differs[0], summary)
        if not self._assembly.answer.right:
            self._problems.set("model", f"golden input: {self._assembly.answer.detail}")

    def _examine(self) -> None:
        """On a thread beside the first frames: compare preprocessing, then learn thresholds. The
        main loop takes what comes out."""
        assembly = self._assembly
        try:
            compared = reproduces(assembly.bundle, assembly.runner.input)
            self._examined.append(lambda _: self._announce_reproduction(compared))
        except Exception as error:  # a defect here must not cost the thresholds
            _log.exception("the comparison with the packed vectors failed")
            self._problems.set("preprocess", f"not compared with the packed vectors: {error!r}")
        try:
            samples = self._config.monitor.window.samples
            detector = prepare_detector(
                assembly.bundle.reference, samples=samples, folder=self._session.state
            )
            self._examined.append(lambda now_ns: self._watch.attach(detector, now_ns=now_ns))
        except Exception as error:  # without thresholds the agent still runs, and says that it is blind
            _log.exception("the thresholds could not be made")
            self._problems.set("monitor", f"drift is not tested: {error!r}")

    def _announce_reproduction(self, compared: Comparison) -> None:
        self._telemetry.set_about(about(self._assembly, self._config, compared))
        if compared.verdict == "differs" and compared.step and not self._assembly.in_use.differs:
            summary = f"this machine does not reproduce step {compared.step}: {compared.detail}"
            self._problems.set("preprocess", summary)
            self._alarm_preprocess(compared.step, summary)

    def _alarm_preprocess(self, step: str, summary: str) -> None:
        alarm = Alarm(
            alarm="preprocess",
            status="raised",
            severity="warning",
            cause=f"preprocess:{step}",
            summary=summary,
            top=self._assembly.in_use.differs,
        )
        self.emit(alarm, urgent=True)

    def _make_watch(self) -> Watch:
        monitor, session = self._config.monitor, self._session
        return Watch(
            reference=self._assembly.bundle.reference,
            features=self._assembly.features,
            accuracy=self._truth.report,
            settings=WatchSettings(
                samples=monitor.window.samples,
                interval_s=monitor.window.interval_s,
                false_alarms_per_month=monitor.false_alarms_per_month,
                alpha_floor=ALPHA_FLOOR,
            ),
            sink=self,
            utc_now=lambda: format_utc(session.clock.wall()),
            now_ns=time.monotonic_ns(),
        )

    def _health(self, now_ns: int) -> Health:
        vitals = read_vitals(self._session.state)
        latency = self._pipeline.latency()
        last_ns = self._pipeline.last_inference_ns
        telemetry = self._telemetry.stats
        outbox, frames = telemetry.outbox, self._buffer.stats
        return Health(
            uptime_s=round((now_ns - self._started_ns) / 1e9, 1),
            frames_in=frames.received,
            frames_dropped=frames.dropped,
            frames_skipped=self._skipped,
            inferences=self._pipeline.inferences,
            labels_joined=self._truth.log.joined,
            labels_unknown=self._truth.log.unknown,
            latency_p50_ms=latency.p50_ms,
            latency_p95_ms=latency.p95_ms,
            last_inference_age_s=None if last_ns is None else round((now_ns - last_ns) / 1e9, 3),
            outbox_messages=outbox.messages,
            outbox_bytes=outbox.bytes,
            outbox_evicted=outbox.evicted,
            outbox_set_aside=outbox.set_aside,
            outbox_oldest_age_s=telemetry.oldest_age_s,
            rss_mib=vitals.rss_mib,
            cpu_s=vitals.cpu_s,
            disk_free_mib=vitals.disk_free_mib,
            soc_temperature_c=vitals.soc_temperature_c,
            skipped_last=self._skipped_last,
        )

    def _end(self) -> None:
        """Close what is open, hand over what has gathered, say goodbye."""
        self._session.notifier.stopping()
        self._feeder.close()
        now_ns = time.monotonic_ns()
        self._receive_all()
        while self._examined:
            self._examined.popleft()(now_ns)
        self._watch.close_window(now_ns)
        self.emit(self._health(now_ns))
        self._problems.close()
        self._telemetry.stop(STOP_WITHIN_S)
        self._assembly.runner.close()


def _truth(config: AgentConfig, assembly: Assembly) -> Truth:
    bundle, task = assembly.bundle, assembly.bundle.manifest.task
    return Truth(
        task=task,
        outputs=math.prod(assembly.runner.outputs[0].shape),
        labels=bundle.labels,
        reference=bundle.reference.mse if task == "regression" else bundle.reference.accuracy,
        newest=config.monitor.labelled_frames,
    )


def start(
    config: AgentConfig,
    *,
    environment: Mapping[str, str],
    frames: int | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> int:
    """Put one session together and run it; the exit code.

    Raises InputError for a bad bundle or config and MachineError when this machine cannot run it;
    what could be published about that has been.
    """
    state = state_dir(config, environment)
    session = Session(
        id=remembered_session(state / "session"),
        state=state,
        notifier=Notifier(address=environment.get("NOTIFY_SOCKET")),
        clock=Clock(wall=time.time, monotonic=time.monotonic, boot_id=boot_id(), synced=clock_synced),
        frames=frames,
        on_outcome=on_outcome,
    )
    # Telemetry is put together on a second thread while the model loads: half of the latter is C.
    opened = Later(lambda: open_telemetry(config, session, environment))
    try:
        assembly = assemble(config, state=state)
    except LitewatchError as error:
        _say_why_not(opened, error)
        raise
    return Service(config, assembly, opened.result(), session).run()


def _say_why_not(opened: "Later[Telemetry]", error: LitewatchError) -> None:
    """Publish why this session cannot run, where telemetry itself can."""
    problems = error.problems if isinstance(error, InputError) else (str(error),)
    try:
        telemetry = opened.result()
        telemetry.set_state("degraded", tuple(plain_line(problem) for problem in problems[:PROBLEMS_SAID]))
        telemetry.stop(STOP_WITHIN_S)
    except LitewatchError as other:
        _log.error("and that could not be published: %s", other)
