"""How Home Assistant learns of a device: one retained discovery message with everything it shows.

Pure: builds messages; ``Telemetry.set_announcement`` publishes them, after each connect and whenever Home
Assistant says on its birth topic that it has come. What it shows is read from the device's own messages by
templates, so nothing is published twice. A broker that speaks MQTT 5 forgets the announcement of a device
that never comes back; an empty one removes the device at once.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from agent.monitor.alarms import CALM_P
from agent.telemetry.messages import topic
from agent.telemetry.ports import Publication

BIRTH_TOPIC = "homeassistant/status"
"""Where Home Assistant says ``online`` unless told otherwise; it does not follow the discovery prefix."""
KEPT_S = 30 * 86_400
"""How long a broker keeps the announcement of a device that has gone without a word."""
WINDOWS = 3
"""So many intervals without a message, and a value is not shown any more."""
STATES = ("starting", "online", "degraded", "stopped", "lost")
NAME = 40

_ALLOWED = re.compile(r"[a-zA-Z0-9_-]+")
# What comes from the outbox says what was true once: it must not overwrite what is true now.
_PRESENT = "not value_json.historical"
_BIRTH = "value_json.seq == 0"
_ESTIMATE = "value_json.body.estimate"
# An agent older than its announcement says nothing of an estimate at all.
_ESTIMATED = "value_json.body.estimate is mapping"


@dataclass(frozen=True, kw_only=True, slots=True)
class Announced:
    """What the announcement says of a device; the intervals bound how long its values are shown."""

    site: str
    device: str
    agent: str
    """Version of the agent."""
    bundle: str
    """Name of the bundle file."""
    task: str
    window_s: float
    health_s: float
    flush_s: float
    """How long a message may wait for its commit to disk."""


def announcement(announced: Announced, *, prefix: str) -> Publication:
    """The discovery message of a device, below the discovery ``prefix``."""
    payload = {
        "device": {
            "identifiers": [f"litewatch/{announced.site}/{announced.device}"],
            "name": announced.device,
            "manufacturer": "Litewatch",
            "model": announced.bundle,
            "sw_version": announced.agent,
            "suggested_area": announced.site,
        },
        "origin": {"name": "litewatch", "sw_version": announced.agent},
        "qos": 1,
        "components": _components(announced),
    }
    return Publication(
        topic=discovery_topic(prefix, announced.site, announced.device),
        payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(),
        retain=True,
        expiry_s=KEPT_S,
    )


def removal(announced_on: str) -> Publication:
    """Takes back the announcement on that topic: Home Assistant deletes the device."""
    return Publication(topic=announced_on, payload=b"", retain=True)


def discovery_topic(prefix: str, site: str, device: str) -> str:
    """``<prefix>/device/litewatch-<site>/<device>/config``; other characters than Home Assistant takes
    become ``_``, with a hash behind so that no two devices share a topic."""
    return f"{prefix}/device/{_level(f'litewatch-{site}')}/{_level(device)}/config"


def _level(text: str) -> str:
    if _ALLOWED.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^a-zA-Z0-9_-]', '_', text)[:NAME]}-{digest}"


def _components(announced: Announced) -> dict[str, dict[str, Any]]:
    made = {
        "state": _state(announced),
        "accuracy": _error(announced) if announced.task == "regression" else _accuracy(announced),
        "estimated_accuracy": _estimate(announced),
        **({} if announced.task == "regression" else {"estimated_loss": _loss(announced)}),
        "drift": _drift(announced),
        "temperature": _temperature(announced),
        "last_inference": _last_inference(announced),
    }
    for name, component in made.items():
        component["unique_id"] = f"litewatch_{announced.site}_{announced.device}_{name}"
    return made


def _state(announced: Announced) -> dict[str, Any]:
    """Always shown: ``lost`` and ``stopped`` are what it is there to say."""
    said = _topic(announced, "state")
    return {
        "platform": "sensor",
        "name": "State",
        "device_class": "enum",
        "options": list(STATES),
        "state_topic": said,
        "value_template": f"{{{{ value_json.body.state if {_BIRTH} else this.state }}}}",
        "json_attributes_topic": said,
        "json_attributes_template": (
            f"{{{{ {{'problems': value_json.body.problems if {_BIRTH} "
            "else this.attributes.problems | default([])} | to_json }}"
        ),
    }


def _accuracy(announced: Announced) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": "Accuracy",
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 1,
        **_from_window(announced, "value_json.body.accuracy.accuracy", factor=100),
    }


def _error(announced: Announced) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": "Mean absolute error",
        "state_class": "measurement",
        **_from_window(announced, "value_json.body.accuracy.mae"),
    }


def _estimate(announced: Announced) -> dict[str, Any]:
    """What is estimated without labels, with its interval; unknown while the device abstains."""
    regression = announced.task == "regression"
    unit = {} if regression else {"unit_of_measurement": "%", "suggested_display_precision": 1}
    factor = 1 if regression else 100
    return {
        "platform": "sensor",
        "name": "Estimated mean squared error" if regression else "Estimated accuracy",
        "state_class": "measurement",
        **unit,
        **_from_estimate(announced, f"({_ESTIMATE}.value * {factor}) | round(4)"),
        "json_attributes_topic": _topic(announced, "window"),
        "json_attributes_template": _estimate_attributes(factor),
    }


def _loss(announced: Announced) -> dict[str, Any]:
    """Points of accuracy lost against the bundle's held-out inputs; less than 0 where it is better."""
    return {
        "platform": "sensor",
        "name": "Estimated loss",
        "unit_of_measurement": "points",
        "state_class": "measurement",
        "suggested_display_precision": 1,
        **_from_estimate(
            announced,
            f"(({_ESTIMATE}.reference - {_ESTIMATE}.value) * 100) | round(4)",
            needs=f" and {_ESTIMATE}.reference is number",
        ),
    }


