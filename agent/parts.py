"""The parts of a running service, made from its config: what a frame passes, and what looks after it."""

import hashlib
import math
import random
import time
from dataclasses import dataclass
from queue import SimpleQueue

import agent
from agent.blessings import BlessingsFile
from agent.buffer import BufferStats
from agent.canary import Canary
from agent.canary_inputs import canary_inputs
from agent.capture import Capture
from agent.checking import Checking
from agent.config import AgentConfig
from agent.contracts import Frame, RunnerInfo
from agent.device.control_socket import Ask
from agent.device.coral import CoralWatch
from agent.device.vitals import cpu_model, read_vitals
from agent.failover import Failover
from agent.health import CanaryTally, HealthReporter, Tally
from agent.monitor.canary import Key
from agent.monitor.picture import PictureWatch
from agent.pipeline import Outcome, Pipeline
from agent.preprocess.decoding import Decode
from agent.problems import Problems
from agent.runtime.cpu import Cpu
from agent.runtime.setup import setup_of
from agent.samples import SampleStore
from agent.sight import Sight
from agent.startup import Assembly, Session
from agent.telemetry.announcer import Announcer
from agent.telemetry.clock import format_utc
from agent.telemetry.health_body import Health
from agent.telemetry.homeassistant import Announced, announcement
from agent.telemetry.telemetry import Telemetry, TelemetryStats
from agent.telemetry.topic_file import TopicFile
from agent.thresholds import ALPHA_FLOOR
from agent.truth import Truth
from agent.watch import Sink, Watch, WatchSettings


@dataclass(kw_only=True, slots=True)
class Parts:
    """``canary`` comes some time after the start. ``asks`` are commands of programs on this machine, put
    there by the control socket's thread."""

    config: AgentConfig
    assembly: Assembly
    problems: Problems
    sink: Sink
    pipeline: Pipeline
    watch: Watch
    truth: Truth
    canary: Canary | None
    capture: Capture
    sight: Sight | None
    checking: Checking | None
    reporter: HealthReporter
    asks: "SimpleQueue[Ask]"

    def process(self, frame: Frame) -> Outcome:
        """Run a frame, and keep it where it is worth keeping. Raises what ``Pipeline.process`` does."""
        if self.sight is not None:
            self.sight.frame(frame)
        outcome = self.pipeline.process(frame)
        if self.config.capture.enabled:
            sample = self.capture.offer(
                frame, outcome.prediction, outcome.frame, time.monotonic_ns(), alarmed=self.watch.alarmed
            )
            if sample is not None:
                self.sink.emit(sample)
        return outcome

    def look_after(self, now_ns: int, *, idle: bool) -> None:
        """What is due besides frames. ``idle``: no frame waits for the model."""
        self.watch.tick(now_ns)
        if self.canary is not None:
            self.canary.tick(now_ns, idle=idle)
        if self.sight is not None:
            self.sight.report()
        if self.config.capture.enabled:
            self.problems.set("capture", self.capture.problem)
        if self.checking is not None and (ended := self.checking.poll()) is not None:
            self.problems.set("check", f"could not be run: {ended}" if ended else None)

    def runner_changed(self) -> bool:
        """Whether another runner serves than at the last call; says what is wrong with the delegate."""
        news = self.assembly.runner_news
        changed = False
        while not news.empty():
            self.problems.set("delegate", news.get())
            changed = True
        return changed

    def health(self, now_ns: int, *, tally: Tally, frames: BufferStats, telemetry: TelemetryStats) -> Health:
        canary = self.canary
        tally.captured = self.capture.kept
        return self.reporter.report(
            now_ns,
            tally=tally,
            pipeline=self.pipeline,
            frames=frames,
            labels=self.truth.log,
            telemetry=telemetry,
            runner=self.assembly.runner,
            canary=CanaryTally(runs=canary.runs, mismatches=canary.mismatches, blessed=canary.blessed)
            if canary
            else CanaryTally(),
        )

    def close(self) -> None:
        if self.checking is not None:
            self.checking.close()


def put_together(
    config: AgentConfig, assembly: Assembly, session: Session, *, sink: Sink, problems: Problems
) -> Parts:
    """The parts of a session that begins now."""
    now_ns = time.monotonic_ns()
    truth = _truth(config, assembly)
    watch = _watch(config, assembly, session, truth, sink, now_ns)
    sight = _sight(config, problems, sink)
    return Parts(
        config=config,
        assembly=assembly,
        problems=problems,
        sink=sink,
        pipeline=Pipeline(
            session=session.id,
            preprocess=assembly.preprocess,
            runner=assembly.runner,
            decoder=assembly.bundle.decoder,
            watch=watch,
            truth=truth,
            sample_every=config.monitor.sample_every,
            clock_ns=time.monotonic_ns,
            look=sight.view if sight and assembly.preprocess.image else None,
        ),
        watch=watch,
        truth=truth,
        canary=None,
        capture=_capture(config, assembly, session, now_ns),
        sight=sight,
        checking=Checking(session.check_command) if session.check_command else None,
        reporter=HealthReporter(
            started_ns=now_ns,
            vitals=lambda: read_vitals(session.state),
            synced=session.clock.synced,
            coral=CoralWatch() if config.model.delegate.name == "edgetpu" else None,
        ),
        asks=SimpleQueue(),
    )


