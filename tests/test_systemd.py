"""The unit file says only what systemd understands."""

import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="skipped: no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (SYSTEMD / "litewatch.service").read_text()
    unit = tmp_path / "litewatch.service"
    unit.write_text(text.replace("/opt/litewatch/.venv/bin/litewatch", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    # It exits 0 even for unknown keys; what it complains of stands on standard error.
    complaints = [line for line in done.stderr.splitlines() if str(unit) in line]
    assert (done.returncode, complaints) == (0, [])


def test_a_bad_config_is_not_restarted() -> None:
    lines = (SYSTEMD / "litewatch.service").read_text().splitlines()
    assert {"Type=notify", "Restart=always", "RestartPreventExitStatus=2"} <= set(lines)
