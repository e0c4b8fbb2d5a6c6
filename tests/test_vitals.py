"""What the agent reads of its machine, from trees of files shaped like a Pi's (tests/fixtures/trees)."""

from pathlib import Path

import pytest
from trees import plant, put

from agent.device.coral import CoralVitals, CoralWatch, PcieCoral, UsbCoral, read_corals
from agent.device.temperatures import temperatures
from agent.device.throttling import read_throttling
from agent.device.vitals import cpu_model, os_name, read_vitals

APEX = "sys/devices/pci0000:00/0000:00:00.0/0000:01:00.0/apex/apex_0"
STICK = "sys/bus/usb/devices/2-1"


def test_a_pi_4_that_is_hot_and_was_under_voltage(tmp_path: Path) -> None:
    root = plant(tmp_path / "pi", "pi4")
    vitals = read_vitals(tmp_path, root=root)
    assert vitals.soc_temperature_c == 81.3
    assert vitals.temperatures_c == {"cpu-thermal": 81.3}  # its hwmon twin is not a second sensor
    assert vitals.throttled_now == ("soft temperature limit",)
    assert vitals.throttled_since_boot == ("under-voltage", "soft temperature limit")
    assert vitals.memory_available_mib == 3072.0
    assert vitals.load_1m == 0.52
    assert vitals.disk_written_mib == 3.0
    assert vitals.rss_mib is not None and vitals.rss_mib >= 80.0
    assert cpu_model(root) == "Raspberry Pi 4 Model B Rev 1.5"
    assert os_name(root) == "Debian GNU/Linux 12 (bookworm)"


def test_a_pi_5_that_is_well(tmp_path: Path) -> None:
    vitals = read_vitals(tmp_path, root=plant(tmp_path / "pi", "pi5"))
    assert vitals.soc_temperature_c == 47.2
    assert vitals.temperatures_c == {
        "cpu-thermal": 47.2,
        "nvme Composite": 38.9,
        "nvme Sensor 1": 51.9,
        "rp1-adc": 49.5,
    }
    assert (vitals.throttled_now, vitals.throttled_since_boot) == ((), ())
    assert vitals.memory_available_mib == 3584.0
    assert vitals.disk_written_mib is None


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    vitals = read_vitals(tmp_path)
    assert vitals.rss_mib and vitals.rss_mib > 5
    assert vitals.memory_available_mib and vitals.load_1m is not None
    assert vitals.disk_free_mib is not None


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    vitals = read_vitals(tmp_path / "nowhere", root=tmp_path)
    assert (vitals.rss_mib, vitals.soc_temperature_c, vitals.memory_available_mib) == (None, None, None)
    assert (vitals.load_1m, vitals.disk_written_mib, vitals.disk_free_mib) == (None, None, None)
    assert vitals.temperatures_c == {}
    assert not read_throttling(tmp_path).known
    assert CoralWatch(tmp_path).read() == CoralVitals(tpu="absent", resets=0)


@pytest.mark.parametrize("content", ["", "garbage", "9e+99", "nan", "\xff", ": : :"])
def test_files_of_another_content_than_expected_are_left_out(tmp_path: Path, content: str) -> None:
    root = plant(tmp_path, "pi4", "usb_coral", "pcie_coral")
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        path.write_text(content)
    vitals = read_vitals(tmp_path, root=root)
    assert (vitals.soc_temperature_c, vitals.load_1m, vitals.memory_available_mib) == (None, None, None)
    assert (vitals.rss_mib, vitals.disk_written_mib, vitals.temperatures_c) == (None, None, {})
    assert vitals.throttled_now == ()
    assert CoralWatch(root).read().temperature_c is None


