"""The doctor's decision trees: facts in, the cause and what to type out."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from trees import plant

from agent.device.coral import read_corals
from agent.device.throttling import Throttling, read_throttling
from tools.doctor.finding import Finding, verdict_of
from tools.doctor.tree import (
    broker,
    bundle,
    camera,
    clock,
    delegate,
    disk,
    power,
    runtime,
    service,
    start,
    tpu,
)

GIB = 1024.0
WELL = Throttling(known=True)
STARVED = Throttling(known=True, since_boot=("under-voltage",))


def wrong(found: list[Finding]) -> Finding:
    """The one finding that is wrong; it must say what to type."""
    (finding,) = [one for one in found if one.verdict == "wrong"]
    assert finding.commands
    return finding


def verdicts(found: list[Finding]) -> list[str]:
    return [finding.verdict for finding in found]


# Runtime.


def runtimes(*tried: runtime.RuntimeTried, **changes: Any) -> runtime.RuntimeFacts:
    facts = runtime.RuntimeFacts(python="3.11.2", bits=64, numpy="2.4.1", opencv_problem="", tried=tried)
    return replace(facts, **changes)


LITERT = runtime.RuntimeTried(name="ai-edge-litert", version="2.3.0")
NO_LITERT = runtime.RuntimeTried(
    name="ai-edge-litert", version=None, problem="not installed", install="pip install ai-edge-litert"
)
NUMPY_2 = runtime.RuntimeTried(
    name="tflite-runtime",
    version="2.14.0",
    problem="built for numpy 1 (_ARRAY_API not found)",
    install="pip install tflite-runtime==2.14.0 'numpy<2' 'opencv-python-headless<4.12'",
)


def test_a_runtime_that_works() -> None:
    (found,) = runtime.examine(runtimes(LITERT))
    assert (found.verdict, found.cause) == ("ok", "ai-edge-litert 2.3.0 with numpy 2.4.1 on Python 3.11.2")


def test_the_pair_that_imports_and_dies_is_named_with_its_cure() -> None:
    finding = wrong(runtime.examine(runtimes(NO_LITERT, NUMPY_2)))
    assert finding.cause == (
        "tflite-runtime 2.14.0 with numpy 2.4.1 on Python 3.11.2 does not work: "
        "built for numpy 1 (_ARRAY_API not found)"
    )
    assert finding.commands == (NUMPY_2.install,)


def test_a_broken_runtime_beside_one_that_works_is_only_worth_knowing() -> None:
    assert verdicts(runtime.examine(runtimes(LITERT, NUMPY_2))) == ["ok", "notice"]


def test_no_runtime_at_all() -> None:
    finding = wrong(runtime.examine(runtimes(NO_LITERT)))
    assert finding.cause == "no TFLite runtime is installed (ai-edge-litert)"
    assert finding.commands == ("pip install ai-edge-litert",)


def test_a_32_bit_python() -> None:
    finding = wrong(runtime.examine(runtimes(LITERT, bits=32)))
    assert finding.cause.startswith("this Python has 32 bits")


@pytest.mark.parametrize(
    ("said", "numpy", "cause", "command"),
    [
        (
            "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
            "2.4.1",
            "OpenCV is the build for desktops and misses its window libraries",
            "pip install opencv-python-headless",
        ),
        (
            "_ARRAY_API not found",
            "1.26.4",
            "OpenCV was built for another numpy than 1.26.4",
            "pip install 'opencv-python-headless<4.12'",
        ),
        (
            "it is not installed",
            "2.4.1",
            "OpenCV cannot be imported",
            "pip install --force-reinstall opencv-python-headless",
        ),
    ],
)
def test_an_opencv_that_cannot_be_imported(said: str, numpy: str, cause: str, command: str) -> None:
    finding = wrong(runtime.examine(runtimes(LITERT, opencv_problem=said, numpy=numpy)))
    assert finding.cause == cause
    assert command in finding.commands


# Power.


def test_power(tmp_path: Path) -> None:
    assert verdicts(power.examine(Throttling(known=False))) == ["not checked"]
    assert verdicts(power.examine(WELL)) == ["ok"]
    assert wrong(power.examine(STARVED)).cause == "there was under-voltage since boot"
    now = Throttling(
        known=True, now=("under-voltage", "throttled"), since_boot=("under-voltage", "throttled")
    )
    found = power.examine(now)
    assert wrong(found).cause == "under-voltage now: the power supply or its cable is too weak"
    assert [one.cause for one in found if one.verdict == "notice"] == ["now: throttled"]
    pi = read_throttling(plant(tmp_path, "pi4"))
    assert [one.cause for one in power.examine(pi)] == [
        "there was under-voltage since boot",
        "now: soft temperature limit",
    ]


# The Edge TPU, on the trees of machines.


def facts(root: Path, **changes: Any) -> tpu.TpuFacts:
    made = tpu.TpuFacts(
        configured=True,
        device="auto",
        library="libedgetpu.so.1",
        corals=read_corals(root),
        closed=(),
        missing=(),
        page_size=4096,
        throttling=WELL,
        apex_loaded=True,
        tried=tpu.Tried(by="doctor"),
        untried="",
        holder="",
    )
    return replace(made, **changes)


def refused(problem: str) -> tpu.Tried:
    return tpu.Tried(by="doctor", problem=f"delegate edgetpu: {problem}")


def test_a_coral_that_works(tmp_path: Path) -> None:
    (found,) = tpu.examine(facts(plant(tmp_path, "pi4", "usb_coral")))
    assert (found.verdict, found.cause) == ("ok", "a Coral on USB port 2-1: it ran a model")
    listed = tpu.examine(facts(tmp_path, listed=("usb /sys/bus/usb/devices/2-1",)))
    assert listed[0].cause.endswith("it ran a model; pycoral lists usb /sys/bus/usb/devices/2-1")


def test_no_coral_and_none_wanted(tmp_path: Path) -> None:
    assert tpu.examine(facts(plant(tmp_path, "pi4"), configured=False)) == []


def test_a_coral_that_nobody_uses(tmp_path: Path) -> None:
    (found,) = tpu.examine(facts(plant(tmp_path, "pi4", "usb_coral"), configured=False))
    assert found.verdict == "notice"
    assert found.commands == ("set model.delegate: edgetpu in agent.yaml",)


def test_no_coral_is_on_any_bus(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4")
    finding = wrong(tpu.examine(facts(root)))
    assert finding.cause == "no Coral is on USB or PCIe"
    assert finding.commands[0] == "lsusb -t"
    assert "neither 1a6e:089a nor 18d1:9302" in finding.detail
    starved = wrong(tpu.examine(facts(root, throttling=read_throttling(root))))
    assert starved.cause == (
        "no Coral is on USB or PCIe, and this machine is short of power: a Coral takes up to 900 mA"
    )
    assert starved.commands[0] == "use a stronger power supply, or a hub with its own"
    assert "PCIe bus" in wrong(tpu.examine(facts(root, device="pci:0"))).cause


def test_the_wrong_bus_is_wanted(tmp_path: Path) -> None:
    finding = wrong(tpu.examine(facts(plant(tmp_path, "pi4", "usb_coral"), device="pci")))
    assert (
        finding.cause
        == "agent.yaml wants a Coral on pci, and the one that is here is a Coral on USB port 2-1"
    )


def test_a_stick_that_this_user_may_not_open(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4", "usb_coral")
    finding = wrong(tpu.examine(facts(root, closed=("/dev/bus/usb/002/003",), tried=refused("no device"))))
    assert finding.cause == "this user may not open /dev/bus/usb/002/003, the Coral on USB port 2-1"
    assert finding.commands == tpu.RULES
    assert "a rule must name both" in finding.detail


def test_what_this_user_may_is_beside_the_point_while_the_agent_has_it(tmp_path: Path) -> None:
    served = tpu.Tried(by="service")
    stick = facts(plant(tmp_path / "a", "pi4", "usb_coral"), closed=("/dev/bus/usb/002/003",), tried=served)
    card = facts(plant(tmp_path / "b", "pi5", "pcie_coral"), closed=("/dev/apex_0",), tried=served)
    assert [verdicts(tpu.examine(one)) for one in (stick, card)] == [["ok"], ["ok"]]
    lost = replace(stick, tried=tpu.Tried(by="service", problem="lost"))
    assert verdicts(tpu.examine(lost)) == ["wrong"]


def test_a_stick_whose_firmware_was_not_loaded(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4", "usb_coral_fresh")
    problem = refused("Failed to load delegate from libedgetpu.so.1")
    found = tpu.examine(facts(root, tried=problem, throttling=STARVED))
    finding = wrong(found)
    assert finding.cause == (
        "the Coral on USB port 1-1.2 still has the id 1a6e:089a: its firmware was not loaded"
    )
    assert finding.commands[:2] == (
        "use a stronger power supply, or a hub with its own: a Coral takes up to 900 mA",
        "plug it into a blue USB 3 port with its own cable",
    )
    assert "runs at 480 Mbit/s on port 1-1.2" in found[1].cause


def test_a_stick_on_a_slow_port_works_slowly(tmp_path: Path) -> None:
    found = tpu.examine(facts(plant(tmp_path, "pi4", "usb_coral_fresh")))
    assert verdicts(found) == ["ok", "notice"]
    assert found[0].cause == "a Coral on USB port 1-1.2 (id 1a6e:089a): it ran a model"


@pytest.mark.parametrize(
    ("problem", "cause"),
    [
        (
            "libedgetpu.so.1: cannot open shared object file: No such file or directory; "
            "install libedgetpu (docs/delegates.md)",
            "the Coral's library libedgetpu.so.1 is not installed",
        ),
        (
            "opening the model: killed by signal 11 (SIGSEGV)",
            "the Coral's library and the TFLite runtime do not fit each other",
        ),
        (
            "libedgetpu.so.1 is no TFLite delegate (it lacks tflite_plugin_create_delegate)",
            "the Coral's library and the TFLite runtime do not fit each other",
        ),
        (
            "opening the model: no answer within 60 s",
            "the Coral does not work: delegate edgetpu: opening the model: no answer within 60 s",
        ),
    ],
)
def test_a_coral_that_is_there_and_does_not_run(tmp_path: Path, problem: str, cause: str) -> None:
    finding = wrong(tpu.examine(facts(plant(tmp_path, "pi4", "usb_coral"), tried=refused(problem))))
    assert finding.cause == cause


def test_a_coral_that_another_process_has(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4", "usb_coral")
    finding = wrong(tpu.examine(facts(root, tried=refused("no device"), holder="frigate (process 812)")))
    assert finding.cause == "another process has the Coral: frigate (process 812); it serves one at a time"


def test_a_coral_the_running_agent_has(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4", "usb_coral")
    (well,) = tpu.examine(facts(root, tried=tpu.Tried(by="service")))
    assert well.cause == "a Coral on USB port 2-1: the running agent uses it"
    lost = tpu.Tried(by="service", problem="it has lost the delegate, and the CPU runs the model")
    assert wrong(tpu.examine(facts(root, tried=lost))).cause == (
        "the running agent says of it: it has lost the delegate, and the CPU runs the model"
    )
    untold = facts(root, tried=None, untried="the running agent has it, and was not asked")
    assert verdicts(tpu.examine(untold)) == ["not checked"]


def test_a_card_without_its_driver(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi5", "pcie_coral_without_driver")
    finding = wrong(tpu.examine(facts(root, apex_loaded=False)))
    assert finding.cause == (
        "the card at 0000:01:00.0 has no driver: /dev/apex_0 is missing, the module apex is not loaded"
    )
    assert finding.commands == (
        "build google/gasket-driver by dkms (docs/delegates.md)",
        "sudo modprobe apex",
    )
    loaded = wrong(tpu.examine(facts(root)))
    assert loaded.cause.endswith("though the module apex is loaded")


def test_a_card_whose_node_is_missing_or_closed(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi5", "pcie_coral")
    missing = wrong(tpu.examine(facts(root, missing=("/dev/apex_0",))))
    assert missing.cause == "/dev/apex_0 is missing though the driver has the card"
    closed = wrong(tpu.examine(facts(root, closed=("/dev/apex_0",))))
    assert (closed.cause, closed.commands) == ("this user may not open /dev/apex_0", tpu.RULES)


def test_a_card_that_has_died(tmp_path: Path) -> None:
    finding = wrong(tpu.examine(facts(plant(tmp_path, "pi5", "pcie_coral_dead"))))
    assert finding.cause == (
        "the card at 0000:01:00.0 has died (its sensor reads -87.9 °C): it answers no more until power is cut"
    )


def test_a_card_on_the_16_k_pages_of_a_pi_5(tmp_path: Path) -> None:
    finding = wrong(tpu.examine(facts(plant(tmp_path, "pi5", "pcie_coral"), page_size=16384)))
    assert finding.cause == "this kernel uses pages of 16 kB, and a Coral on PCIe needs 4 kB"
    assert finding.commands == tpu.FOUR_K


def test_a_dead_card_beside_a_stick_that_is_used(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi5", "pcie_coral_dead", "usb_coral")
    assert verdicts(tpu.examine(facts(root, device="usb:0"))) == ["ok"]


def test_another_delegate() -> None:
    assert verdicts(delegate.examine("external", "libx.so", tpu.Tried(by="doctor"), "")) == ["ok"]
    assert verdicts(delegate.examine("external", "libx.so", None, "no runtime")) == ["not checked"]
    broken = tpu.Tried(by="doctor", problem="delegate external: libx.so: cannot open shared object file")
    finding = wrong(delegate.examine("external", "libx.so", broken, ""))
    assert (finding.cause, finding.commands) == (broken.problem, ("ldd libx.so",))


# Clock and disk.


def test_clock() -> None:
    well = clock.ClockFacts(now_s=1e9, synced=True, written_s=1e9 - 60, tls=False)
    assert verdicts(clock.examine(well)) == ["ok"]
    assert verdicts(clock.examine(replace(well, synced=False))) == ["notice"]
    behind = replace(well, now_s=1e9 - 10 * 86_400, tls=True)
    assert wrong(clock.examine(behind)).cause == (
        "the clock is at least 10 days behind: the broker's certificate is not valid yet"
    )


DISK = disk.DiskFacts(
    folder="/var/lib/litewatch",
    exists=True,
    hidden=False,
    writable=True,
    read_only=False,
    free_mib=20 * GIB,
    inodes_free=100_000,
    outbox_problem="",
    set_aside=(),
    outbox_max_mib=64.0,
)


def test_a_disk_that_is_well() -> None:
    (found,) = disk.examine(DISK)
    assert (found.verdict, found.cause) == ("ok", "/var/lib/litewatch, 20480 MiB free")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"free_mib": 0.0}, "/var/lib/litewatch: 0 MiB free; the outbox may grow to 64"),
        ({"writable": False}, "/var/lib/litewatch cannot be written by this user"),
        ({"writable": False, "exists": False}, "/var/lib/litewatch cannot be made by this user"),
        (
            {"read_only": True, "writable": False},
            "/var/lib/litewatch is on a file system mounted for reading only: mostly a failing card",
        ),
        (
            {"inodes_free": 3},
            "/var/lib/litewatch: the file system has 3 inodes left: too many small files",
        ),
        ({"outbox_problem": "file is not a database"}, "the outbox is damaged: file is not a database"),
    ],
)
def test_a_disk_that_is_not(changes: dict[str, Any], cause: str) -> None:
    assert wrong(disk.examine(replace(DISK, **changes))).cause == cause


def test_a_disk_worth_watching_or_not_to_be_seen() -> None:
    assert verdicts(disk.examine(replace(DISK, free_mib=50.0))) == ["notice"]
    assert verdicts(disk.examine(replace(DISK, set_aside=("outbox.db.damaged-1",)))) == ["notice"]
    (hidden,) = disk.examine(replace(DISK, hidden=True))
    assert (hidden.verdict, hidden.commands[0].split()[0]) == ("not checked", "sudo")


# Bundle and source.


def test_bundle() -> None:
    whole = bundle.BundleFacts(
        path="m.tflite", problems=(), has_edgetpu=False, needs_edgetpu=False, answer=""
    )
    assert verdicts(bundle.examine(whole)) == ["ok"]
    assert wrong(bundle.examine(replace(whole, needs_edgetpu=True))).cause == (
        "m.tflite has no model for the Edge TPU, which agent.yaml asks for"
    )
    assert wrong(bundle.examine(replace(whole, problems=("m.tflite: truncated",)))).commands == (
        "litewatch inspect m.tflite",
    )
    assert wrong(bundle.examine(replace(whole, answer="a.png gives 2 for 1"))).commands == (
        "litewatch check m.tflite",
    )


def test_an_agent_that_would_not_start() -> None:
    well = start.StartFacts(config="/etc/litewatch/agent.yaml", bundle="m.tflite")
    assert start.examine(well) == []
    promise = wrong(start.examine(replace(well, config_problems=("monitor: too few rows",))))
    assert (promise.subject, promise.cause) == ("config", "the agent would not start: monitor: too few rows")
    features = wrong(start.examine(replace(well, bundle_problems=("m.tflite: other features",))))
    assert (features.subject, features.commands) == ("bundle", ("litewatch inspect m.tflite",))
    machine = wrong(start.examine(replace(well, machine_problem="no interpreter")))
    assert (machine.subject, machine.commands) == ("runtime", ("litewatch check m.tflite",))


CAMERA = camera.SourceFacts(
    kind="camera",
    place="/dev/video0",
    node="/dev/video0",
    node_exists=True,
    node_open=True,
    node_driver="HD Webcam C525",
    cameras=("/dev/video0",),
    others=(),
    program=None,
    program_found=True,
    agent_running=False,
    problem="",
)


def test_a_source_that_delivers() -> None:
    assert verdicts(camera.examine(CAMERA)) == ["ok"]
    assert verdicts(camera.examine(replace(CAMERA, problem=None, agent_running=True))) == ["not checked"]


@pytest.mark.parametrize(
    ("changes", "cause", "command"),
    [
        (
            {"node_exists": False, "cameras": ("/dev/video2",)},
            "/dev/video0 does not exist; here are /dev/video2",
            "v4l2-ctl --list-devices",
        ),
        (
            {"node_exists": False, "cameras": (), "others": ("/dev/video10",)},
            "/dev/video0 does not exist; no camera is here, unless one on the ribbon cable",
            "set source: {kind: rpicam} in agent.yaml",
        ),
        (
            {"node": "/dev/video10", "node_driver": "bcm2835-codec-decode"},
            "/dev/video10 is a codec, not a camera (bcm2835-codec-decode): no pictures",
            "set source.device: /dev/video0 in agent.yaml",
        ),
        (
            {"node": "/dev/video19", "node_driver": "rpi-hevc-dec", "cameras": ()},
            "/dev/video19 is a codec, not a camera (rpi-hevc-dec): no pictures",
            "set source: {kind: rpicam} in agent.yaml",
        ),
        ({"node_open": False}, "this user may not open /dev/video0", "sudo usermod -aG video $USER"),
        (
            {"node_driver": "rp1-cfe-csi2_ch0", "cameras": ()},
            "/dev/video0 is the raw side of a ribbon-cable camera (rp1-cfe-csi2_ch0): no pictures",
            "set source: {kind: rpicam} in agent.yaml",
        ),
        ({"problem": "/dev/video0: busy"}, "camera: /dev/video0: busy", "fuser -v /dev/video0"),
        (
            {"kind": "rpicam", "node": None, "program": "rpicam-vid", "program_found": False},
            "rpicam-vid is not installed",
            "sudo apt install rpicam-apps",
        ),
        (
            {"kind": "stream", "node": None, "problem": "rtsp://door/: refused"},
            "stream: rtsp://door/: refused",
            "ffprobe",
        ),
    ],
)
def test_a_source_that_does_not(changes: dict[str, Any], cause: str, command: str) -> None:
    finding = wrong(camera.examine(replace(CAMERA, **changes)))
    assert finding.cause == cause
    assert any(one.startswith(command) for one in finding.commands)


# Broker. Where the facts come from is tested on a real one in test_doctor_probes.

BROKER = broker.BrokerFacts(
    host="broker.local",
    port=8883,
    version="5",
    tls=True,
    own_certificate=False,
    username="cam-1",
    topic="litewatch/1/lab/cam-1",
    stage="done",
)


def test_a_broker_that_takes_everything() -> None:
    (found,) = broker.examine(BROKER)
    assert (found.verdict, found.cause) == ("ok", "broker.local:8883 takes this device's messages")
    (unheard,) = broker.examine(replace(BROKER, heard=False))
    assert unheard.verdict == "notice" and unheard.cause.endswith("nobody is subscribed to them")
    (blind,) = broker.examine(replace(BROKER, version="3.1.1"))
    assert blind.verdict == "notice" and "MQTT 3.1.1 does not say" in blind.cause


@pytest.mark.parametrize(
    ("stage", "changes", "cause"),
    [
        ("name", {}, "the name 'broker.local' cannot be resolved"),
        (
            "port",
            {"said": "Connection refused"},
            "broker.local:8883 refuses the connection: no broker listens",
        ),
        ("port", {"said": "timed out"}, "broker.local:8883 does not answer: a firewall"),
        ("tls", {"code": 9}, "the broker's certificate is not valid yet"),
        (
            "tls",
            {"code": 9, "clock_synced": False},
            "the broker's certificate is not valid yet, or this machine",
        ),
        ("tls", {"code": 10}, "the broker's certificate is expired"),
        ("tls", {"code": 62}, "the broker's certificate is not for the name 'broker.local'"),
        (
            "tls",
            {"code": 20},
            "the broker's certificate is signed by an authority that this device does not know",
        ),
        (
            "tls",
            {"code": 24, "said": "invalid CA certificate"},
            "the broker's certificate is not accepted: invalid",
        ),
        ("tls", {}, "broker.local:8883 does not speak TLS"),
        ("silent", {"said": "timed out"}, "broker.local:8883 accepts and does not answer"),
        ("login", {"code": 0x86, "said": "bad"}, "the broker refuses user 'cam-1': bad"),
        ("login", {"code": 0x87, "said": "no", "username": None}, "the broker refuses anonymous devices: no"),
        ("login", {"code": 0x84}, "the broker does not speak MQTT 5"),
        ("login", {"code": 0x89, "said": "busy"}, "the broker refuses the connection: busy"),
        (
            "login",
            {"said": "alert required"},
            "the broker hangs up after the TLS handshake: it wants a certificate",
        ),
        ("login", {"said": "alert bad", "own_certificate": True}, "the broker does not accept this device's"),
        ("login", {"tls": False}, "the broker hangs up unanswered: another protocol, or a TLS port"),
        ("read", {"refused": ("a/ack",)}, "the broker's access rules do not let this device read a/ack"),
        (
            "write",
            {"code": 0x87},
            "the broker's access rules do not let user 'cam-1' write below litewatch/1/lab",
        ),
        ("files", {"said": "mqtt.password_file: x cannot be read"}, "mqtt.password_file: x cannot be read"),
    ],
)
def test_where_a_connection_stops(stage: broker.Stage, changes: dict[str, Any], cause: str) -> None:
    assert wrong(broker.examine(replace(BROKER, stage=stage, **changes))).cause.startswith(cause)


def test_nobody_is_told_to_switch_encryption_off_because_of_a_silence() -> None:
    commands = wrong(broker.examine(replace(BROKER, stage="silent"))).commands
    assert not any("mqtt.tls" in one for one in commands)


def test_a_camera_closed_to_this_user_is_no_matter_while_the_agent_has_it() -> None:
    served = replace(CAMERA, node_open=False, problem=None, agent_running=True)
    assert verdicts(camera.examine(served)) == ["not checked"]


def test_what_the_running_agent_says_of_its_connection() -> None:
    running = replace(BROKER, agent_running=True)
    assert verdicts(broker.examine(running)) == ["not checked"]
    (well,) = broker.examine(replace(running, agent_connected=True))
    assert (well.verdict, well.cause) == ("ok", "broker.local:8883: the running agent is connected")
    assert wrong(broker.examine(replace(running, agent_connected=False))).cause == (
        "broker.local:8883 answers, and the running agent is not connected"
    )


def test_a_login_whose_password_this_user_may_not_read() -> None:
    (found,) = broker.examine(replace(BROKER, hidden="mqtt.password_file: this user may not read x"))
    assert (found.verdict, found.commands) == (
        "not checked",
        ("sudo litewatch doctor -c /etc/litewatch/agent.yaml",),
    )


# The running agent.

AGENT = service.AgentFacts(
    running=True,
    said=service.Said(state="online", connected=True),
    silent="",
    config="/etc/litewatch/agent.yaml",
    bundle="m.tflite",
    accelerator="tpu",
)


def degraded(*problems: str) -> list[Finding]:
    return service.examine(replace(AGENT, said=service.Said(state="degraded", problems=problems)))


def test_an_agent_that_is_well_absent_silent_or_anothers() -> None:
    assert verdicts(service.examine(AGENT)) == ["ok"]
    assert verdicts(service.examine(replace(AGENT, running=False))) == ["notice"]
    (older,) = service.examine(replace(AGENT, said=None))
    assert older.verdict == "not checked" and older.cause.endswith("it is of an older version")
    (silent,) = service.examine(replace(AGENT, said=None, silent="does not tell: permission denied"))
    assert silent.cause == "runs on this machine, and does not tell: permission denied"
    assert silent.commands == ("sudo litewatch doctor",)
    sick = service.Said(state="degraded", problems=("source: lost",))
    (other,) = service.examine(replace(AGENT, said=sick, other="lab/cam-2"))
    assert (other.verdict, "lab/cam-2" in other.cause) == ("notice", True)


@pytest.mark.parametrize(
    ("about", "subject", "command"),
    [
        ("source", "source", "journalctl -u litewatch -n 50"),
        ("telemetry", "broker", "journalctl -u litewatch -n 50"),
        ("delegate", "tpu", "journalctl -u litewatch -n 50"),
        ("config", "agent", "litewatch config /etc/litewatch/agent.yaml"),
        ("model", "agent", "litewatch check m.tflite"),
        ("picture", "agent", "look at the camera: its lens, its light, its cable"),
        ("canary", "agent", "litewatch check -c /etc/litewatch/agent.yaml"),
        ("message about", "agent", "journalctl -u litewatch -n 50"),
    ],
)
def test_each_problem_of_the_running_agent_is_a_finding(about: str, subject: str, command: str) -> None:
    finding = wrong(degraded(f"{about}: it is: so"))
    assert (finding.subject, finding.cause) == (subject, f"the running agent says: {about}: it is: so")
    assert finding.commands[0] == command


def test_a_degraded_agent_is_wrong_whatever_it_says() -> None:
    assert verdicts(degraded("source: a", "canary: b")) == ["wrong", "wrong"]
    assert wrong(degraded()).cause == "the running agent says that it is degraded, and not why"


@pytest.mark.parametrize(("verdict", "whole"), [("wrong", "wrong"), ("notice", "ok"), ("not checked", "ok")])
def test_only_what_is_wrong_makes_the_verdict(
    verdict: Literal["wrong", "notice", "not checked"], whole: str
) -> None:
    assert verdict_of([Finding(subject="x", verdict=verdict, cause="y")]) == whole
