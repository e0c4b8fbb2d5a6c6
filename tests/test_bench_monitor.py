"""The stream bench itself: streams are what they are said to be, faults change what they should, and
figures are counted rightly."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import chi2

from tools.bench.monitor import causes, matching, page, peers, plots
from tools.bench.monitor.accuracy import Guess
from tools.bench.monitor.alarms import Delay, Quiet, upper_bound
from tools.bench.monitor.causes import NOTHING, Named, confusion, share_right
from tools.bench.monitor.faults import FAULTS
from tools.bench.monitor.found import Found, figures, record
from tools.bench.monitor.peers import PEERS, Told, power_at
from tools.bench.monitor.power import PeerPower, Power
from tools.bench.monitor.rendered import FEATURES, Rendered, suffered
from tools.bench.monitor.scenes import FRAMINGS, LIGHTS, framed, halves, lit, view, world
from tools.bench.monitor.streams import SAMPLES_A_DAY, Stream, shown

NOTHING_FOUND = Found(
    quiet=[],
    delays=[],
    power=None,
    replayed=[],
    related=[],
    unseen=[],
    widths=[],
    named=[],
    library=[],
    cost=[],
)


def rendered(scenes: int, seed: int = 0) -> Rendered:
    """Scenes that differ, darker by a level of light a step."""
    rng = np.random.default_rng(seed)
    shape = (scenes, FRAMINGS, LIGHTS)
    rows = (
        rng.normal(size=(scenes, 1, 1, len(FEATURES.names)))
        + rng.normal(size=(*shape, len(FEATURES.names))) / 4
    )
    rows -= np.arange(LIGHTS)[:, None]
    return Rendered(
        rows=rows.astype(np.float32),
        classes=np.broadcast_to(np.arange(scenes)[:, None, None], shape).copy(),
        right=rng.random(shape) < 0.6,
    )


@pytest.mark.parametrize("dwell", [1, 10, 50, 250])
def test_a_scene_lasts_as_long_as_its_stream_says(dwell: int) -> None:
    moments = Stream(10_000, dwell=dwell, seed=3).next(200_000)
    changes = 1 + np.count_nonzero(np.diff(moments.scene))
    # Sampled at every tenth frame, a scene of fewer frames is one sample long.
    wanted = 1 / (1 - (1 - 1 / dwell) ** 10)
    assert len(moments.scene) / changes == pytest.approx(wanted, rel=0.03)


def test_days_are_bright_and_nights_are_dark() -> None:
    light = Stream(5, dwell=1, seed=0).next(3 * SAMPLES_A_DAY).light.reshape(3, 24, -1).mean(axis=(0, 2))
    assert light[[0, 1, 22, 23]].min() > 4.0
    assert light[[11, 12]].max() < 1.0


def test_a_stream_goes_on_where_it_stopped_and_repeats_with_its_seed() -> None:
    first, second = Stream(50, dwell=250, seed=1), Stream(50, dwell=250, seed=1)
    parts = [first.next(100), first.next(100)]
    again = [second.next(100), second.next(100)]
    assert [one.scene.tolist() for one in parts] == [one.scene.tolist() for one in again]
    stays = [Stream(10_000, dwell=250, seed=seed) for seed in range(200)]
    kept = [one.next(5).scene[-1] == one.next(1).scene[0] for one in stays]
    assert np.mean(kept) == pytest.approx((1 - 1 / 250) ** 10, abs=0.04)


def test_frames_lie_between_their_neighbours_and_keep_class_and_truth() -> None:
    given = rendered(6)
    moments = Stream(6, dwell=10, seed=2).next(2000)
    frames = shown(moments, given, seed=5)
    assert frames.classes.tolist() == moments.scene.tolist()
    spread = given.rows.reshape(-1, given.rows.shape[-1]).std(axis=0)
    low = given.rows.min(axis=(1, 2))[moments.scene] - 0.3 * spread
    high = given.rows.max(axis=(1, 2))[moments.scene] + 0.3 * spread
    assert ((frames.rows > low) & (frames.rows < high)).all()
    exact = replace(moments, framing=np.zeros(2000), light=np.full(2000, 3.0))
    assert shown(exact, given, seed=5).right.tolist() == given.right[moments.scene, 0, 3].tolist()


def test_bundle_and_device_share_no_photograph_and_halves_no_pixel(data: Path) -> None:
    seen = world(data, None)
    names = [{one.name for one in some} for some in (seen.training, seen.device)]
    assert not names[0] & names[1]
    assert sum(map(len, names)) == 284
    first, second = halves(seen.device[0])
    assert first.shape == second.shape
    assert not np.shares_memory(first, second) or not np.may_share_memory(first, second)
    assert lit(view(framed(first, 1)), 5).mean() < 0.5 * lit(view(framed(first, 1)), 0).mean()


def test_every_fault_alters_what_the_model_gets() -> None:
    rng = np.random.default_rng(1)
    smooth = np.kron(rng.integers(30, 220, (14, 14, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    assert len({fault.key for fault in FAULTS}) == len(FAULTS) >= 50
    assert len({fault.name for fault in FAULTS}) >= 20
    for fault in FAULTS:
        picture = fault.resize(smooth) if fault.resize else smooth
        features, tensor = suffered(picture, fault)
        assert tensor.shape == (224, 224, 3) and tensor.dtype == np.uint8, fault.key
        assert np.abs(tensor.astype(int) - smooth).mean() > 0.2, fault.key
        assert (features is picture) == bool(fault.tensor or fault.resize), fault.key


def test_severities_of_a_fault_grow() -> None:
    rng = np.random.default_rng(1)
    smooth = np.kron(rng.integers(30, 220, (14, 14, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    apart: dict[str, list[float]] = {}
    for fault in FAULTS:
        picture = fault.resize(smooth) if fault.resize else smooth
        tensor = suffered(picture, fault)[1].astype(int)
        apart.setdefault(fault.name, []).append(float(np.abs(tensor - smooth).mean()))
    assert all(rising == sorted(rising) for rising in apart.values()), apart


def test_dealing_out_the_halves_makes_both_sides_alike() -> None:
    both = rendered(120, seed=4)
    # A thing is the same thing in both halves of its photograph.
    both = replace(both, classes=both.classes // 2 % 10)
    roles = matching.deal(both, seed=0)
    assert sorted([*roles.commissioning, *roles.test]) == list(range(120))
    assert (roles.commissioning // 2).tolist() == (roles.test // 2).tolist()
    assert roles.after.day_chi2 < 0.7 * roles.before.day_chi2
    assert roles.after.hour_chi2 < 0.7 * roles.before.hour_chi2
    assert roles.after.hour_t2 < 0.4 * roles.before.hour_t2


def test_the_bound_of_a_rate_is_poissons() -> None:
    for events in (0, 1, 7, 40):
        assert upper_bound(events, 10.0) == pytest.approx(chi2.ppf(0.95, 2 * events + 2) / 2 / 10.0)


def test_a_peers_threshold_lets_no_more_through_than_allowed() -> None:
    unchanged, faults = np.arange(100.0), np.array([[50.0, 99.5], [98.5, 97.0]])
    told = Told(peer=PEERS[0], unchanged=unchanged, faults=faults, seconds_a_window=0.0)
    assert power_at(told, 0.0) == (0.25, 0.0)
    assert power_at(told, 0.01) == (0.5, 0.01)
    assert power_at(told, 0.02) == (0.5, 0.02)


def test_a_peer_that_does_not_run_says_why(tmp_path: Path) -> None:
    home = tmp_path / "river"
    (home / "bin").mkdir(parents=True)
    (home / ".installed").touch()
    script = home / "bin" / "python"
    script.write_text("#!/bin/sh\necho no wheel for this machine >&2\nexit 3\n")
    script.chmod(0o755)
    rows = np.zeros((4, 5, 3), np.float32)
    told = peers.ask(tmp_path, PEERS[0], reference=rows[0], unchanged=rows, faults=rows[None])
    assert told.failed == "no wheel for this machine"


def test_figures_of_alarms_delay_and_power() -> None:
    found = replace_found(
        quiet=[
            Quiet(
                scenes="unseen",
                dwell=10,
                days=60,
                alarms=alarms,
                drifted={"panel": alarms},
                commissioning_days=1,
                interval=7,
                lag_1=0.0,
            )
            for alarms in (1, 0, 2)
        ],
        delays=[
            Delay(fault="dark", cost=12.0, minutes=minutes, detector="cusum")
            for minutes in (10.0, 30.0, np.inf)
        ],
        power=Power(
            found={"dark": 1.0, "blur": 0.7},
            panel={"dark": 0.9, "blur": 0.5},
            false_alarms=0.01,
            false_alarms_panel=0.005,
            unchanged=200,
            interval=7,
            peers=(
                PeerPower(name="a", found=0.5, false_alarms=0.01, windows=200, seconds_a_window=0.1),
                PeerPower(
                    name="b", found=0.9, false_alarms=0.0, windows=0, seconds_a_window=0.0, failed="no"
                ),
            ),
        ),
    )
    made = {figure.name: figure for figure in figures(found)}
    assert made["false alarms in 30 device-days, dwell 10, unseen scenes"].value == pytest.approx(0.5)
    assert made["device-days simulated, dwell 10, unseen scenes"].met is False
    assert made["delay of faults that cost 10 points or more, dwell 10, median"].value == 30.0
    assert made["mean power at n = 250"].value == pytest.approx(0.85)
    assert made["power over that of the best peer at the same false-alarm rate"].value == pytest.approx(1.7)


def replace_found(**parts: object) -> Found:
    return replace(NOTHING_FOUND, **parts)  # type: ignore[arg-type]  # the parts are those of Found


def guess(*, truth: float, value: float | None, cbpe: float) -> Guess:
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    return Guess(
        fault="dark", truth=truth, healthy=0.5, cbpe=cbpe, value=value, low=low, high=high, replayed=False
    )


def test_errors_of_the_estimate_leave_out_what_it_abstained_from() -> None:
    unseen = [
        guess(truth=0.45, value=0.47, cbpe=0.50),
        guess(truth=0.20, value=0.30, cbpe=0.40),
        guess(truth=0.10, value=None, cbpe=0.40),
    ]
    made = {figure.name: figure for figure in figures(replace_found(unseen=unseen, replayed=unseen))}
    assert made["label-free error, never replayed, true drop < 10"].value == pytest.approx(2.0)
    assert made["label-free error over CBPE's, never replayed"].value == pytest.approx(12 / 25)
    assert made["90 % intervals that hold the truth, never replayed"].value == 0.5
    assert "abstained in 33%" in made["label-free error, never replayed, true drop < 10"].detail


def named(family: str, name: str) -> Named:
    return Named(fault=family, family=family, named=name, right=family == name, unlike=False, cosine=0.9)


def test_causes_are_counted_by_family() -> None:
    some = [named("data:blur", "data:blur"), named("data:blur", "data:fog"), named(NOTHING, NOTHING)]
    assert share_right(some) == pytest.approx(2 / 3)
    assert confusion(some)["data:blur"] == Counter({"data:blur": 1, "data:fog": 1})
    made = {figure.name: figure.value for figure in figures(replace_found(named=some))}
    assert made == {"cause right, other implementations": 0.5, "nothing wrong kept": 1.0}


def test_the_page_is_written_between_its_marks_with_readable_pictures(tmp_path: Path) -> None:
    target = tmp_path / "science.md"
    target.write_text(f"before\n{page.BEGIN}\nstale text\n{page.END}\nafter\n")
    found = replace_found(
        named=[named("data:blur", "data:fog & <rain>")],
        unseen=[guess(truth=0.4, value=0.5, cbpe=0.6)],
        delays=[Delay(fault="dark", cost=12.0, minutes=np.inf, detector="")],
    )
    page.write_page(target, figures(found), found)
    text = target.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "stale text" not in text
    for name in ("science-delay.svg", "science-accuracy.svg", "science-causes.svg"):
        assert f"images/{name}" in text
        ElementTree.fromstring((tmp_path / "images" / name).read_text())


def test_a_point_lies_where_its_axes_say() -> None:
    axis = plots.Axis(title="", ticks=(1.0, 10.0, 100.0), logarithmic=True)
    assert [axis.share(value) for value in (1.0, 10.0, 100.0, 1e9)] == pytest.approx([0.0, 0.5, 1.0, 1.0])


def test_all_that_was_measured_can_be_written_as_json() -> None:
    told = record(replace_found(named=[named("data:blur", "data:fog")]))
    assert json.loads(json.dumps(told))["named"][0]["named"] == "data:fog"
    assert causes.WINDOW > 0