@pytest.mark.parametrize(
    ("bits", "now", "since_boot"),
    [
        ("0", (), ()),
        ("50005", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("e0000", (), ("frequency capped", "throttled", "soft temperature limit")),
        ("f000f", ("under-voltage", "frequency capped", "throttled", "soft temperature limit"), None),
    ],
)
def test_the_firmwares_bits(
    tmp_path: Path, bits: str, now: tuple[str, ...], since_boot: tuple[str, ...] | None
) -> None:
    root = plant(tmp_path, "pi5")
    put(root, "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", bits)
    read = read_throttling(root)
    assert (read.now, read.since_boot) == (now, now if since_boot is None else since_boot)


def test_a_mainline_kernel_has_only_the_voltage_sensor(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4")
    (root / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    assert read_throttling(root).known
    assert read_throttling(root).now == ()
    put(root, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    assert read_throttling(root).now == ("under-voltage",)


def test_a_sensor_beyond_all_reason_is_left_out_and_namesakes_are_numbered(tmp_path: Path) -> None:
    for number, (kind, temp) in enumerate([("acpitz", 27800), ("acpitz", 29800), ("iwl", -274000)]):
        put(tmp_path, f"sys/class/thermal/thermal_zone{number}/type", kind)
        put(tmp_path, f"sys/class/thermal/thermal_zone{number}/temp", str(temp))
    assert temperatures(tmp_path) == {"acpitz": 27.8, "acpitz 2": 29.8}


def test_a_usb_coral_in_use(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi4", "usb_coral")
    assert read_corals(root).usb == (
        UsbCoral(
            place="2-1", initialised=True, speed_mbps=5000, device_number=3, node="/dev/bus/usb/002/003"
        ),
    )
    assert CoralWatch(root).read() == CoralVitals(tpu="ok", usb_mbps=5000, resets=0)


def test_a_usb_coral_on_a_slow_port(tmp_path: Path) -> None:
    vitals = CoralWatch(plant(tmp_path, "pi4", "usb_coral_fresh")).read()
    assert vitals.tpu == "runs at 480 Mbit/s on port 1-1.2: a USB 2 port or cable holds it back"
    assert vitals.usb_mbps == 480


def identify(root: Path, ids: tuple[str, str], number: int, place: str = STICK) -> None:
    put(root, f"{place}/idVendor", ids[0])
    put(root, f"{place}/idProduct", ids[1])
    put(root, f"{place}/devnum", str(number))
    put(root, f"{place}/busnum", "2")
    put(root, f"{place}/speed", "5000")


def unplug(root: Path) -> None:
    put(root, f"{STICK}/idVendor", "0000")


FRESH, OPENED = ("1a6e", "089a"), ("18d1", "9302")


def test_opening_a_fresh_stick_is_no_reset_but_every_other_change_is(tmp_path: Path) -> None:
    watch = CoralWatch(tmp_path)
    identify(tmp_path, FRESH, 2)
    assert watch.read().resets == 0
    identify(tmp_path, OPENED, 3)
    assert watch.read().resets == 0
    identify(tmp_path, OPENED, 4)
    assert watch.read().resets == 1
    assert watch.read().resets == 1
    identify(tmp_path, FRESH, 5)
    assert watch.read().resets == 2
    identify(tmp_path, OPENED, 6)
    assert watch.read().resets == 2


def test_a_stick_that_was_away_has_been_reset_once(tmp_path: Path) -> None:
    watch = CoralWatch(tmp_path)
    identify(tmp_path, OPENED, 3)
    watch.read()
    unplug(tmp_path)
    assert watch.read() == CoralVitals(tpu="absent", resets=0)
    identify(tmp_path, FRESH, 9)
    assert watch.read().resets == 1
    unplug(tmp_path)
    identify(tmp_path, OPENED, 10, place="sys/bus/usb/devices/4-2")  # firmware loaded: another bus
    assert watch.read().resets == 1


def test_a_pcie_coral(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi5", "pcie_coral")
    watch = CoralWatch(root)
    assert watch.read() == CoralVitals(tpu="ok", temperature_c=44.5, resets=0)
    put(root, f"{APEX}/reset_count", "4")
    assert watch.read().resets == 3


def test_a_pcie_coral_that_has_died_says_so(tmp_path: Path) -> None:
    vitals = CoralWatch(plant(tmp_path, "pi5", "pcie_coral_dead")).read()
    assert vitals.tpu == "dead: its sensor reads -87.9 °C"
    assert vitals.temperature_c == -87.9


def test_a_card_the_driver_calls_dead(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi5", "pcie_coral")
    put(root, f"{APEX}/status", "DEAD")
    (root / APEX / "temp").unlink()  # drivers before 2019 had none
    assert CoralWatch(root).read() == CoralVitals(tpu="dead", resets=0)


def test_a_card_without_its_driver(tmp_path: Path) -> None:
    root = plant(tmp_path, "pi5", "pcie_coral_without_driver")
    assert read_corals(root).pcie == (PcieCoral(place="0000:01:00.0"),)
    assert (
        CoralWatch(root).read().tpu == "no driver has taken the card at 0000:01:00.0: /dev/apex_0 is missing"
    )
