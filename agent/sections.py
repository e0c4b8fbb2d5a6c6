"""The sections of agent.yaml that have no room of their own, as frozen dataclasses.

A section's ``problems()`` names values of the right type that make no sense, by dotted path below it.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from agent.monitor.canary import CanaryOptions
from agent.monitor.picture import PictureOptions
from agent.telemetry.messages import identifier_problem

LONGEST_INTERVAL_S = 31 * 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceConfig:
    """Who this device is. ``id`` and ``site`` become levels of its MQTT topics."""

    id: str
    site: str = "default"
    labels: dict[str, str] = field(default_factory=dict)
    state_dir: str | None = None
    """Where the outbox and caches live; None: systemd's state directory, or ``~/.local/state``."""

    def problems(self) -> list[str]:
        named = (("id", self.id), ("site", self.site))
        found = [f"{name}: {problem}" for name, value in named if (problem := identifier_problem(value))]
        return found + [f"{name}: cannot be {value!r}" for name, value in named if value in (".", "..")]


@dataclass(frozen=True, kw_only=True, slots=True)
class OverrideConfig:
    """A legacy preprocessing that is forced although it differs from the bundle's."""

    path: str
    accept_mismatch: bool = False
    """Must be true: every message will say that preprocessing differs, and in which steps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """The plain keys of section ``model``."""

    bundle: str
    runtime: Literal["auto", "litert", "tflite"] = "auto"
    threads: int = 1
    fallback: Literal["cpu", "none"] = "cpu"
    """What takes over when a hardware delegate is lost; without meaning for delegate ``cpu``."""
    invoke_timeout_s: float = 5.0
    """A hardware delegate that has not answered after this hangs and is given up."""
    trusted_keys: tuple[str, ...] = ()
    """Base64 Ed25519 public keys; with any set, only bundles signed by one of them run."""
    preprocess_override: OverrideConfig | None = None

    def problems(self) -> list[str]:
        found = at_least(threads=(self.threads, 1), invoke_timeout_s=(self.invoke_timeout_s, 0.05))
        found += at_most(threads=(self.threads, 256), invoke_timeout_s=(self.invoke_timeout_s, 60))
        if not self.bundle:
            found.append("bundle: must name a file")
        if self.preprocess_override and not self.preprocess_override.accept_mismatch:
            found.append(
                "preprocess_override.accept_mismatch: must be true: the device would run another "
                "preprocessing than the model was trained with, and every message will say so"
            )
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    options: ModelOptions
    delegate: Any
    """An instance of a kind from ``agent.runtime.KINDS``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """A window closes after ``samples`` sampled frames or ``interval_s``, whichever comes first;
    drift is tested on ``samples`` of them, collected over as many windows as that takes."""

    samples: int = 250
    interval_s: float = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CommissioningConfig:
    """The device's own baseline, which change is alarmed against once it is complete."""

    enabled: bool = True
    hours: float = 24.0
    """A shorter baseline makes every night an alarm."""
    samples: int = 2000
    """Independent sampled frames, after thinning."""

    def problems(self) -> list[str]:
        found = at_least(hours=(self.hours, 0), samples=(self.samples, 100))
        return found + at_most(hours=(self.hours, 24 * 31), samples=(self.samples, 20_000))


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorOptions:
    """The plain keys of section ``monitor``."""

    sample_every: int = 10
    """Statistics are taken of every n-th frame."""
    window: WindowConfig = WindowConfig()
    false_alarms_per_month: float = 1.0
    """The promise, over all detectors of this device together."""
    tolerance_points: float = 2.0
    """A loss of accuracy that is no reason for more than a notice."""
    thinning: float = 3.0
    """Frames count as independent when they lie so many times the measured autocorrelation time
    apart; 0 takes every sampled frame for independent."""
    commissioning: CommissioningConfig = CommissioningConfig()
    labelled_frames: int = 1000
    """Accuracy is over the newest so many labelled frames, 10,000 at most."""
    canary: CanaryOptions = field(default_factory=CanaryOptions)
    picture: PictureOptions = field(default_factory=PictureOptions)

    def problems(self) -> list[str]:
        found = at_least(
            sample_every=(self.sample_every, 1),
            window__samples=(self.window.samples, 20),
            window__interval_s=(self.window.interval_s, 0.1),
            labelled_frames=(self.labelled_frames, 1),
        )
        found += at_most(
            window__interval_s=(self.window.interval_s, LONGEST_INTERVAL_S),
            labelled_frames=(self.labelled_frames, 10_000),
        )
        if self.false_alarms_per_month <= 0:
            found.append("false_alarms_per_month: must be more than 0")
        found += at_least(tolerance_points=(self.tolerance_points, 0), thinning=(self.thinning, 0))
        found += at_most(tolerance_points=(self.tolerance_points, 100), thinning=(self.thinning, 100))
        found += [f"commissioning.{problem}" for problem in self.commissioning.problems()]
        found += [f"canary.{problem}" for problem in self.canary.problems()]
        return found + [f"picture.{problem}" for problem in self.picture.problems()]


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorConfig(MonitorOptions):
    """Section ``monitor``."""

    detectors: tuple[Any, ...] = ()
    """Instances of kinds from ``agent.monitor.drift.KINDS``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthConfig:
    interval_s: float = 300.0

    def problems(self) -> list[str]:
        return at_least(interval_s=(self.interval_s, 0.1)) + at_most(
            interval_s=(self.interval_s, LONGEST_INTERVAL_S)
        )


def at_least(**limits: tuple[float, float]) -> list[str]:
    """Problems of ``name=(value, lowest)``."""
    return [
        f"{name.replace('__', '.')}: must be at least {low:g}, got {value:g}"
        for name, (value, low) in limits.items()
        if not value >= low
    ]


def at_most(**limits: tuple[float, float]) -> list[str]:
    """Problems of ``name=(value, highest)``."""
    return [
        f"{name.replace('__', '.')}: must be at most {high:g}, got {value:g}"
        for name, (value, high) in limits.items()
        if not value <= high
    ]
