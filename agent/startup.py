"""From a config to everything one session needs, in the order in which things can go wrong.

Config and bundle are the user's (exit code 2); runtime and delegate are the machine's.
"""

import errno
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import cast

import cv2
import numpy as np

import agent
from agent import config as configs
from agent.bundle import Bundle, load
from agent.checking import Rehearsal
from agent.config import AgentConfig
from agent.contracts import Runner
from agent.device.sdnotify import Notifier
from agent.device.vitals import cpu_model, os_name
from agent.errors import BundleError, ConfigError, FrameLostError, SpecError, WireError
from agent.failover import Failover
from agent.monitor import promise
from agent.monitor.features import FeatureSet, Task, feature_set
from agent.pipeline import Outcome
from agent.preprocess import spec as specs
from agent.preprocess.compiled import Compiled, compile_spec
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.trace import Comparison
from agent.runtime import KINDS as DELEGATES
from agent.runtime.child import OPENING_S
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import Delegate
from agent.runtime.opening import open_delegate
from agent.sections import ModelConfig, MonitorConfig
from agent.selftest import GOLDEN, Answer, answers
from agent.signals import Signals
from agent.sources import KINDS as SOURCES
from agent.telemetry import wire
from agent.telemetry.clock import Clock
from agent.telemetry.messages import About, PreprocessInUse
from agent.thresholds import plan_of

THREADS_PER_CPU = 4
"""More threads than that only wait for each other, and count against the service's limit of tasks."""
REOPENING_S = 15.0
NOT_YET_COMPARED = Comparison(verdict="not checked", step=None, detail="")
_DISK = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What is wrong with a disk, not with the name of a folder on it."""

_log = logging.getLogger(__name__)


class Trial:
    """What a delegate must pass before it serves: the golden answers at first, later the canary."""

    def __init__(self, passes: Callable[[Runner], str]) -> None:
        self.passes = passes

    def __call__(self, runner: Runner) -> str:
        return self.passes(runner)


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembly:
    """What a session runs. ``in_use`` travels with every message."""

    bundle: Bundle
    runner: Runner
    preprocess: Compiled
    features: FeatureSet
    in_use: PreprocessInUse
    answer: Answer
    override: str | None
    """The forced preprocessing, as it was read."""
    runner_news: "SimpleQueue[str | None]"
    """Why the configured delegate is away, and None when it is back; nothing ever from the CPU."""
    trial: Trial

    @property
    def wrong(self) -> str:
        """How the model answers a golden input wrongly; "" when rightly, or while nothing serves."""
        if self.answer.right or (isinstance(self.runner, Failover) and self.runner.serving == "none"):
            return ""
        return f"golden input: {self.answer.detail}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Which agent.yaml this is: its hash, and its text where it is the newest. ``refused`` says what
    is wrong with a newer one, in whose place the last good config and bundle run."""

    sha256: str
    text: str | None
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What a run of the agent is told from outside."""

    id: str
    state: Path
    socket: Path
    """Where programs on this machine reach the agent."""
    notifier: Notifier
    clock: Clock
    origin: Origin
    rehearsal: Rehearsal
    """Says what is wrong with agent.yaml and its bundle as they are by now: started, then asked from time
    to time."""
    signals: Signals = field(default_factory=Signals)
    problems: tuple[tuple[str, str], ...] = ()
    """What is wrong from the start, by subject."""
    keep: Callable[[Assembly], None] | None = None
    """Remembers this config and bundle as good ones. Raises OSError and BundleError."""
    check_command: tuple[str, ...] = ()
    """Climbs the ladder with this agent.yaml and publishes the result."""
    frames: int | None = None
    """Stop after so many frames; None: when the source ends, or never."""
    on_outcome: Callable[[Outcome], None] | None = None


def state_dir(config: AgentConfig, environment: Mapping[str, str]) -> Path:
    """The folder for outbox and caches, made if need be. Raises ConfigError when its name is at fault.

    With a full or read-only disk it may be missing or not writable: ``state_problem``.
    """
    named = config.device.state_dir or environment.get("STATE_DIRECTORY")
    try:
        path = Path(named) if named else _home(environment) / "litewatch" / config.device.id
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in _DISK:
            raise ConfigError(f"device.state_dir: {path} cannot be made: {error.strerror}") from None
    except RuntimeError:
        raise ConfigError("device.state_dir: must be set, for this user has no home folder") from None
    return path


def state_problem(state: Path) -> str | None:
    """Why nothing outlives this session, where that is so."""
    if not state.is_dir():
        return f"{state} cannot be made on this disk: nothing outlives this session"
    if os.access(state, os.W_OK):
        return None
    read_only = os.statvfs(state).f_flag & os.ST_RDONLY
    why = "is on a read-only disk" if read_only else "is not writable by this user"
    return f"{state} {why}: nothing outlives this session"


def _home(environment: Mapping[str, str]) -> Path:
    """Where a user's programs keep their state. RuntimeError when the user has no home."""
    given = environment.get("XDG_STATE_HOME")
    return Path(given) if given else Path.home() / ".local" / "state"


