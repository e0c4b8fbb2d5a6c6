"""What goes into a ``health`` message: counts of this session, and the vitals of the machine."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.buffer import BufferStats
from agent.contracts import Runner
from agent.device.coral import CoralWatch
from agent.device.vitals import Vitals
from agent.failover import Failover
from agent.monitor.accuracy import PredictionLog
from agent.pipeline import Pipeline
from agent.telemetry.health_body import Health
from agent.telemetry.telemetry import TelemetryStats


@dataclass(slots=True)
class Tally:
    """What the main loop counts; of the session."""

    skipped: int = 0
    skipped_last: str = ""
    lost: int = 0
    captured: int = 0
    paused: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryTally:
    """The canary's counts; all 0 without one."""

    runs: int = 0
    mismatches: int = 0
    blessed: int = 0


class HealthReporter:
    """Builds one ``health`` message after the other; each carries the latencies since the last."""

    def __init__(
        self,
        *,
        started_ns: int,
        vitals: Callable[[], Vitals],
        synced: Callable[[], bool],
        coral: CoralWatch | None,
    ) -> None:
        self._started_ns = started_ns
        self._vitals = vitals
        self._synced = synced
        self._coral = coral

    def report(
        self,
        now_ns: int,
        *,
        tally: Tally,
        pipeline: Pipeline,
        frames: BufferStats,
        labels: PredictionLog,
        telemetry: TelemetryStats,
        runner: Runner,
        canary: CanaryTally,
    ) -> Health:
        vitals, outbox, latency = self._vitals(), telemetry.outbox, pipeline.latency
        failover = runner if isinstance(runner, Failover) else None
        away_ns = failover.away_since_ns if failover else None
        coral = self._coral.read() if self._coral else None
        last_ns = pipeline.last_inference_ns
        health = Health(
            uptime_s=round((now_ns - self._started_ns) / 1e9, 1),
            frames_in=frames.received,
            frames_dropped=frames.dropped,
            frames_skipped=tally.skipped,
            frames_lost=tally.lost,
            inferences=pipeline.inferences,
            labels_joined=labels.joined,
            labels_unknown=labels.unknown,
            latency_p50_ms=latency.percentile(0.50),
            latency_p95_ms=latency.percentile(0.95),
            latency_p99_ms=latency.percentile(0.99),
            latency=latency.counts(),
            last_inference_age_s=None if last_ns is None else round((now_ns - last_ns) / 1e9, 3),
            outbox_messages=outbox.messages,
            outbox_bytes=outbox.bytes,
            outbox_evicted=outbox.evicted,
            outbox_set_aside=outbox.set_aside,
            outbox_oldest_age_s=telemetry.oldest_age_s,
            inbound_refused=telemetry.counters.inbound_refused,
            inbound_dropped=telemetry.counters.inbound_dropped,
            labels_limited=telemetry.counters.labels_limited,
            commands_limited=telemetry.counters.commands_limited,
            rss_mib=vitals.rss_mib,
            cpu_s=vitals.cpu_s,
            disk_free_mib=vitals.disk_free_mib,
            disk_written_mib=vitals.disk_written_mib,
            memory_available_mib=vitals.memory_available_mib,
            load_1m=vitals.load_1m,
            soc_temperature_c=vitals.soc_temperature_c,
            temperatures_c=vitals.temperatures_c,
            throttled_now=vitals.throttled_now,
            throttled_since_boot=vitals.throttled_since_boot,
            skipped_last=tally.skipped_last,
            paused=tally.paused,
            delegate=runner.info.delegate,
            failovers=failover.failovers if failover else 0,
            delegate_away_s=None if away_ns is None else round((now_ns - away_ns) / 1e9, 1),
            canary_runs=canary.runs,
            canary_mismatches=canary.mismatches,
            canary_blessed=canary.blessed,
            captured=tally.captured,
            clock_synced=self._synced(),
            tpu=coral.tpu if coral else "",
            tpu_temperature_c=coral.temperature_c if coral else None,
            tpu_usb_mbps=coral.usb_mbps if coral else None,
            tpu_resets=coral.resets if coral else None,
        )
        latency.clear()
        return health
