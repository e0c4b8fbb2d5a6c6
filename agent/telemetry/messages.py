"""Every message Litewatch sends or receives, and the topics they travel on.

A message is an ``Envelope`` around one body. Bodies are frozen dataclasses of plain values
(no arrays), so this module needs nothing but the standard library; ``telemetry.wire`` turns them
into bytes and back. Fields may be added with a default; a body's schema number changes only when
an old collector would misread it.

Times ``*_at`` are UTC in RFC 3339; durations carry their unit.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from agent.telemetry.accuracy_body import Accuracy as Accuracy
from agent.telemetry.accuracy_body import Estimate as Estimate
from agent.telemetry.health_body import Health as Health

TOPIC_ROOT = "litewatch/1"
UNSEQUENCED = 0
"""``seq`` of what is published outside the outbox (births, wills, about, acks)."""
IDENTIFIER_LENGTH = 64
"""Most characters of a device, site or session identifier."""

Severity: TypeAlias = Literal["notice", "warning", "critical"]
CRITICAL_POINTS = 10.0
"""An estimated loss of so many points of accuracy is an alarm of the highest severity."""
DeviceState: TypeAlias = Literal["starting", "online", "degraded", "stopped", "lost"]
Reproduction: TypeAlias = Literal["exact", "within tolerance", "differs", "not checked"]


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What the device can do now. ``connection`` counts MQTT connections of the session."""

    state: DeviceState
    connection: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What runs on the device: versions and hashes, and the config without its secrets."""

    agent: str
    python: str
    os: str
    machine: str
    cpu: str
    numpy: str
    opencv: str
    runtime: str
    runtime_version: str
    delegate: str
    kernels: str
    threads: int
    ops_total: int
    ops_delegated: int
    bundle: str
    """Name of the bundle file."""
    flatbuffer_sha256: str
    manifest_sha256: str
    task: str
    preprocess_version: str
    fingerprint: str
    training_run: str | None
    signed_by: str | None
    reproduction: Reproduction
    """Whether this machine reproduces the bundle's packed vectors."""
    reproduction_step: str | None = None
    """The first step that does not."""
    reproduction_detail: str = ""
    reference_accuracy: float | None = None
    reference_labelled: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    config_sha256: str = ""
    """Of agent.yaml's text: changes when a reload was applied."""
    config_is: Literal["newest", "last good"] = "newest"
    """Whether a newer config or bundle was refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureWindow:
    """One feature over a window: counts on the reference's bins, moments, distances."""

    name: str
    counts: tuple[int, ...]
    mean: float
    std: float
    psi: float
    ks: float
    wasserstein: float
    js: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One detector's score. It stands only where a test was due; ``p <= alpha`` is drift."""

    detector: str
    n: int
    p: float
    alpha: float
    statistics: dict[str, float]
    top: tuple[str, ...]
    """The features furthest from the reference, worst first."""
    family: str
    """What the top features speak of: light, sharpness, colour, texture, layout, output, class, value."""
    against: Literal["training", "commissioning"] = "training"
    """Change is alarmed against the device's own commissioning; until that exists, against training."""
    provisional: bool = False
    """Alarmed by the bundle's thresholds, because the device's own baseline is not ready yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Commissioning:
    """How far the device's own baseline is."""

    ready: bool
    samples: int
    samples_wanted: int
    hours: float
    hours_wanted: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """How much one frame says beyond the last: measured on the sampled frames."""

    dwell_samples: float | None
    """Median integrated autocorrelation time of the features, in sampled frames; None: not yet known."""
    thinning: int
    """Every so many sampled frames one counts as independent."""
    lag_1: float | None = None
    """Median correlation of neighbours among the independent ones of this window; published when it
    is more than 0.1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One tumbling window of sampled frames."""

    opened_at: str
    closed_at: str
    duration_s: float
    frames: int
    samples: int
    features: tuple[FeatureWindow, ...]
    groups: dict[str, int]
    """Predicted classes per group of the reference."""
    drift: tuple[Drift, ...] = ()
    accuracy: Accuracy | None = None
    confidence: float | None = None
    """Mean top score of the sampled frames (classification)."""
    estimate: Estimate | None = None
    """Accuracy now, without labels; None where the bundle carries nothing to estimate it with."""
    stream: Stream | None = None
    commissioning: Commissioning | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """A promise kept: something changed. Raised once, cleared once, with hysteresis."""

    alarm: str
    """What is alarmed, e.g. ``drift``."""
    status: Literal["raised", "cleared"]
    severity: Severity
    cause: str
    """``data:<family>``, ``preprocess:<step>``, …"""
    summary: str
    evidence: dict[str, float] = field(default_factory=dict)
    top: tuple[str, ...] = ()
    loss_points: float | None = None
    """Estimated loss of accuracy against the held-out inputs, in points; alarms are ranked by it.
    None where it cannot be estimated."""
    loss_low: float | None = None
    loss_high: float | None = None
    """Its 90 % interval."""
    detector: str = ""
    against: Literal["training", "commissioning"] | None = None
    provisional: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRung:
    name: str
    verdict: Literal["ok", "changed", "harmful"]
    inputs: int
    flips: int
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Result of a check on the device's hardware."""

    verdict: Literal["ok", "changed", "harmful"]
    cause: str | None
    rungs: tuple[CheckRung, ...]
    sentence: str = ""
    transaction: str | None = None
    """Of the command that asked for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedCause:
    cause: str
    weight: float
    """0 … 1: how much speaks for it; weights of several causes need not add up to 1."""
    evidence: str
    next_step: str = ""
    match: float | None = None
    """Cosine with the closest replayed fault; None where the cause was not found by matching."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """Causes ranked, each with its evidence and the next thing to do."""

    causes: tuple[RankedCause, ...]
    summary: str = ""
    loss_points: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    trigger: str = ""
    """What asked for it: the name of an alarm, or ``command``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One captured frame, opt-in. ``image`` is a base64 encoded JPEG or PNG."""

    frame: str
    captured_at: str
    reason: str
    image: str = ""
    values: tuple[float, ...] = ()
    weight: float = 1.0
    label_weight: float = 0.0
    """For how many frames its label stands in an estimate of accuracy; 0 for itself alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """Truth that arrives later, for a frame by its id or by the name its source gave it."""

    label: int | float | str
    frame: str | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Many labels in one message."""

    labels: tuple[Label, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    command: str
    arguments: dict[str, Any] = field(default_factory=dict)
    transaction: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    transaction: str | None
    ok: bool
    problems: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ack:
    """The collector has committed every message of ``acked_session`` up to and including ``upto``."""

    acked_session: str
    upto: int


Body: TypeAlias = (
    State | About | Health | Window | Alarm | Check | Diagnosis | Sample | Labels | Command | Reply | Ack
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One topic: its body, schema number, and whether it is retained, and who publishes it."""

    body: type[Any]
    version: int = 1
    retained: bool = False
    inbound: bool = False
    """Published to the device rather than by it."""