def assemble(config: AgentConfig, *, state: Path) -> Assembly:
    """Load, verify, build and try out. Raises InputError or MachineError."""
    options = config.model.options
    canary = config.monitor.canary
    golden = max(GOLDEN, canary.inputs if canary.interval_s else 0)
    bundle = load(Path(options.bundle), options.trusted_keys, most_golden=golden)
    problems = check_promise(config, config.monitor, bundle)
    if problems:
        raise ConfigError(*problems)
    override = _override_text(config)
    spec = _override(config, override) or bundle.spec
    runtime = choose(options.runtime, cache=state / "runtime.json")
    news: SimpleQueue[str | None] = SimpleQueue()
    trial = Trial(lambda tried: _golden_problem(bundle, tried))
    runner = _open(config.model, bundle, runtime, trial, news)
    try:
        trained = _compile(bundle.spec, runner, bundle.name)
        forced = spec is not bundle.spec
        return Assembly(
            bundle=bundle,
            runner=runner,
            preprocess=_compile(spec, runner, "model.preprocess_override") if forced else trained,
            features=_features(bundle, runner),
            in_use=PreprocessInUse(
                fingerprint=specs.fingerprint(spec), differs=specs.differing_steps(bundle.spec, spec)
            ),
            answer=_first_answer(bundle, trained, runner),
            override=override,
            runner_news=news,
            trial=trial,
        )
    except BaseException:
        # Another config may be tried in this process: the device must be free then.
        runner.close()
        raise


def _open(
    model: ModelConfig, bundle: Bundle, runtime: Runtime, trial: Trial, news: "SimpleQueue[str | None]"
) -> Runner:
    """The CPU's runner, or the hardware delegate's with the CPU behind it."""
    options = model.options
    threads = _threads(options.threads)

    first = True

    def opened(delegate: Delegate) -> Runner:
        nonlocal first
        # At first the library comes from a slow card. Later a driver that hangs may not keep one that
        # is well again waiting.
        opening_s, first = (OPENING_S if first else REOPENING_S), first and not delegate.hardware
        return open_delegate(
            delegate,
            cpu=bundle.flatbuffer,
            edgetpu=bundle.edgetpu,
            runtime=runtime,
            threads=threads,
            timeout_s=options.invoke_timeout_s,
            opening_s=opening_s,
        )

    if not model.delegate.hardware:
        return opened(model.delegate)
    return Failover(
        hardware=lambda: opened(model.delegate),
        cpu=lambda: opened(Cpu()),
        trial=trial,
        on_problem=news.put,
        now_ns=time.monotonic_ns,
        fallback=options.fallback,
    )


def _threads(wanted: int) -> int:
    most = THREADS_PER_CPU * (os.cpu_count() or 1)
    if wanted > most:
        _log.warning("model.threads: %d is more than this machine can use: %d run", wanted, most)
    return min(wanted, most)


def _first_answer(bundle: Bundle, preprocess: Compiled, runner: Runner) -> Answer:
    """Of what serves. A delegate lost with the very first input has the CPU behind it, or nothing."""
    try:
        return answers(bundle, preprocess, runner)
    except FrameLostError:
        try:
            return answers(bundle, preprocess, runner)
        except FrameLostError as error:
            return Answer(right=False, detail=str(error))


def _golden_problem(bundle: Bundle, runner: Runner) -> str:
    """What a runner answers wrongly; "" when nothing."""
    found = answers(bundle, compile_spec(bundle.spec, runner.input), runner)
    return "" if found.right else f"golden input: {found.detail}"


