"""Messages of devices that never were, with fixed times, for the tests of the collector."""

from dataclasses import replace
from typing import Any

import pytest

from agent.telemetry.messages import (
    About,
    Accuracy,
    Alarm,
    Drift,
    Envelope,
    FeatureWindow,
    Health,
    PreprocessInUse,
    State,
    Window,
    kind_of,
    schema_name,
    topic,
)
from agent.telemetry.wire import encode
from tools.collector.admission import Accepted, admit

# An environment for the device alone has no SQLAlchemy.
pytest.importorskip("sqlalchemy", reason="skipped: no SQLAlchemy (extra collector)")

SESSIONS = tuple(f"0190000{n}-0000-7000-8000-000000000000" for n in range(10))
"""In the order in which they began."""
AT = "2026-01-01T12:00:00.000000Z"
HEALTH = Health(
    uptime_s=60.0,
    frames_in=1000,
    frames_dropped=0,
    frames_skipped=0,
    inferences=1000,
    labels_joined=0,
    labels_unknown=0,
    latency_p50_ms=4.5,
    latency_p95_ms=6.0,
    last_inference_age_s=0.1,
    outbox_messages=0,
    outbox_bytes=0,
    outbox_evicted=0,
    outbox_set_aside=0,
    outbox_oldest_age_s=None,
    rss_mib=80.0,
    cpu_s=12.0,
    disk_free_mib=900.0,
)
FEATURE = FeatureWindow(
    name="luma_mean", counts=(3, 5, 8), mean=0.5, std=0.1, psi=0.02, ks=0.1, wasserstein=0.2, js=0.01
)


def envelope(
    body: Any,
    seq: int,
    *,
    device: str = "cam-1",
    site: str = "lab",
    session: str = SESSIONS[1],
    **fields: Any,
) -> Envelope:
    values: dict[str, Any] = {
        "schema": schema_name(kind_of(body)),
        "sent_at": "2026-01-01T11:59:59.500Z",
        "boot_id": "boot-1",
        "clock_synced": True,
        "historical": False,
    } | fields
    return Envelope(device=device, site=site, session=session, seq=seq, body=body, **values)


def accepted(message: Envelope, *, received_at: str = AT, replayed: bool = False) -> Accepted:
    """The message as it comes out of admission."""
    kind = kind_of(message.body)
    place = topic(message.site, message.device, kind)
    verdict = admit(place, encode(message), received_at=received_at, replayed=replayed)
    assert isinstance(verdict, Accepted), verdict
    return verdict


def health(seq: int, *, inferences: int = 1000, **fields: Any) -> Envelope:
    return envelope(replace(HEALTH, inferences=inferences), seq, **fields)


def state(what: Any, connection: int, *, problems: tuple[str, ...] = (), **fields: Any) -> Envelope:
    return envelope(
        State(state=what, connection=connection, problems=problems), fields.pop("seq", 0), **fields
    )


def about(**fields: Any) -> About:
    values: dict[str, Any] = {
        "agent": "0.1.0",
        "python": "3.11.2",
        "os": "Debian 12",
        "machine": "aarch64",
        "cpu": "Cortex-A72",
        "numpy": "2.4.0",
        "opencv": "5.0.0",
        "runtime": "ai-edge-litert",
        "runtime_version": "2.3.0",
        "delegate": "cpu",
        "kernels": "auto",
        "threads": 2,
        "ops_total": 30,
        "ops_delegated": 28,
        "bundle": "digits.tflite",
        "flatbuffer_sha256": "aa" * 32,
        "manifest_sha256": "bb" * 32,
        "task": "classification",
        "preprocess_version": "2026-01",
        "fingerprint": "cc" * 32,
        "training_run": None,
        "signed_by": None,
        "reproduction": "exact",
    }
    return About(**(values | fields))


def window(*, frames: int = 3000, accuracy: Accuracy | None = None, drift: tuple[Drift, ...] = ()) -> Window:
    return Window(
        opened_at="2026-01-01T11:50:00Z",
        closed_at="2026-01-01T11:55:00Z",
        duration_s=300.0,
        frames=frames,
        samples=300,
        features=(FEATURE,),
        groups={"0": 200, "others": 100},
        drift=drift,
        accuracy=accuracy,
        confidence=0.9,
    )


def drift(p: float, *, alpha: float = 0.001) -> Drift:
    return Drift(
        detector="panel",
        n=300,
        p=p,
        alpha=alpha,
        statistics={"t2": 12.5},
        top=("luma_mean", "luma_p5"),
        family="light",
    )


def alarm(status: Any, *, name: str = "drift", severity: Any = "warning") -> Alarm:
    return Alarm(
        alarm=name,
        status=status,
        severity=severity,
        cause="data:light",
        summary="images are darker than the reference",
        evidence={"p": 1e-06},
        top=("luma_mean", "luma_p5"),
    )


def in_use(*differs: str) -> PreprocessInUse:
    return PreprocessInUse(fingerprint="dd" * 32 if differs else "cc" * 32, differs=differs)
