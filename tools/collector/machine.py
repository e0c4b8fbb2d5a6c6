"""What is wrong with the machine a device runs on, by its newest ``health``. Pure."""

from collections.abc import Iterator

from agent.telemetry.messages import Health

USB3_MBPS = 5000


def troubles(health: Health | None, *, configured: str = "") -> tuple[str, ...]:
    """Each in one clause; empty where nothing is known to be wrong. ``configured`` is the delegate
    that the agent was started with."""
    return tuple(_troubles(health, configured)) if health is not None else ()


def _troubles(health: Health, configured: str) -> Iterator[str]:
    if health.delegate_away_s is not None:
        away = f"delegate {configured} " if configured not in ("", health.delegate) else "its delegate "
        took_over = f"; the CPU took over {_times(health.failovers)}" if health.failovers else ""
        since = _duration(health.delegate_away_s)
        yield f"runs on {health.delegate or 'cpu'}: {away}away for {since}{took_over}"
    if health.throttled_now:
        yield f"held back now: {', '.join(health.throttled_now)}"
    past = [what for what in health.throttled_since_boot if what not in health.throttled_now]
    if past:
        yield f"held back since boot: {', '.join(past)}"
    yield from _coral(health)
    if health.canary_mismatches:
        yield f"canary: {health.canary_mismatches} of {health.canary_runs} runs answered otherwise"
    if health.paused:
        yield "paused"


def _coral(health: Health) -> Iterator[str]:
    if health.tpu not in ("", "ok"):
        yield f"TPU: {health.tpu}"
    elif health.tpu_usb_mbps is not None and health.tpu_usb_mbps < USB3_MBPS:
        yield f"TPU on a USB port of {health.tpu_usb_mbps} Mbit/s"
    if health.tpu_resets:
        yield f"TPU reset {_times(health.tpu_resets)}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