def _truth(config: AgentConfig, assembly: Assembly) -> Truth:
    bundle, task = assembly.bundle, assembly.bundle.manifest.task
    return Truth(
        task=task,
        outputs=math.prod(assembly.runner.outputs[0].shape),
        labels=bundle.labels,
        reference=bundle.reference.mse if task == "regression" else bundle.reference.accuracy,
        newest=config.monitor.labelled_frames,
    )


def _watch(
    config: AgentConfig, assembly: Assembly, session: Session, truth: Truth, sink: Sink, now_ns: int
) -> Watch:
    monitor = config.monitor
    return Watch(
        reference=assembly.bundle.reference,
        features=assembly.features,
        accuracy=truth.report,
        settings=WatchSettings(
            samples=monitor.window.samples,
            interval_s=monitor.window.interval_s,
            false_alarms_per_month=monitor.false_alarms_per_month,
            alpha_floor=ALPHA_FLOOR,
        ),
        sink=sink,
        utc_now=lambda: format_utc(session.clock.wall()),
        now_ns=now_ns,
    )


def _sight(config: AgentConfig, problems: Problems, sink: Sink) -> Sight | None:
    """Only a live source is expected to show something new."""
    if not config.source.live:
        return None
    watch = PictureWatch(config.monitor.picture)
    return Sight(watch, on_problem=lambda problem: problems.set("picture", problem), sink=sink)


def _capture(config: AgentConfig, assembly: Assembly, session: Session, now_ns: int) -> Capture:
    options = config.capture
    return Capture(
        options,
        store=SampleStore(session.state / "samples", max_bytes=options.max_mb * 1_000_000),
        decode=next((step for step in assembly.bundle.spec.steps if isinstance(step, Decode)), None),
        wall=session.clock.wall,
        random=random.random,
        now_ns=now_ns,
    )


def make_canary(
    config: AgentConfig, assembly: Assembly, session: Session, *, sink: Sink, problems: Problems
) -> Canary | None:
    """None where it is off or the bundle has nothing to run it on. From now on a delegate that comes back
    must pass it. Raises FrameError and SpecError for a bundle whose golden set does not fit."""
    options = config.monitor.canary
    bundle, runner = assembly.bundle, assembly.runner
    golden = canary_inputs(bundle, runner.input, count=options.inputs) if options.interval_s else ()
    if not golden:
        return None
    twin_sha256 = hashlib.sha256(bundle.edgetpu).hexdigest() if bundle.edgetpu else ""
    cpu, setup = cpu_model(), setup_of(config.model.delegate)

    def key(info: RunnerInfo) -> Key:
        twin = info.delegate != Cpu.name and config.model.delegate.twin == "edgetpu"
        model_sha256 = twin_sha256 if twin else bundle.manifest.flatbuffer.sha256
        on_cpu = info.delegate == Cpu.name
        return Key.of(info, model_sha256=model_sha256, cpu=cpu, setup="" if on_cpu else setup)

    def distrust(reason: str) -> None:
        if isinstance(runner, Failover):
            runner.distrust(f"its answers changed: {reason}")

    canary = Canary(
        golden=golden,
        runner=runner,
        decoder=bundle.decoder,
        key=key,
        store=BlessingsFile(session.state / "canary.bin"),
        options=options,
        sink=sink,
        on_mismatch=distrust,
        on_problem=lambda problem: problems.set("canary", problem),
        progress=session.notifier.progress,
    )
    assembly.trial.passes = canary.trial
    return canary


def announcer(config: AgentConfig, assembly: Assembly, session: Session, telemetry: Telemetry) -> Announcer:
    """Tells Home Assistant of the device where agent.yaml wants it, and takes it back where it did."""
    home = config.mqtt.home_assistant if config.mqtt else None
    wanted = None
    if home is not None and home.enabled:
        announced = Announced(
            site=config.device.site,
            device=config.device.id,
            agent=agent.__version__,
            bundle=assembly.bundle.name,
            task=assembly.bundle.manifest.task,
            window_s=config.monitor.window.interval_s,
            health_s=config.health.interval_s,
            flush_s=config.outbox.flush_interval_s,
        )
        wanted = announcement(announced, prefix=home.prefix)
    return Announcer(telemetry=telemetry, memory=TopicFile(session.state / "announced"), wanted=wanted)
