"""The body of a ``health`` message: how the agent and its machine are."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyCounts:
    """Latencies counted on a logarithmic scale; histograms with the same ``growth`` merge by addition.

    ``counts`` maps bucket ``k`` (as text) to its frames: those of ``growth**k`` to ``growth**(k+1)``
    microseconds.
    """

    growth: float
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How the agent and its machine are; counts are since the session began."""

    uptime_s: float
    frames_in: int
    frames_dropped: int
    """Evicted from the frame buffer because the model was slower than the source."""
    frames_skipped: int
    """Corrupt, oversized or unusable inputs."""
    inferences: int
    labels_joined: int
    labels_unknown: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    last_inference_age_s: float | None
    outbox_messages: int
    outbox_bytes: int
    outbox_evicted: int
    outbox_set_aside: int
    """Corrupt outbox databases put aside so far."""
    outbox_oldest_age_s: float | None
    rss_mib: float | None
    cpu_s: float
    disk_free_mib: float | None
    soc_temperature_c: float | None = None
    skipped_last: str = ""
    """Why the last frame was skipped."""
    inbound_refused: int = 0
    """Messages to the device that could not be read."""
    inbound_dropped: int = 0
    """Messages to the device that came faster than it takes them."""
    labels_limited: int = 0
    commands_limited: int = 0
    frames_lost: int = 0
    """On their way when the runner was lost."""
    paused: bool = False
    delegate: str = ""
    """What runs the model now: the configured delegate, or ``cpu`` while that is away."""
    failovers: int = 0
    """Times the CPU took over."""
    delegate_away_s: float | None = None
    """For how long the configured delegate has been away; None while it serves."""
    latency_p99_ms: float | None = None
    latency: LatencyCounts | None = None
    """Of the frames since the last ``health``: these add up over messages, days and devices."""
    canary_runs: int = 0
    canary_mismatches: int = 0
    canary_blessed: int = 0
    """Golden tensors whose answers on this very device are known by now."""
    captured: int = 0
    """Frames kept by ``capture``."""
    clock_synced: bool | None = None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    """By thermal zone, hwmon and ``coral``."""
    throttled_now: tuple[str, ...] = ()
    """Of a Raspberry Pi: ``under-voltage``, ``frequency capped``, ``throttled``,
    ``soft temperature limit``."""
    throttled_since_boot: tuple[str, ...] = ()
    memory_available_mib: float | None = None
    load_1m: float | None = None
    disk_written_mib: float | None = None
    """Written by this process to disk since it began."""
    tpu: str = ""
    """The Coral as the kernel sees it: ``ok``, ``absent``, or what is wrong with it; empty where none
    is configured."""
    tpu_temperature_c: float | None = None
    tpu_usb_mbps: int | None = None
    """5000 on a USB 3 port, 480 on one that holds it back."""
    tpu_resets: int | None = None
    """Times it was enumerated anew since the session began."""
