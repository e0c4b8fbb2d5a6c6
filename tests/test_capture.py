"""Captured frames: which are chosen, what the files hold, and what they no longer hold."""

import base64
import json
import random
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from agent.capture import MOST_IMAGE_BYTES, Capture, NotCapturedError
from agent.contracts import Array, Classification, Detections, Frame, Payload, Prediction, Regression
from agent.monitor.capture import HOUR_NS, CaptureOptions, CapturePolicy, confidence_of
from agent.preprocess.decoding import Decode
from agent.samples import SampleStore
from agent.telemetry import wire
from agent.telemetry.messages import Sample

SESSION = "01900001-0000-7000-8000-000000000000"
WALL_S = 1_769_860_800.0
S = 1_000_000_000
SURE = Classification(scores=np.array([0.1, 0.9], np.float32), top=1, score=0.9)
UNSURE = Classification(scores=np.array([0.55, 0.45], np.float32), top=0, score=0.45)


def picture(height: int = 48, width: int = 64) -> Array:
    """Red on the left, blue on the right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (200, 10, 10)
    image[:, width // 2 :] = (10, 10, 200)
    return image


def frame(payload: Payload | None = None, *, captured_ns: int = 0) -> Frame:
    return Frame(payload=picture() if payload is None else payload, captured_ns=captured_ns, name="door.jpg")


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[Callable[..., Capture]]:
    def make(
        *,
        chance: float = 0.0,
        decode: Decode | None = None,
        now_ns: int = 0,
        on_kept: Callable[[str, float], None] | None = None,
        **options: Any,
    ) -> Capture:
        chosen = CaptureOptions(**{"enabled": True, **options})
        return Capture(
            chosen,
            store=SampleStore(tmp_path / "samples", max_bytes=chosen.max_mb * 1_000_000),
            decode=decode,
            wall=lambda: WALL_S,
            random=lambda: chance,
            now_ns=now_ns,
            on_kept=on_kept,
        )

    yield make


def test_frames_worth_a_label_are_marked_with_what_the_label_stands_for(
    capture: Callable[..., Capture], tmp_path: Path
) -> None:
    """Frames come hourly and 6 are wanted a day: a frame of usual worth has one chance in four."""
    told: list[tuple[str, float]] = []
    on = capture(
        chance=0.2, labels_per_day=6, low_confidence_below=None, random_every=None, publish=True,
        on_kept=lambda frame_id, weight: told.append((frame_id, weight)),
    )  # fmt: skip
    hour = 3600 * S
    assert on.offer(frame(), SURE, f"{SESSION}-1", 0, alarmed=False, right=0.5) is None
    sample = on.offer(frame(), SURE, f"{SESSION}-2", hour, alarmed=False, right=0.5)
    assert sample is not None
    assert (sample.reason, sample.weight) == ("label", 4.0)
    # Half the worth, where the mean worth is 5/6: three chances in twenty.
    assert on.offer(frame(), SURE, f"{SESSION}-3", 2 * hour, alarmed=False, right=1.0) is None
    on.now(frame(), SURE, f"{SESSION}-4", 3 * hour)
    assert told == [(f"{SESSION}-2", 4.0), (f"{SESSION}-4", 0.0)]
    record = json.loads((tmp_path / "samples" / f"{SESSION}-2.json").read_text())
    assert (record["reason"], record["label_weight"]) == ("label", 4.0)


@pytest.mark.parametrize("publish", [True, False])
def test_without_enabled_nothing_is_ever_kept(
    capture: Callable[..., Capture], tmp_path: Path, publish: bool
) -> None:
    off = capture(enabled=False, random_every=1, publish=publish)
    for n in range(100):
        assert off.offer(frame(), UNSURE, f"{SESSION}-{n}", n * S, alarmed=True) is None
    with pytest.raises(NotCapturedError, match=r"^capture\.enabled: is false on this device"):
        off.now(frame(), SURE, f"{SESSION}-1", 0)
    assert (off.kept, list(tmp_path.iterdir())) == (0, [])


def test_it_is_off_by_default_and_publishes_nothing_by_default() -> None:
    assert (CaptureOptions().enabled, CaptureOptions().publish) == (False, False)


def test_a_kept_frame_is_a_picture_and_a_record_that_only_this_user_may_read(
    capture: Callable[..., Capture], tmp_path: Path
) -> None:
    on = capture()
    assert on.offer(frame(captured_ns=3 * S), UNSURE, f"{SESSION}-7", 5 * S, alarmed=False) is None
    folder = tmp_path / "samples"
    assert names(folder) == [f"{SESSION}-7.jpg", f"{SESSION}-7.json"]
    assert json.loads((folder / f"{SESSION}-7.json").read_text()) == {
        "frame": f"{SESSION}-7",
        "name": "door.jpg",
        "captured_at": "2026-01-31T11:59:58.000Z",
        "reason": "low confidence",
        "weight": 1.0,
        "label_weight": 1.0,
        "prediction": {"top": 0, "score": 0.45},
        "values": [],
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_the_message_holds_the_very_picture_on_disk(capture: Callable[..., Capture], tmp_path: Path) -> None:
    sample = capture(publish=True).offer(frame(), SURE, f"{SESSION}-1", 0, alarmed=True)
    assert sample is not None
    assert (sample.frame, sample.reason, sample.weight, sample.values) == (f"{SESSION}-1", "alarm", 1.0, ())
    assert base64.b64decode(sample.image) == (tmp_path / "samples" / f"{SESSION}-1.jpg").read_bytes()
    assert isinstance(json.loads(wire.body_json(sample))["image"], str)


def test_exif_does_not_survive_and_the_picture_stands_as_the_model_saw_it(
    capture: Callable[..., Capture], tmp_path: Path
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise
    exif[0x010F] = "Secret Camera Works"
    exif.get_ifd(0x8825)[1] = "N"  # GPS
    path = tmp_path / "camera.jpg"
    Pillow.fromarray(picture()).save(path, exif=exif, comment=b"front door", quality=95)
    encoded = path.read_bytes()
    assert b"Secret Camera" in encoded
    steps: tuple[tuple[Literal["apply", "ignore"], tuple[int, int]], ...] = (
        ("apply", (48, 64)),
        ("ignore", (64, 48)),
    )
    for number, (exif_step, size) in enumerate(steps, 1):
        on = capture(decode=Decode(exif=exif_step))
        on.now(frame(encoded), SURE, f"{SESSION}-{number}", 0)
        kept = tmp_path / "samples" / f"{SESSION}-{number}.jpg"
        with Pillow.open(kept) as opened:
            assert (opened.size, dict(opened.getexif()), opened.info.get("comment")) == (size, {}, None)
            red = np.asarray(opened)[2, 2] if exif_step == "ignore" else np.asarray(opened)[2, -2]
        assert red[0] > 150
        assert red[2] < 60
        content = kept.read_bytes()
        assert [word for word in (b"Secret Camera", b"Exif", b"front door") if word in content] == []


def test_pictures_are_made_smaller_and_blurred_on_request(
    capture: Callable[..., Capture], tmp_path: Path, rng: np.random.Generator
) -> None:
    noise = rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)
    sizes, spreads = [], []
    wanted: list[dict[str, Any]] = [
        {"longest_side": None},
        {"longest_side": 100},
        {"longest_side": None, "blur": 0.05},
    ]
    for number, options in enumerate(wanted, 1):
        capture(quality=95, **options).now(frame(noise), SURE, f"{SESSION}-{number}", 0)
        with Pillow.open(tmp_path / "samples" / f"{SESSION}-{number}.jpg") as opened:
            sizes.append(opened.size)
            spreads.append(float(np.asarray(opened.convert("L"), float).std()))
    assert sizes == [(400, 300), (100, 75), (400, 300)]
    assert spreads[2] < spreads[0] / 8


def test_what_is_published_always_fits_in_a_message(
    capture: Callable[..., Capture], rng: np.random.Generator
) -> None:
    noise = rng.integers(0, 256, (1200, 1600, 3)).astype(np.uint8)
    sample = capture(publish=True, longest_side=None, quality=100).now(frame(noise), SURE, f"{SESSION}-1", 0)
    assert sample is not None
    assert MOST_IMAGE_BYTES / 3 < len(base64.b64decode(sample.image)) <= MOST_IMAGE_BYTES
    assert len(wire.body_json(sample)) < wire.BODY_BYTES


def test_a_vector_is_kept_as_its_values(capture: Callable[..., Capture], tmp_path: Path) -> None:
    on = capture(publish=True)
    said = on.now(frame(np.array([1.5, -2.0])), Regression(values=np.array([3.0])), f"{SESSION}-1", 0)
    assert said == Sample(
        frame=f"{SESSION}-1", captured_at="2026-01-31T12:00:00.000Z", reason="command", values=(1.5, -2.0)
    )
    assert on.now(frame(np.array([np.nan])), Regression(values=np.array([3.0])), f"{SESSION}-2", 0) is None
    assert names(tmp_path / "samples") == [f"{SESSION}-1.json", f"{SESSION}-2.json"]
    record = json.loads((tmp_path / "samples" / f"{SESSION}-2.json").read_text())
    assert (record["values"], record["prediction"]) == ([None], {"values": [3.0]})


def test_the_folder_never_grows_beyond_its_limit_and_the_oldest_go_first(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    later = "01900002-0000-7000-8000-000000000000"
    earlier = SampleStore(folder, max_bytes=1000)
    for n in (9, 10, 11):
        earlier.keep(f"{SESSION}-{n}", record="{}", picture=bytes(198))
    (folder / "half.jpg.new").write_bytes(bytes(50))
    store = SampleStore(folder, max_bytes=1000)
    for n in (1, 2, 3):
        store.keep(f"{later}-{n}", record="{}", picture=bytes(198))
        assert folder_bytes(folder) <= 1000
    assert names(folder) == [
        f"{name}{suffix}"
        for name in (f"{SESSION}-10", f"{SESSION}-11", f"{later}-1", f"{later}-2", f"{later}-3")
        for suffix in (".jpg", ".json")
    ]


def test_a_disk_that_refuses_is_a_problem_that_ends_by_itself(
    capture: Callable[..., Capture], tmp_path: Path
) -> None:
    (tmp_path / "samples").write_text("in the way")
    on = capture(random_every=1, per_hour=3600)
    assert on.offer(frame(), SURE, f"{SESSION}-1", 0, alarmed=True) is None
    assert (on.kept, on.problem) == (0, f"capture: {tmp_path / 'samples'}: File exists")
    with pytest.raises(NotCapturedError, match="File exists"):
        on.now(frame(), SURE, f"{SESSION}-2", S)
    (tmp_path / "samples").unlink()
    on.now(frame(), SURE, f"{SESSION}-3", 2 * S)
    assert (on.kept, on.problem) == (1, None)


def test_a_frame_that_is_no_picture_is_a_problem_and_never_raises(capture: Callable[..., Capture]) -> None:
    on = capture()
    assert on.offer(frame(b"not a picture"), UNSURE, f"{SESSION}-1", 0, alarmed=True) is None
    assert on.problem is not None
    assert on.kept == 0


def test_the_quota_holds_over_any_hour_for_commands_and_across_restarts(
    capture: Callable[..., Capture], tmp_path: Path
) -> None:
    on = capture(per_hour=3, random_every=None, at_alarm=False, low_confidence_below=None)
    for n in range(3):
        on.now(frame(), SURE, f"{SESSION}-{n}", n * 600 * S)
    with pytest.raises(NotCapturedError, match=r"^capture\.per_hour: 3 frames were kept in an hour$"):
        on.now(frame(), SURE, f"{SESSION}-3", HOUR_NS - S)
    on.now(frame(), SURE, f"{SESSION}-4", HOUR_NS)
    assert (on.kept, on.refused) == (4, 1)
    with pytest.raises(NotCapturedError):
        capture(per_hour=3).now(frame(), SURE, f"{SESSION}-5", 0)


def test_weights_add_up_to_all_the_frames_that_there_were() -> None:
    """Over many seeded hours the weighted count of kept frames estimates the true one without bias."""
    dice = random.Random(20260101)
    options = CaptureOptions(enabled=True, random_every=200, per_hour=60, at_alarm=False)
    frames, estimates, kept, refused = 7200, [], 0, 0
    for _ in range(40):
        policy, total = CapturePolicy(options, now_ns=0), 0.0
        for n in range(frames):
            confidence = 0.3 if n % 10 == 0 else 0.9
            choice = policy.choose(
                confidence=confidence, alarmed=False, chance=dice.random(), now_ns=n * S // 2
            )
            if choice is not None:
                kept += 1
                total += choice.weight
        refused += policy.refused
        estimates.append(total)
    mean, error = float(np.mean(estimates)), float(np.std(estimates) / np.sqrt(len(estimates)))
    assert abs(mean - frames) < 3 * error
    assert 20 < kept / 40 < 60
    assert refused <= 2


def test_an_alarm_of_a_day_at_thirty_a_second_keeps_to_its_pace_and_leaves_room_for_chance() -> None:
    dice = random.Random(7)
    policy = CapturePolicy(CaptureOptions(enabled=True, random_every=500), now_ns=0)
    found: dict[str, list[int]] = {"alarm": [], "random": []}
    for n in range(3 * 3600 * 30):
        choice = policy.choose(confidence=0.9, alarmed=True, chance=dice.random(), now_ns=n * S // 30)
        if choice is not None:
            found[choice.reason].append(n)
    assert found["alarm"][0] == 0
    assert 5 <= len(found["alarm"]) <= 20
    assert found["random"]
    everything = sorted(found["alarm"] + found["random"])
    assert all(b - a >= 3600 * 30 for a, b in zip(everything, everything[12:], strict=False))


@given(
    st.lists(
        st.tuples(
            st.integers(0, HOUR_NS // 4),
            st.floats(0, 1, exclude_max=True),
            st.one_of(st.none(), st.floats(0, 1)),
            st.booleans(),
        ),
        max_size=200,
    ),
    st.integers(1, 5),
)
def test_no_hour_ever_holds_more_than_the_quota(
    frames: list[tuple[int, float, float | None, bool]], per_hour: int
) -> None:
    policy = CapturePolicy(CaptureOptions(enabled=True, random_every=2, per_hour=per_hour), now_ns=0)
    now_ns, taken = 0, []
    for step_ns, chance, confidence, alarmed in frames:
        now_ns += step_ns
        choice = policy.choose(confidence=confidence, alarmed=alarmed, chance=chance, now_ns=now_ns)
        if choice is not None:
            taken.append(now_ns)
            assert choice.weight >= 1.0
    assert all(b - a >= HOUR_NS for a, b in zip(taken, taken[per_hour:], strict=False))


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (SURE, 0.9),
        (Regression(values=np.array([3.0])), None),
        (
            Detections(
                boxes=np.zeros((2, 4), np.float32),
                classes=np.array([0, 1]),
                scores=np.array([0.75, 0.25], np.float32),
            ),
            0.25,
        ),
        (
            Detections(
                boxes=np.zeros((0, 4), np.float32),
                classes=np.zeros(0, np.int64),
                scores=np.zeros(0, np.float32),
            ),
            None,
        ),
    ],
)
def test_confidence_is_that_of_the_most_doubtful_output(
    prediction: Prediction, expected: float | None
) -> None:
    assert confidence_of(prediction) == expected


def test_options_that_make_no_sense_are_named() -> None:
    options = CaptureOptions(per_hour=0, max_mb=0, quality=101, blur=-1.0, longest_side=3, random_every=0)
    assert options.problems() == [
        "random_every: expected 1 to 1e+09, got 0",
        "per_hour: expected 1 to 3600, got 0",
        "max_mb: expected 1 to 65536, got 0",
        "longest_side: expected 16 to 16384, got 3",
        "blur: expected 0 to 0.5, got -1",
        "quality: expected 1 to 100, got 101",
    ]
    assert CaptureOptions().problems() == []


def test_an_opencv_of_this_machine_writes_no_metadata_of_its_own() -> None:
    made, file = cv2.imencode(".jpg", picture())
    assert made
    assert b"Exif" not in file.tobytes()


def test_the_page_names_every_option_with_its_default() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "capture.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", page, flags=re.MULTILINE))
    assert told == {
        field.name: yaml.safe_dump(field.default).split("\n")[0] for field in fields(CaptureOptions)
    }
