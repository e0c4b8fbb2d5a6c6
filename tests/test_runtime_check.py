"""``litewatch check`` and agent.yaml with a hardware delegate: its rung is climbed on the device itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import standin
import yaml

from agent import config
from agent.errors import ConfigError
from agent.runtime import KINDS
from agent.sources import KINDS as SOURCES
from tools.cli import main

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.standin_bundle(tmp_path_factory.mktemp("standin"))


def delegate(**options: Any) -> str:
    return json.dumps(standin.as_yaml(standin.library(), **options))  # JSON is YAML


def climb(capsys: pytest.CaptureFixture[str], bundle: Path, *more: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["check", str(bundle), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "code", "verdict", "cause"),
    [({}, 0, "ok", None), ({"wrong": True}, 1, "harmful", "delegate")],
    ids=["healthy", "wrong"],
)
def test_the_delegates_rung_is_climbed_on_the_device(
    bundle: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    code: int,
    verdict: str,
    cause: str | None,
) -> None:
    exit_code, result = climb(capsys, bundle, "--delegate", delegate(**options))
    assert (exit_code, result["verdict"], result["cause"]) == (code, verdict, cause)
    rung = next(one for one in result["rungs"] if one["name"] == "delegate")
    assert (rung["inputs"], rung["flips"]) == (40, 40 if options else 0)
    assert dict(result["environment"])["operators delegated"] == "1 of 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segfault_after": 5}, "delegate external: running the model: killed by signal 11 (SIGSEGV)"),
        ({"fail_after": 5}, "delegate external: running the model failed: stand-in: the device was lost"),
        ({"claim_nothing": 1}, "delegate external: it took over 0 of the model's 1 operators"),
    ],
)
def test_a_device_that_breaks_meanwhile_is_named(
    bundle: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    assert main(["check", str(bundle), "--delegate", delegate(**options)]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_hang_is_given_up_after_the_time_agent_yaml_grants(
    bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    document = {
        "device": {"id": "hanging", "state_dir": str(tmp_path / "state")},
        "model": {
            "bundle": str(bundle),
            "delegate": standin.as_yaml(standin.library(), hang_after=5),
            "invoke_timeout_s": 0.5,
        },
        "source": {"kind": "directory", "path": str(tmp_path)},
    }
    path = tmp_path / "agent.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["check", "-c", str(path)]) == 1
    assert "running the model: no answer within 0.5 s" in " ".join(capsys.readouterr().err.split())


def test_a_bundle_without_the_twin_says_how_to_pack_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import bundles

    plain = bundles.make_bundle(tmp_path, golden=bundles.write_images(tmp_path / "golden", 40, seed=2))
    assert main(["check", str(plain), "--delegate", delegate()]) == 2
    assert "pack it anew with --edgetpu" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("{kind: edgetpu, device: usb0}", "device: must be auto, usb, pci, or usb:N or pci:N"),
        ("{kind: external}", "library: required key is missing"),
        ("{kind: external, library: a, options: {speed: [1]}}", "options['speed']: expected str"),
    ],
)
def test_options_are_checked_on_the_command_line_and_in_agent_yaml(
    bundle: Path, capsys: pytest.CaptureFixture[str], given: str, problem: str
) -> None:
    assert main(["check", str(bundle), "--delegate", given]) == 2
    assert f"--delegate.{problem}" in " ".join(capsys.readouterr().err.split())
    document = (
        f"device: {{id: a}}\nmodel: {{bundle: b, delegate: {given}}}\nsource: {{kind: video, path: c}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        config.parse(document, sources=SOURCES, delegates=KINDS)
    assert f"model.delegate.{problem}" in str(caught.value)
