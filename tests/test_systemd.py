"""The units say only what systemd understands, and expose no more than they promise."""

import configparser
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEMD = ROOT / "systemd"
ANALYZE = shutil.which("systemd-analyze")
UNITS = ("litewatch.service", "litewatch-check.service", "litewatch-check.timer")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="skipped: no systemd-analyze")


def directives(unit: str) -> list[str]:
    return [line for line in (SYSTEMD / unit).read_text().splitlines() if re.match(r"[A-Z]\w+=", line)]


def installed(folder: Path, drop_ins: Mapping[str, tuple[str, ...]]) -> Path:
    """Units and drop-ins below ``folder`` as install.sh leaves them, every program replaced by one that
    is there."""
    units = folder / "usr/local/lib/systemd/system"
    units.mkdir(parents=True)
    for name in UNITS:
        text = re.sub(r"/opt/litewatch/current/\S+", "/bin/true", (SYSTEMD / name).read_text())
        (units / name).write_text(text)
    for unit, names in drop_ins.items():
        (units / f"{unit}.d").mkdir()
        for name in names:
            shutil.copy(SYSTEMD / name, units / f"{unit}.d" / name)
    return units


@needs_systemd
@pytest.mark.parametrize("drop_in", [None, "litewatch-coral.conf", "litewatch-camera.conf"])
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_units(tmp_path: Path, unit: str, drop_in: str | None) -> None:
    names = (drop_in,) if drop_in and unit.endswith(".service") else ()
    units = installed(tmp_path, {unit: names})
    done = subprocess.run(["systemd-analyze", "verify", str(units / unit)], capture_output=True, text=True)
    # It exits 0 even for unknown keys; what it complains of stands on standard error.
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert (done.returncode, complaints) == (0, [])


@needs_systemd
@pytest.mark.parametrize(
    ("drop_ins", "most"),
    [
        ((), 1.5),
        (("litewatch-coral.conf",), 1.8),
        (("litewatch-camera.conf",), 1.8),
        (("litewatch-coral.conf", "litewatch-camera.conf"), 1.8),
    ],
)
@pytest.mark.parametrize("unit", ["litewatch.service", "litewatch-check.service"])
def test_the_exposure_is_what_is_promised(
    tmp_path: Path, unit: str, drop_ins: tuple[str, ...], most: float
) -> None:
    installed(tmp_path, {unit: drop_ins})
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--root={tmp_path}", unit]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= most


def test_a_config_that_never_worked_is_not_restarted_and_everything_else_is() -> None:
    wanted = {"Type=notify", "Restart=always", "RestartPreventExitStatus=2", "StartLimitIntervalSec=0"}
    assert wanted <= set(directives("litewatch.service"))


@pytest.mark.parametrize(("kind", "module"), [("coral", "apex"), ("camera", "videodev")])
def test_a_kind_of_device_is_known_before_it_is_allowed(kind: str, module: str) -> None:
    wanted = {f"Wants=modprobe@{module}.service", f"After=modprobe@{module}.service"}
    assert wanted <= set(directives(f"litewatch-{kind}.conf"))


def test_the_check_may_do_no_more_than_the_agent() -> None:
    def sandbox(unit: str) -> list[str]:
        text = (SYSTEMD / unit).read_text()
        first = next(line for line in text.splitlines() if "does not need it cannot have" in line)
        return [line for line in text[text.index(first) :].splitlines() if re.match(r"[A-Z]\w+=", line)]

    agent = [line for line in sandbox("litewatch.service") if not line.startswith("WantedBy=")]
    assert sandbox("litewatch-check.service") == agent
    both = {"User=litewatch", "DynamicUser=yes", "StateDirectory=litewatch"}
    assert both <= set(directives("litewatch.service")) & set(directives("litewatch-check.service"))


def test_a_drop_in_reaches_the_directory_of_secrets_in_both_services() -> None:
    for unit in UNITS[:2]:
        assert "LoadCredential=secrets:/etc/litewatch/secrets" in directives(unit)


def test_the_udev_rules_name_both_ids_of_the_usb_coral_and_the_pcie_one() -> None:
    text = (SYSTEMD / "99-litewatch-coral.rules").read_text()
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [re.findall(r"==\"([0-9a-f]{4}|apex)\"", rule) for rule in rules] == [
        ["1a6e", "089a"],
        ["18d1", "9302"],
        ["apex"],
    ]
    group = (SYSTEMD / "litewatch-coral.sysusers").read_text()
    assert all('GROUP="litewatch-tpu", MODE="0660"' in rule for rule in rules)
    assert re.search(r"^g +litewatch-tpu +-$", group, flags=re.MULTILINE)


def test_the_example_config_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    from tools.cli import main

    assert main(["config", str(SYSTEMD / "agent.example.yaml")]) == 0, capsys.readouterr().err


def test_what_the_script_installs_from_is_all_in_the_sources() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(SYSTEMD / "litewatch-check.timer")
    assert parser["Timer"]["Persistent"] == "yes"
    text = (SYSTEMD / "install.sh").read_text()
    named = set(re.findall(r"\$from/([\w.-]+)|systemd/(agent\.example\.yaml)", text))
    for name in {first or second for first, second in named} - {""}:
        assert (SYSTEMD / name).is_file(), name