def _from_estimate(announced: Announced, shown: str, *, needs: str = "") -> dict[str, Any]:
    agreement = f"({_ESTIMATE}.method or '').startswith('agreement')"
    known = f"{_ESTIMATE}.value is number and not {agreement}{needs}"
    return {
        "state_topic": _topic(announced, "window"),
        "value_template": (
            f"{{% if {_PRESENT} and {_ESTIMATED} %}}"
            f"{{% if {known} %}}{{{{ {shown} }}}}{{% else %}}None{{% endif %}}"
            "{% endif %}"
        ),
        **_shown_for(announced, announced.window_s),
    }


def _estimate_attributes(factor: int) -> str:
    """Interval, method and why it abstains; a message of the past leaves them as they are."""
    scaled = {
        name: f"(({_ESTIMATE}.{name} * {factor}) | round(4) if {_ESTIMATE}.{name} is number else none)"
        for name in ("low", "high", "reference")
    }
    plain = {name: f"{_ESTIMATE}.{name}" for name in ("method", "abstained")}
    new = ", ".join(f"'{name}': {value}" for name, value in (scaled | plain).items())
    kept = ", ".join(f"'{name}': this.attributes.{name} | default(none)" for name in scaled | plain)
    return (
        f"{{% if {_PRESENT} and {_ESTIMATED} %}}{{{{ {{{new}}} | to_json }}}}"
        f"{{% else %}}{{{{ {{{kept}}} | to_json }}}}{{% endif %}}"
    )


def _from_window(announced: Announced, value: str, *, factor: int = 1) -> dict[str, Any]:
    shown = f"({value} * {factor}) | round(4)" if factor != 1 else value
    known = f"value_json.body.accuracy and {value} is number"
    return {
        "state_topic": _topic(announced, "window"),
        "value_template": f"{{% if {_PRESENT} and {known} %}}{{{{ {shown} }}}}{{% endif %}}",
        **_shown_for(announced, announced.window_s),
    }


def _drift(announced: Announced) -> dict[str, Any]:
    """As the alarm, as far as a single window can tell: a test within alpha raises, one above CALM_P
    clears; between the two, and without a test, nothing changes."""
    tests = "value_json.body.drift"
    return {
        "platform": "binary_sensor",
        "name": "Drift",
        "device_class": "problem",
        "state_topic": _topic(announced, "window"),
        "value_template": (
            f"{{% if {_PRESENT} and {tests} %}}"
            f"{{% set worst = {tests} | min(attribute='p') %}}"
            f"{{{{ 'ON' if worst.p <= worst.alpha else 'OFF' if worst.p > {CALM_P} else '' }}}}"
            "{% endif %}"
        ),
        **_shown_for(announced, announced.window_s),
    }


def _temperature(announced: Announced) -> dict[str, Any]:
    value = "value_json.body.soc_temperature_c"
    return {
        "platform": "sensor",
        "name": "Temperature",
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "state_topic": _topic(announced, "health"),
        "value_template": f"{{% if {_PRESENT} and {value} is number %}}{{{{ {value} }}}}{{% endif %}}",
        **_shown_for(announced, announced.health_s),
    }


def _last_inference(announced: Announced) -> dict[str, Any]:
    age = "value_json.body.last_inference_age_s"
    made = "value_json.created_at or value_json.sent_at"
    return {
        "platform": "sensor",
        "name": "Last inference",
        "device_class": "timestamp",
        "entity_category": "diagnostic",
        "state_topic": _topic(announced, "health"),
        "value_template": (
            f"{{% if {age} is number %}}"
            f"{{{{ (as_datetime({made}) - timedelta(seconds={age})).isoformat() }}}}"
            "{% else %}None{% endif %}"
        ),
        **_shown_for(announced, announced.health_s),
    }


def _shown_for(announced: Announced, interval_s: float) -> dict[str, Any]:
    """Shown while the device is there, and not beyond a few intervals without news."""
    return {
        "expire_after": max(60, round(WINDOWS * interval_s + announced.flush_s)),
        "availability": [
            {
                "topic": _topic(announced, "state"),
                "value_template": (
                    f"{{% if {_BIRTH} %}}"
                    "{{ 'offline' if value_json.body.state in ('lost', 'stopped') else 'online' }}"
                    "{% endif %}"
                ),
            }
        ],
    }


def _topic(announced: Announced, kind: str) -> str:
    return topic(announced.site, announced.device, kind)
