"""The fleet as one self-contained HTML page: what is worst stands first.

Pure: the same fleet at the same moment gives the same text. Everything a device said is taken for
foreign and escaped; no script, nothing fetched.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from agent.telemetry.messages import Alarm, Diagnosis
from calibration.page.frame import facts, page, with_small
from calibration.page.markup import Markup, element
from tools.collector.alarms import ActiveAlarm
from tools.collector.fleet import Device
from tools.collector.words import (
    alarm_text,
    cause_text,
    commissioning_text,
    estimate_figure,
    seems_fallen,
    stream_text,
)
from tools.fleet_table import age

_SIGNS = {"ok": "●", "changed": "◆", "harmful": "■"}


def fleet_page(devices: Sequence[Device], *, now: datetime) -> str:
    """The page; devices that lost accuracy come first, then those with an alarm, then the rest."""
    ranked = sorted(devices, key=lambda device: (_urgency(device), device.site, device.device))
    return page(
        "The fleet",
        element(
            "header",
            element("p", f"The fleet at {now:%Y-%m-%d %H:%M} UTC", class_="over"),
            element("h1", _headline(devices)),
            facts(_counts(devices), class_="facts key card"),
        ),
        element("section", *(_card(device, now) for device in ranked), aria_label="devices"),
    )


def _urgency(device: Device) -> tuple[int, float]:
    if device.finding.fell:
        return 0, -(device.current.loss_points or 0.0)
    if device.state == "lost":
        return 1, 0.0
    if any(active.alarm.severity != "notice" for active in device.alarms):
        # An alarm tells what it cost when it was raised; by now it may cost more.
        return 2, -max(device.alarms[0].alarm.loss_points or 0.0, device.current.loss_points or 0.0)
    return (3 if _verdict(device)[0] == "changed" else 4), 0.0


def _headline(devices: Sequence[Device]) -> str:
    if not devices:
        return "No device has been heard of yet."
    fell = sum(device.finding.fell for device in devices)
    alarmed = sum(any(active.alarm.severity != "notice" for active in device.alarms) for device in devices)
    many = f"{len(devices)} device{'s' if len(devices) > 1 else ''}"
    if not fell and not alarmed:
        return f"{many}: none has lost accuracy as far as labels show, none has an alarm of consequence."
    return f"{many}: {fell} lost accuracy by their labels, {alarmed} with an alarm of consequence."


def _counts(devices: Sequence[Device]) -> list[tuple[str, str | Markup]]:
    here = sum(device.state in ("online", "degraded", "starting") for device in devices)
    return [
        ("Devices", str(len(devices))),
        ("There now", str(here)),
        ("Alarms", str(sum(len(device.alarms) for device in devices))),
        ("With troubles of the machine", str(sum(bool(device.troubles) for device in devices))),
    ]


def _verdict(device: Device) -> tuple[str, str]:
    """A class of the style sheet, and the words."""
    if device.finding.fell:
        return "harmful", "lost accuracy"
    if any(active.alarm.severity != "notice" for active in device.alarms):
        return "changed", "alarm"
    if seems_fallen(device.estimate):
        return "changed", "seems less accurate"
    if device.finding.cause:
        return "changed", "changed"
    if device.troubles or device.state in ("degraded", "lost"):
        return "changed", "troubled"
    return "ok", "healthy" if device.current.origin else "nothing known to be wrong"


def _card(device: Device, now: datetime) -> Markup:
    class_, words = _verdict(device)
    sign = element("span", _SIGNS[class_], aria_hidden="true")
    badge = element("span", sign, words, class_=f"verdict {class_}")
    model = " · ".join(filter(None, (device.model, device.preprocess)))
    cause = element("b", f"{device.finding.cause}: ") if device.finding.cause else None
    title = element("h3", f"{device.site}/{device.device}", element("small", model) if model else None)
    return element(
        "article",
        element("div", title, badge),
        facts(_figures(device, now)),
        element("p", cause, device.finding.evidence),
        *_alarms(device.alarms),
        *_diagnosis(device),
        _list(list(_beside(device))),
        class_=f"card rung {class_}",
    )


def _figures(device: Device, now: datetime) -> list[tuple[str, str | Markup]]:
    measured, estimate, state = device.accuracy, device.estimate, device.state or "not known"
    said: list[tuple[str, str | Markup]] = []
    if measured is not None and measured.n and measured.accuracy is not None:
        low, high = measured.low, measured.high
        spread = f", {100 * low:.1f} to {100 * high:.1f}" if low is not None and high is not None else ""
        figure = with_small(f"{100 * measured.accuracy:.1f} %", f"{measured.n} labels{spread}")
        said.append(("Accuracy, labelled", figure))
    elif measured is not None and measured.n and measured.mse is not None:
        said.append(("MSE, labelled", with_small(f"{measured.mse:.4g}", f"{measured.n} labels")))
    else:
        said.append(("Accuracy, labelled", "no labels"))
    if estimate is not None:
        small = estimate.abstained if estimate.value is None else f"without labels, {estimate.method}"
        said.append(("Accuracy, estimated", with_small(estimate_figure(estimate), small)))
    if device.drift is not None:
        drift = f"{device.drift.detector}, alpha {device.drift.alpha:.2g}"
        said.append(("Newest test of drift", with_small(f"p = {device.drift.p:.2g}", drift)))
    said.append(("State", with_small(state, "; ".join(device.problems) or None)))
    said.append(("Last seen", with_small(age(device.last_seen, now), f"{device.frames} frames")))
    return said


def _alarms(alarms: Sequence[ActiveAlarm]) -> Iterator[Markup]:
    """Worst first; a notice in grey."""
    if alarms:
        yield element("ul", *(_alarm(active.alarm, active.since) for active in alarms), class_="notes")


def _alarm(alarm: Alarm, since: str) -> Markup:
    text = f"{alarm_text(alarm)}; since {since}. {alarm.summary}"
    return element(
        "li",
        element("b", f"Alarm {alarm.alarm}: "),
        text,
        class_="soft" if alarm.severity == "notice" else None,
    )


def _diagnosis(device: Device) -> Iterator[Markup]:
    told = device.diagnosed
    if told is None or not told.stands:
        return
    yield element("p", element("b", "Diagnosis: "), _summary(told.diagnosis))
    ranked = enumerate(told.diagnosis.causes, 1)
    causes = [element("li", f"{place}. {cause_text(cause)}") for place, cause in ranked]
    if causes:
        yield element("ul", *causes, class_="notes plain")


def _summary(diagnosis: Diagnosis) -> str:
    if diagnosis.summary:
        return diagnosis.summary
    return "causes, the likeliest first" if diagnosis.causes else "nothing speaks for a cause"


def _beside(device: Device) -> Iterator[str]:
    yield from (f"Machine: {trouble}" for trouble in device.troubles)
    if device.commissioning is not None:
        yield commissioning_text(device.commissioning).capitalize()
    if device.stream is not None and device.stream.dwell_samples is not None:
        yield f"Stream: {stream_text(device.stream)}"
    counts = {"lost": device.lost, "awaited": device.awaited, "evicted": device.evicted}
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if told:
        yield f"Messages: {told}"
    if device.quarantined:
        yield f"Payloads in quarantine: {device.quarantined}"


def _list(items: Sequence[str]) -> Markup | None:
    return element("ul", *(element("li", item) for item in items), class_="notes soft") if items else None