def check_about(assembly: Assembly, config: AgentConfig, origin: Origin) -> None:
    """Raises ConfigError where what runs here cannot be said: a config too large for one message."""
    try:
        wire.body_json(about(assembly, config, NOT_YET_COMPARED, origin))
    except WireError as error:
        what = "the topic about, which carries this config, cannot be sent (are device.labels too long?)"
        raise ConfigError(*(f"{what}: {problem}" for problem in error.problems)) from None


def about(assembly: Assembly, config: AgentConfig, compared: Comparison, origin: Origin) -> About:
    """What runs here, for the ``about`` topic; ``compared`` says whether it prepares as trained."""
    bundle, info, manifest = assembly.bundle, assembly.runner.info, assembly.bundle.manifest
    return About(
        agent=agent.__version__,
        python=platform.python_version(),
        os=os_name(),
        machine=platform.machine(),
        cpu=cpu_model(),
        numpy=np.__version__,
        opencv=cv2.__version__,
        runtime=info.runtime,
        runtime_version=info.version,
        delegate=info.delegate,
        kernels=info.kernels,
        threads=info.threads,
        ops_total=info.ops_total,
        ops_delegated=info.ops_delegated,
        bundle=bundle.name,
        flatbuffer_sha256=manifest.flatbuffer.sha256,
        manifest_sha256=bundle.manifest_sha256,
        task=manifest.task,
        preprocess_version=manifest.preprocess.version,
        fingerprint=manifest.preprocess.fingerprint,
        training_run=manifest.training_run,
        signed_by=bundle.signed_by,
        reproduction=compared.verdict,
        reproduction_step=compared.step,
        reproduction_detail=compared.detail,
        reference_accuracy=bundle.reference.accuracy,
        reference_labelled=bundle.reference.labelled,
        config=configs.public(config, sources=SOURCES, delegates=DELEGATES),
        config_sha256=origin.sha256,
        config_is="last good" if origin.refused else "newest",
    )


def check_promise(config: AgentConfig, monitor: MonitorConfig, bundle: Bundle) -> tuple[str, ...]:
    """Why the false-alarm promise of ``monitor`` cannot be kept with this bundle and source."""
    plan = plan_of(monitor, calibration_rows=len(bundle.reference.calibration), fps=config.source.fps)
    problems = [problem for kind in monitor.detectors for problem in kind.broken_promise(plan)]
    return tuple(dict.fromkeys([*problems, *_too_short(monitor)]))


def _too_short(monitor: MonitorConfig) -> list[str]:
    """Half of the commissioning rows are calibration rows, and windows may be a quarter of those."""
    wanted, samples = monitor.commissioning, monitor.window.samples
    rows = wanted.samples // 2
    if not wanted.enabled or samples <= rows * promise.SAMPLES_PER_ROW:
        return []
    return [
        f"monitor.commissioning.samples: {wanted.samples} leave {rows} calibration rows, and windows of "
        f"{samples} are more than a quarter of those; use at least {8 * samples}, or smaller windows"
    ]


def _override_text(config: AgentConfig) -> str | None:
    override = config.model.options.preprocess_override
    if override is None:
        return None
    try:
        return Path(override.path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"model.preprocess_override.path: {override.path} cannot be read: {error}"
        ) from None


def _override(config: AgentConfig, text: str | None) -> PreprocessSpec | None:
    override = config.model.options.preprocess_override
    if override is None or text is None:
        return None
    return specs.parse(text, where=f"model.preprocess_override: {Path(override.path).name}")


def _compile(spec: PreprocessSpec, runner: Runner, where: str) -> Compiled:
    try:
        return compile_spec(spec, runner.input)
    except SpecError as error:
        raise SpecError(*(f"{where}: {problem}" for problem in error.problems)) from None


def _features(bundle: Bundle, runner: Runner) -> FeatureSet:
    """The features of this model, which must be those of the bundle's reference."""
    # A decoder's kind is a task of the statistics; a kind without features would fail right here.
    task = cast(Task, bundle.manifest.task)
    reference = bundle.reference
    image = specs.is_image(bundle.spec)
    named = zip(reference.features, reference.families, strict=True)
    made = feature_set(
        image=image,
        prediction=task,
        vector=() if image else tuple(name for name, family in named if family != "output"),
        outputs=int(np.prod(runner.outputs[0].shape)) if task == "regression" else 1,
    )
    if made.names != reference.features:
        raise BundleError(
            f"{bundle.name}: reference.json: its features are not those of this agent "
            f"({agent.__version__}): pack the model again"
        )
    return made
