"""The demo, as a newcomer starts it: real processes, a real broker, the right verdicts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.xdist_group("demo")
@pytest.mark.timeout(180)
def test_the_demo_says_which_device_lost_accuracy_and_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from tools.cli import entry; entry()", "demo", "--json"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    devices = {device["device"]: device for device in json.loads(done.stdout)["devices"]}
    causes = {name: device["cause"] for name, device in devices.items()}
    assert causes["healthy"] is None
    assert causes["wrong-preprocess"] == "preprocess:resize"
    # Night: by what moved, or by the replayed fault that is most like it.
    assert causes["drifting"] in ("data:light", "data:dark")
    assert causes["regression"].startswith("data:")
    assert devices["healthy"]["accuracy"] >= 0.95
    assert devices["healthy"]["alarms"] == []
    assert devices["wrong-preprocess"]["accuracy"] <= 0.85
    assert devices["wrong-preprocess"]["differs"] == ["resize", "normalize"]
    assert devices["drifting"]["accuracy"] <= 0.80
    assert [alarm["alarm"] for alarm in devices["drifting"]["alarms"]] == ["drift"]
    assert devices["drifting"]["alarms"][0]["severity"] in ("warning", "critical")
    assert devices["drifting"]["alarms"][0]["loss_points"] > 0
    diagnosis = devices["drifting"]["diagnosis"]
    assert (diagnosis["trigger"], diagnosis["stands"]) == ("drift", True)
    assert diagnosis["causes"][0]["cause"] in ("data:light", "data:dark")
    assert diagnosis["causes"][0]["next_step"]
    assert devices["healthy"]["estimate"]["value"] >= 0.9
    assert devices["drifting"]["estimate"]["value"] is None or (
        devices["drifting"]["estimate"]["value"] < devices["healthy"]["estimate"]["value"] - 0.02
    )
    assert devices["healthy"]["accuracy_from"] == "labels"
    regression = devices["regression"]["labelled"]
    assert regression["mse"] > regression["reference"]
    assert regression["low"] > regression["reference"]
    assert [alarm["cause"] for alarm in devices["regression"]["alarms"]] == ["data:value"]
    assert all(device["frames"] for device in devices.values())
    assert all(device["messages_lost"] == 0 for device in devices.values())
    assert list(tmp_path.iterdir()) == []