KINDS: dict[str, Kind] = {
    "state": Kind(body=State, retained=True),
    "about": Kind(body=About, retained=True),
    "health": Kind(body=Health),
    "window": Kind(body=Window),
    "alarm": Kind(body=Alarm),
    "check": Kind(body=Check),
    "diagnosis": Kind(body=Diagnosis),
    "sample": Kind(body=Sample),
    "label": Kind(body=Labels, inbound=True),
    "command": Kind(body=Command, inbound=True),
    "reply": Kind(body=Reply),
    "ack": Kind(body=Ack, inbound=True),
}


def kind_of(body: Body) -> str:
    """The topic a body travels on."""
    return next(name for name, kind in KINDS.items() if kind.body is type(body))


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessInUse:
    """Which preprocessing made the numbers in this message.

    ``differs`` names the steps a forced override changed against the bundle; normally empty.
    """

    fingerprint: str
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """``(device, session, seq)`` is a message's identity.

    ``floor`` is the lowest seq of the session the device still holds: everything below was
    acknowledged or evicted, so a collector need not wait for it. ``created_at`` is when the message
    was made (``sent_at`` without it) and ``historical`` marks messages sent long after that;
    ``boot_id`` and ``clock_synced`` are those of the making and say how far to trust times.
    """

    schema: str
    device: str
    site: str
    session: str
    seq: int
    sent_at: str
    boot_id: str
    clock_synced: bool
    historical: bool
    body: Any
    created_at: str | None = None
    floor: int = 0
    preprocess: PreprocessInUse | None = None


def identifier_problem(text: str) -> str | None:
    """Why ``text`` cannot name a device, a site or a session (it is one level of a topic), or None."""
    if not 1 <= len(text) <= IDENTIFIER_LENGTH:
        return f"expected 1 to {IDENTIFIER_LENGTH} characters, got {len(text)}"
    illegal = sorted({char for char in text if char in "+#/" or not char.isprintable()})
    if illegal:
        return f"the characters {' '.join(map(repr, illegal))} cannot stand in a topic level"
    if text.startswith("$") or text != text.strip():
        return "must neither begin with '$' nor begin or end with a space"
    return None


def topic(site: str, device: str, kind: str) -> str:
    """``litewatch/1/<site>/<device>/<kind>``."""
    return f"{TOPIC_ROOT}/{site}/{device}/{kind}"


def schema_name(kind: str) -> str:
    """``litewatch.<kind>/<version>``."""
    return f"litewatch.{kind}/{KINDS[kind].version}"
