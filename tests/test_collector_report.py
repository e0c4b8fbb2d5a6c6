"""What the fleet's report says, exactly, and how honestly."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from collecting import LITEWATCH, ROOT
from seeded_telemetry import (
    AT,
    HEALTH,
    SESSIONS,
    about,
    accepted,
    alarm,
    drift,
    envelope,
    health,
    in_use,
    state,
    window,
)

from agent.telemetry.messages import Accuracy, Check, Envelope
from tools.collector.admission import Refused, refuse
from tools.collector.cause import find_cause
from tools.collector.fleet import Device, fleet
from tools.collector.store import Store
from tools.collector.words import has_fallen

GOOD = Accuracy(n=200, accuracy=0.97, low=0.943, high=0.985, ece=0.02, reference=0.975)
BAD = Accuracy(n=200, accuracy=0.6, low=0.541, high=0.656, ece=0.2, reference=0.975)
RISEN = Accuracy(n=200, mae=1.9, mse=6.1, low=5.0, high=7.2, reference=4.0)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LITEWATCH, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def fill(path: Path, *arrivals: Envelope | Refused) -> None:
    store = Store(str(path))
    store.ingest([one if isinstance(one, Refused) else accepted(one) for one in arrivals])
    store.close()


def devices(path: Path) -> tuple[Device, ...]:
    store = Store(str(path), create=False)
    try:
        return fleet(store)
    finally:
        store.close()


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    """Four devices: healthy, forced preprocessing, drifting, and a regression that got worse."""
    path = tmp_path / "fleet.db"
    forced: dict[str, Any] = {
        "device": "cam-2",
        "session": SESSIONS[2],
        "preprocess": in_use("resize", "normalize"),
    }
    drifting: dict[str, Any] = {"device": "cam-3", "session": SESSIONS[3], "preprocess": in_use()}
    sensor: dict[str, Any] = {"device": "sensor-1", "session": SESSIONS[4], "site": "plant"}
    fill(
        path,
        state("online", 1, preprocess=in_use()),
        envelope(about(), 0, preprocess=in_use()),
        envelope(window(accuracy=GOOD, drift=(drift(0.4),)), 1, floor=1, preprocess=in_use()),
        health(2, floor=1, preprocess=in_use(), inferences=3100),
        state("online", 1, **forced),
        envelope(about(), 0, **forced),
        envelope(window(accuracy=BAD), 1, **forced),
        state("degraded", 2, problems=("camera: no frames",), **drifting),
        envelope(about(), 0, **drifting),
        envelope(window(accuracy=GOOD, drift=(drift(0.2), drift(1e-6))), 5, floor=5, **drifting),
        envelope(alarm("raised"), 6, floor=5, **drifting),
        refuse("litewatch/1/lab/cam-3/health", b"{", "payload: not JSON", received_at=AT),
        envelope(about(task="regression", bundle="line.tflite"), 0, **sensor),
        envelope(window(accuracy=RISEN), 2, **sensor),
    )
    return path


def common(**fields: Any) -> dict[str, Any]:
    return {
        "site": "lab",
        "state": "online",
        "problems": [],
        "model": "digits.tflite",
        "frames": 3000,
        "preprocess": "2026-01",
        "fingerprint": "cc" * 32,
        "differs": [],
        "reproduction": "exact",
        "estimate": None,
        "accuracy_from": "labels",
        "accuracy_low": None,
        "accuracy_high": None,
        "drift": None,
        "alarms": [],
        "diagnosis": None,
        "commissioning": None,
        "stream": None,
        "machine": None,
        "cause": None,
        "last_seen": AT,
        "messages_lost": 0,
        "messages_awaited": 0,
        "messages_evicted": 0,
        "quarantined": 0,
    } | fields


def labelled(accuracy: Accuracy) -> dict[str, Any]:
    return asdict(accuracy) | {"confusion": []}


def score(p: float) -> dict[str, Any]:
    return asdict(drift(p)) | {"top": ["luma_mean", "luma_p5"]}


GOOD_TEXT = (
    "accuracy 97.0 % against 97.5 % held out (n = 200, 95 % interval 94.3–98.5): as held out, within chance"
)
BAD_TEXT = "accuracy 60.0 % against 97.5 % held out (n = 200, 95 % interval 54.1–65.6): fallen"
WELL = {
    "delegate": "",
    "delegate_away_s": None,
    "failovers": 0,
    "soc_temperature_c": None,
    "throttled_now": [],
    "throttled_since_boot": [],
    "tpu": "",
    "tpu_temperature_c": None,
    "tpu_usb_mbps": None,
    "tpu_resets": None,
    "canary_mismatches": 0,
    "troubles": [],
}
SEEDED = {
    "devices": [
        common(
            device="cam-1",
            frames=3100,
            accuracy=0.97,
            accuracy_low=0.943,
            accuracy_high=0.985,
            labelled=labelled(GOOD),
            loss_points=0.5,
            machine=WELL,
            drift=score(0.4),
            evidence=GOOD_TEXT,
        ),
        common(
            device="cam-2",
            accuracy=0.6,
            accuracy_low=0.541,
            accuracy_high=0.656,
            labelled=labelled(BAD),
            loss_points=37.5,
            fingerprint="dd" * 32,
            differs=["resize", "normalize"],
            cause="preprocess:resize",
            evidence=f"forced override differs in resize, normalize; {BAD_TEXT}",
        ),
        common(
            device="cam-3",
            state="degraded",
            problems=["camera: no frames"],
            accuracy=0.97,
            accuracy_low=0.943,
            accuracy_high=0.985,
            labelled=labelled(GOOD),
            loss_points=0.5,
            drift=score(1e-6),
            alarms=[
                asdict(alarm("raised"))
                | {"top": ["luma_mean", "luma_p5"], "since": "2026-01-01T11:59:59.500Z"}
            ],
            cause="data:light",
            evidence="raised alarm drift (warning): images are darker than the reference; "
            f"features luma_mean, luma_p5; {GOOD_TEXT}",
            messages_lost=4,
            quarantined=1,
        ),
        common(
            device="sensor-1",
            site="plant",
            state=None,
            model="line.tflite",
            accuracy=None,
            labelled=labelled(RISEN),
            loss_points=None,
            evidence="MSE 6.1 against 4 held out (n = 200, 95 % interval 5.0–7.2): risen; "
            "unexplained: no preprocessing difference known, no alarm raised",
            messages_awaited=1,
        ),
    ]
}


def test_json_of_a_seeded_fleet(seeded: Path) -> None:
    done = run("report", "--db", str(seeded), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    for entry in document["devices"]:
        if entry["loss_points"] is not None:
            entry["loss_points"] = round(entry["loss_points"], 9)
    assert document == SEEDED


def test_the_table_names_every_device_and_its_evidence(seeded: Path) -> None:
    done = run("report", "--db", str(seeded))
    assert done.returncode == 0
    for device in SEEDED["devices"]:
        cause = f"{device['cause']} – " if device["cause"] else ""
        assert f"{device['site']}/{device['device']}: {cause}{device['evidence']}" in done.stdout
    assert "[messages lost: 4, payloads quarantined: 1]" in done.stdout
    assert "60.0 % (-37.5)" in done.stdout
    assert "\x1b" not in done.stdout  # no terminal, no colours


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    evil = {"device": "[red]x[nonsense]"}
    fill(
        path,
        state("online", 1, **evil),
        envelope(about(bundle="\x1b[2J[bold]b\n", preprocess_version="[/]"), 0, **evil),
        envelope(alarm("raised", name="[link=http://x]a"), 1, **evil),
    )
    done = run("report", "--db", str(path))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "lab/[red]x[nonsense]: data:light – raised alarm [link=http://x]a" in done.stdout


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_a_database_that_does_not_exist_is_said_so(tmp_path: Path, arguments: Sequence[str]) -> None:
    path = tmp_path / "absent.db"
    done = run("report", "--db", str(path), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: --db: there is no database {path} (litewatch collect makes one)\n"
    assert not path.exists()


def test_an_empty_fleet(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    fill(path)
    assert json.loads(run("report", "--db", str(path), "--json").stdout) == {"devices": []}
    assert run("report", "--db", str(path)).stderr == f"{path} has heard of no device yet\n"


def test_an_alarm_counts_until_cleared_or_tested_anew_by_a_later_run(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"

    def active() -> list[str]:
        return [one.alarm.alarm for one in devices(path)[0].alarms]

    fill(path, envelope(alarm("raised"), 1), envelope(alarm("raised", name="stuck", severity="critical"), 2))
    assert active() == ["stuck", "drift"]  # the worst first
    fill(path, envelope(alarm("cleared"), 3))
    assert active() == ["stuck"]
    # A restart alone ends nothing; its first test does.
    fill(path, state("online", 1, session=SESSIONS[2]), envelope(window(), 1, session=SESSIONS[2]))
    assert active() == ["stuck"]
    fill(path, envelope(window(drift=(drift(0.7),)), 2, session=SESSIONS[2]))
    assert active() == []
    fill(path, envelope(alarm("raised"), 3, session=SESSIONS[2]))
    assert active() == ["drift"]


def test_a_window_without_labels_or_test_takes_nothing_back(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    fill(path, envelope(window(accuracy=BAD, drift=(drift(0.3),)), 1), envelope(window(), 2))
    device = devices(path)[0]
    assert (device.accuracy, device.frames) == (BAD, 6000)
    assert device.drift is not None and device.drift.p == 0.3


def test_frames_are_those_of_all_sessions(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    fill(
        path,
        envelope(window(frames=900), 1),
        health(2, inferences=950),
        health(1, inferences=40, session=SESSIONS[2]),
    )
    assert devices(path)[0].frames == 990


def test_when_the_override_is_gone_it_is_no_cause_any_more(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    fill(path, health(1, preprocess=in_use("resize")))
    assert devices(path)[0].finding.cause == "preprocess:resize"
    fill(path, state("online", 1, session=SESSIONS[2], preprocess=in_use()))
    assert devices(path)[0].finding.cause is None


LOSS = "The CPU's kernels cost 9.4 points (4.1 to 14.7). Set kernels: builtin"


def check(verdict: Any, cause: str | None, seq: int, **fields: Any) -> Envelope:
    """As ``litewatch check --publish`` sends it, from a session of its own."""
    body = Check(verdict=verdict, cause=cause, rungs=(), sentence=f"{LOSS}." if cause else "")
    given: dict[str, Any] = {"session": SESSIONS[5], "preprocess": in_use()}
    return envelope(body, seq, **(given | fields))


def test_a_published_check_is_the_cause_until_a_later_one(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"

    def cause() -> str | None:
        return devices(path)[0].finding.cause

    fill(path, envelope(about(), 0), envelope(alarm("raised"), 1), check("harmful", "kernels", 0))
    found = json.loads(run("report", "--db", str(path), "--json").stdout)["devices"][0]
    assert (found["cause"], found["evidence"]) == (
        "kernels",
        f"check of 2026-01-01T11:59:59.500Z: harmful: {LOSS}; no labels yet: accuracy is not measured",
    )
    assert f"lab/cam-1: kernels – check of 2026-01-01T11:59:59.500Z: harmful: {LOSS};" in (
        run("report", "--db", str(path)).stdout
    )
    fill(path, check("ok", None, 1))
    assert cause() == "data:light"  # the alarm is still raised
    fill(path, check("changed", "delegate", 2))
    assert cause() == "delegate"
    fill(path, check("changed", None, 3))
    assert cause() == "data:light"
    fill(path, check("harmful", "hardware", 4))
    fill(path, check("ok", None, 2))  # a late copy of an older one
    assert cause() == "hardware"


def test_a_check_of_a_bundle_that_is_gone_is_no_cause(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    fill(path, envelope(about(), 0), check("harmful", "kernels", 0))
    assert devices(path)[0].finding.cause == "kernels"
    fill(path, envelope(about(fingerprint="ee" * 32), 0, session=SESSIONS[6]))
    assert devices(path)[0].finding.cause is None


def test_a_check_does_not_hide_a_forced_override(tmp_path: Path) -> None:
    """Its session may be younger than the agent's, and it runs the bundle's own preprocessing."""
    path = tmp_path / "fleet.db"
    fill(path, health(1, preprocess=in_use("resize")), check("ok", None, 0))
    assert devices(path)[0].differs == ("resize",)
    fill(path, check("changed", "delegate", 1))
    assert devices(path)[0].finding.cause == "preprocess:resize"
    fill(path, check("harmful", "delegate", 2))
    assert devices(path)[0].finding.cause == "delegate"


def finding(**fields: Any) -> tuple[str | None, str]:
    given: dict[str, Any] = {"differs": (), "about": None, "alarms": (), "accuracy": None, "reference": None}
    found = find_cause(**(given | fields))
    return found.cause, found.evidence


def test_causes_in_the_order_of_their_certainty() -> None:
    unlike = about(reproduction="differs", reproduction_step="resize", reproduction_detail="3 of 8 inputs")
    raised = (alarm("raised"),)
    assert finding(differs=("color",), about=unlike, alarms=raised)[0] == "preprocess:color"
    assert finding(about=unlike, alarms=raised) == (
        "preprocess:resize",
        "this machine does not reproduce the bundle's vectors from step resize on (3 of 8 inputs); "
        "no labels yet: accuracy is not measured",
    )
    assert finding(about=about(reproduction="within tolerance"), alarms=raised)[0] == "data:light"
    assert finding(accuracy=GOOD, reference=0.975) == (None, GOOD_TEXT)
    assert finding(accuracy=BAD, reference=0.975) == (
        None,
        f"{BAD_TEXT}; unexplained: no preprocessing difference known, no alarm raised",
    )
    assert finding(accuracy=BAD) == (
        None,
        "accuracy 60.0 % (n = 200, 95 % interval 54.1–65.6): no reference to compare with",
    )
    assert finding() == (None, "no labels yet: accuracy is not measured")


@pytest.mark.parametrize(
    ("accuracy", "reference", "fallen"),
    [
        (Accuracy(n=200, accuracy=0.9, low=0.86, high=0.93), 0.93, False),
        (Accuracy(n=200, accuracy=0.9, low=0.86, high=0.93), 0.931, True),
        (Accuracy(n=200, accuracy=0.9, low=0.86, high=0.93), 0.5, False),
        (Accuracy(n=0, accuracy=None), 0.9, False),
        (Accuracy(n=50, mse=5.31, low=3.9, high=6.7), 4.0, False),
        (Accuracy(n=50, mse=5.41, low=4.01, high=6.8), 4.0, True),
        (Accuracy(n=1, mse=50.0), 4.0, False),
        (Accuracy(n=50, mse=9.0, low=7.0, high=11.0), None, False),
    ],
)
def test_what_counts_as_fallen(accuracy: Accuracy, reference: float | None, fallen: bool) -> None:
    assert has_fallen(accuracy, reference) is fallen


def test_health_tells_what_the_device_evicted(tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "fleet.db"
    fill(path, envelope(replace(HEALTH, outbox_evicted=12), 20, floor=13))
    device = devices(path)[0]
    assert (device.evicted, device.lost, device.awaited) == (12, 12, 7)
