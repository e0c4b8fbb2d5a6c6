"""The parts of a running service, made from its config: what a frame passes, and what looks after it."""

import hashlib
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

import agent
from agent.alarming import Raised, Sink
from agent.baseline import BaselineFile
from agent.blessings import BlessingsFile
from agent.buffer import BufferStats
from agent.canary import Canary
from agent.canary_inputs import canary_inputs
from agent.capture import Capture
from agent.change import ChangeWatch, Learn
from agent.checking import Checking
from agent.config import AgentConfig
from agent.contracts import Frame, RunnerInfo
from agent.device.control_socket import Ask
from agent.device.coral import CoralWatch
from agent.device.vitals import cpu_model, read_vitals
from agent.diagnosing import Diagnoser, machine_of
from agent.failover import Failover
from agent.health import CanaryTally, HealthReporter, Tally
from agent.label_file import LabelFile
from agent.monitor.canary import Key
from agent.monitor.commissioning import Wanted, baseline_key
from agent.monitor.picture import PictureWatch
from agent.monitor.thinning import Thinning
from agent.pipeline import Outcome, Pipeline
from agent.preprocess.decoding import Decode
from agent.preprocess.trace import Comparison
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
from agent.truth import Truth
from agent.watch import Watch, WatchSettings

HELD_BACK = 128
"""Sampled frames after which it is known how much one says beyond the last; fewer where windows are
smaller."""


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
    baseline: BaselineFile | None
    truth: Truth
    label_file: LabelFile
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
                frame,
                outcome.prediction,
                outcome.frame,
                time.monotonic_ns(),
                alarmed=self.watch.alarmed,
                right=outcome.right,
            )
            if sample is not None:
                self.sink.emit(sample)
        return outcome

    def look_after(self, now_ns: int, *, idle: bool) -> None:
        """What is due besides frames. ``idle``: no frame waits for the model."""
        self.watch.tick(now_ns)
        if self.baseline is not None:
            self.baseline.tick(now_ns)
            self.problems.set("commissioning", self.baseline.problem or None)
        self.problems.set("labels", self.label_file.problem or None)
        if self.canary is not None:
            self.canary.tick(now_ns, idle=idle)
        if self.sight is not None:
            self.sight.report()
        if self.config.capture.enabled:
            self.problems.set("capture", self.capture.problem)
        if self.checking is not None and (ended := self.checking.poll()) is not None:
            self.problems.set("check", f"could not be run: {ended}" if ended else None)

    def diagnoser(self, compared: Callable[[], Comparison], session: Session, *, sink: Sink) -> Diagnoser:
        """Explains alarms from everything the parts know."""
        coral = CoralWatch() if self.config.model.delegate.name == "edgetpu" else None
        return Diagnoser(
            reference=self.assembly.bundle.reference,
            library=self.assembly.bundle.signatures,
            problems=self.problems,
            forced=self.assembly.in_use.differs,
            compared=compared,
            machine=lambda: machine_of(
                read_vitals(session.state), coral, self.canary.blessed if self.canary else 0
            ),
            sink=sink,
        )

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
        if self.baseline is not None:
            self.baseline.save()


def put_together(
    config: AgentConfig,
    assembly: Assembly,
    session: Session,
    *,
    sink: Sink,
    problems: Problems,
    learn: Callable[[Learn], None],
    explain: Callable[[Raised], None],
) -> Parts:
    """The parts of a session that begins now. ``learn`` is asked for detectors, ``explain`` for the cause
    of an alarm."""
    now_ns = time.monotonic_ns()
    label_file = LabelFile(session.state / "labels.jsonl", assembly.bundle.manifest_sha256)
    truth = _truth(config, assembly, label_file)
    baseline = _baseline(config, assembly, session, problems)
    watch = Watch(
        reference=assembly.bundle.reference,
        features=assembly.features,
        change=ChangeWatch(
            training=assembly.bundle.reference,
            thinning=Thinning(config.monitor.thinning, min(HELD_BACK, config.monitor.window.samples)),
            baseline=baseline.baseline if baseline else None,
            samples=config.monitor.window.samples,
            learn=learn,
        ),
        estimator=assembly.bundle.estimator,
        accuracy=truth.report,
        settings=WatchSettings(
            samples=config.monitor.window.samples,
            interval_s=config.monitor.window.interval_s,
            tolerance_points=config.monitor.tolerance_points,
        ),
        sink=sink,
        explain=explain,
        utc_now=lambda: format_utc(session.clock.wall()),
        now_ns=now_ns,
    )
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
        baseline=baseline,
        truth=truth,
        label_file=label_file,
        canary=None,
        capture=_capture(config, assembly, session, truth, now_ns),
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


def _truth(config: AgentConfig, assembly: Assembly, memory: LabelFile) -> Truth:
    bundle, task = assembly.bundle, assembly.bundle.manifest.task
    return Truth(
        task=task,
        outputs=math.prod(assembly.runner.outputs[0].shape),
        labels=bundle.labels,
        reference=bundle.reference.mse if task == "regression" else bundle.reference.accuracy,
        newest=config.monitor.labelled_frames,
        memory=memory,
    )


def _baseline(
    config: AgentConfig, assembly: Assembly, session: Session, problems: Problems
) -> BaselineFile | None:
    """The device's own baseline: of this bundle, sampled and thinned in this way."""
    monitor = config.monitor
    if not monitor.commissioning.enabled:
        return None
    wanted = Wanted(
        key=baseline_key(assembly.bundle.manifest_sha256, monitor.sample_every, monitor.thinning),
        features=len(assembly.features.names),
        hours=monitor.commissioning.hours,
        samples=monitor.commissioning.samples,
    )
    kept = BaselineFile(session.state / "baseline.bin", wanted)
    problems.set("commissioning", kept.problem or None)
    return kept


def _sight(config: AgentConfig, problems: Problems, sink: Sink) -> Sight | None:
    """Only a live source is expected to show something new."""
    if not config.source.live:
        return None
    watch = PictureWatch(config.monitor.picture)
    return Sight(watch, on_problem=lambda problem: problems.set("picture", problem), sink=sink)


def _capture(config: AgentConfig, assembly: Assembly, session: Session, truth: Truth, now_ns: int) -> Capture:
    options = config.capture
    return Capture(
        options,
        store=SampleStore(session.state / "samples", max_bytes=options.max_mb * 1_000_000),
        decode=next((step for step in assembly.bundle.spec.steps if isinstance(step, Decode)), None),
        wall=session.clock.wall,
        random=random.random,
        now_ns=now_ns,
        on_kept=truth.keep,
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
