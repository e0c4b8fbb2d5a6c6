"""agent.yaml: every problem at once, each with its place."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.credentials import with_credentials
from agent.errors import ConfigError
from agent.runtime import KINDS as DELEGATES
from agent.sources import KINDS as SOURCES
from tools.cli import main

ROOT = Path(__file__).resolve().parent.parent
SMALLEST = "device: {id: door-7}\nmodel: {bundle: m.tflite}\nsource: {kind: directory, path: frames}\n"


def parse(text: str) -> config.AgentConfig:
    return config.parse(text, sources=SOURCES, delegates=DELEGATES)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return list(caught.value.problems)


def test_defaults_of_the_smallest_config() -> None:
    made = parse(SMALLEST)
    assert (made.device.id, made.device.site) == ("door-7", "default")
    assert (made.monitor.sample_every, made.monitor.window.samples) == (10, 250)
    assert made.monitor.false_alarms_per_month == 1
    assert made.outbox.confirm == "collector"
    assert made.outbox.flush_interval_s == 120
    assert made.mqtt is None
    assert made.model.delegate.kernels == "auto"


def test_every_problem_is_reported_at_once() -> None:
    text = """
device: {id: door/7, site: a/b}
model: {bundle: m.tflite, threads: 0, delegate: {kind: cpu, kernels: fast}, preprocess_override: {path: x}}
source: {kind: directory, path: frames, fps: quick, lop: true}
monitor: {sample_every: x, windw: 3}
mqtt: {port: 'x'}
capture: {enabled: yes please}
surprise: 1
"""
    found = problems(text)
    assert len(found) == 12, found
    assert "agent.yaml: mqtt.port: expected int, got 'x'" in found
    assert (
        "agent.yaml: model.delegate.kernels: expected one of auto, xnnpack, builtin, reference, got 'fast'"
        in found
    )
    assert "agent.yaml: source.fps: expected float, got 'quick'" in found
    assert any(line.startswith("agent.yaml: source: unknown key 'lop' (known: ") for line in found)
    assert "agent.yaml: monitor.sample_every: expected int, got 'x'" in found
    assert "agent.yaml: model.delegate" not in " ".join(found).replace("model.delegate.kernels", "")
    assert any(line.startswith("agent.yaml: device.id: ") for line in found)
    assert any(line.startswith("agent.yaml: surprise: unknown section") for line in found)


def test_values_out_of_range() -> None:
    text = SMALLEST.replace("door-7", "'door/7'").replace("m.tflite", "m.tflite, threads: 0") + (
        "monitor: {false_alarms_per_month: 0, window: {samples: 3}}\nmqtt: {port: 99999}\n"
    )
    found = problems(text)
    assert "agent.yaml: model.threads: must be at least 1, got 0" in found
    assert "agent.yaml: monitor.window.samples: must be at least 20, got 3" in found
    assert "agent.yaml: monitor.false_alarms_per_month: must be more than 0" in found
    assert "agent.yaml: mqtt.port: expected 1 to 65535, got 99999" in found
    assert any(line.startswith("agent.yaml: device.id: ") for line in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (SMALLEST.replace("m.tflite", '"m\\0.tflite"'), "model.bundle: holds a character no file name"),
        (SMALLEST.replace("m.tflite", '""'), "model.bundle: must name a file"),
        (SMALLEST.replace("door-7", ".."), "device.id: cannot be '..'"),
        (
            SMALLEST + "health: {interval_s: 1e300}",
            "health.interval_s: must be at most 2.6784e+06, got 1e+300",
        ),
        (SMALLEST + "monitor: {labelled_frames: 20000}", "monitor.labelled_frames: must be at most 10000"),
    ],
)
def test_values_that_would_only_fail_later(text: str, problem: str) -> None:
    assert any(line.startswith(f"agent.yaml: {problem}") for line in problems(text)), problems(text)


def test_an_override_must_be_accepted_on_purpose() -> None:
    text = SMALLEST.replace("m.tflite", "m.tflite, preprocess_override: {path: legacy.yaml}")
    assert problems(text) == [
        "agent.yaml: model.preprocess_override.accept_mismatch: must be true: the device would run another "
        "preprocessing than the model was trained with, and every message will say so"
    ]


@pytest.mark.parametrize("text", ["", "[]", "just words", "device: [1]", "\x00", "a: 1\na: 2"])
def test_what_is_no_config_is_one_clear_error(text: str) -> None:
    assert all(line.startswith("agent.yaml: ") for line in problems(text))


KEYS = st.sampled_from(["device", "model", "source", "mqtt", "id", "kind", "bundle", "x"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_no_document_brings_it_down(data: object) -> None:
    try:
        parse(json.dumps(data))
    except ConfigError as error:
        assert all(line.startswith("agent.yaml: ") for line in error.problems)


def test_secrets_stay_at_home() -> None:
    made = parse(
        SMALLEST + "mqtt: {username: u, password_file: /etc/secret, tls: {certificate: c, key: k}}\n"
    )
    shown = config.public(made, sources=SOURCES, delegates=DELEGATES)
    text = json.dumps(shown)
    assert shown["source"]["kind"] == "directory"
    assert shown["model"]["delegate"] == {"kind": "cpu", "kernels": "auto"}
    # What is shown is itself an agent.yaml (the broker's login, which is left out, aside).
    again = parse(json.dumps({name: section for name, section in shown.items() if name != "mqtt"}))
    assert (again.source, again.model, again.monitor) == (made.source, made.model, made.monitor)
    assert "/etc/secret" not in text
    assert '"k"' not in text


def test_the_schema_accepts_what_the_parser_accepts() -> None:
    import yaml

    schema = config.json_schema(sources=SOURCES, delegates=DELEGATES)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    example = (ROOT / "systemd" / "agent.example.yaml").read_text()
    for text in (SMALLEST, example):
        parse(text)
        validator.validate(yaml.safe_load(text))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"device": {"id": "a"}, "model": {"bundle": "b"}, "source": {"kind": "nothing"}})


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "agent.yaml", tmp_path / "bad.yaml"
    good.write_text(SMALLEST)
    bad.write_text("device: {}\n")
    assert main(["config", str(good)]) == 0
    assert capsys.readouterr().out.endswith("agent.yaml: ok (device door-7 at default)\n")
    assert main(["config", str(bad)]) == 2
    said = capsys.readouterr().err
    assert "bad.yaml: device.id: required key is missing" in said
    assert "bad.yaml: model: required section is missing" in said
    assert "Traceback" not in said
    assert main(["config", str(tmp_path / "none.yaml")]) == 2
    assert main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "agent.yaml"
    assert main(["config", "--message", "window"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "litewatch.window/1"
    assert main(["config"]) == 2


def test_secrets_stay_on_the_device_wherever_they_stand() -> None:
    made = parse(
        SMALLEST.replace("{kind: directory, path: frames}", "{kind: stream, url: 'rtsp://me:hunter2@door/1'}")
        + "mqtt: {host: b, username: me, password_file: secrets/password, tls: {key: k, certificate: c}}"
    )
    said = json.dumps(config.public(made, sources=SOURCES, delegates=DELEGATES))
    assert "hunter2" not in said
    assert "rtsp://door/1" in said
    assert "secrets/password" not in said


def test_systemd_hands_over_what_the_config_names(tmp_path: Path) -> None:
    for name in ("secrets_password", "secrets_key.pem"):
        (tmp_path / name).write_text("x")
    made = parse(
        "device: {id: door-7}\nmodel: {bundle: m.tflite}\n"
        "source: {kind: mqtt, topic: t, host: b, username: u, password_file: secrets/password}\n"
        "mqtt: {host: b, tls: {key: secrets/key.pem, certificate: secrets/elsewhere.pem}}"
    )
    given = with_credentials(made, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert given.source.password_file == str(tmp_path / "secrets_password")  # type: ignore[attr-defined]
    assert given.mqtt is not None and given.mqtt.tls is not None
    assert (given.mqtt.tls.key, given.mqtt.tls.certificate) == (
        str(tmp_path / "secrets_key.pem"),
        "secrets/elsewhere.pem",
    )
    assert with_credentials(made, {}) is made
