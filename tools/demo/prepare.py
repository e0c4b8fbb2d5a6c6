"""The demo's world: two bundles, four devices, and what each of their cameras will see."""

import csv
import json
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from agent.contracts import Image
from agent.errors import MachineError
from tools.cli import LITEWATCH
from tools.demo import scene, sensor
from tools.demo.broker import Broker

SITE = "demo"
CAMERA_FPS, SENSOR_FPS = 25.0, 100.0
REFERENCE_IMAGES, REFERENCE_VECTORS = 1000, 4000
IMAGE_SAMPLES, VECTOR_SAMPLES = 100, 400
"""Observations a test of drift needs: 4 s each. Of shorter windows no resampling could tell whether their
alarms are as rare as the default promise, one a month, wants them."""
LABELLED_IMAGES, LABELLED_VECTORS = 200, 1000
"""The newest labels count; squared errors have long tails and want more of them."""
PICTURES_SEED = 12
REPLAYED_IMAGES = 64
"""Labelled inputs that faults are replayed on: half of what pack takes by default, and seconds sooner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One simulated device: its agent.yaml, the truth of every frame by name, and what is wrong."""

    name: str
    config: Path
    fps: float
    truth: tuple[tuple[str, int | float], ...]
    story: str


def prepare(folder: Path, broker: Broker, *, seconds: float) -> tuple[Device, ...]:
    """Render what the devices will see, pack both bundles and write every agent.yaml."""
    pictures, readings = int(seconds * CAMERA_FPS), int(seconds * SENSOR_FPS)
    # Packing replays faults on another core meanwhile; each job draws from a generator of its own.
    with ThreadPoolExecutor() as pool:
        digits = pool.submit(_pack_digits, folder, np.random.default_rng(7))
        line = pool.submit(_pack_line, folder, np.random.default_rng(8))
        rng = np.random.default_rng(PICTURES_SEED)
        healthy = _pictures(folder / "healthy", pictures, rng, drift=False)
        drifting = _pictures(folder / "drifting", pictures, rng, drift=True)
        measured = _readings(folder / "readings.jsonl", readings, np.random.default_rng(10))
    camera = _Model(bundle=digits.result(), samples=IMAGE_SAMPLES, labelled=LABELLED_IMAGES)
    sensor_model = _Model(bundle=line.result(), samples=VECTOR_SAMPLES, labelled=LABELLED_VECTORS)
    legacy = replace(camera, override=scene.ASSETS / "legacy.yaml")
    world = _World(folder=folder, broker=broker)
    return (
        world.device("healthy", camera, healthy, "as trained"),
        world.device("wrong-preprocess", legacy, healthy, "a legacy resize and normalisation is forced"),
        world.device("drifting", camera, drifting, "night falls half-way"),
        world.device("regression", sensor_model, measured, "N(5, 2) becomes N(6, 2) half-way"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """A bundle and how it is watched."""

    bundle: Path
    samples: int
    labelled: int
    override: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scene:
    """What a device's source delivers, and the truth of every frame by name."""

    source: Mapping[str, object]
    fps: float
    truth: tuple[tuple[str, int | float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _World:
    folder: Path
    broker: Broker

    def device(self, name: str, model: _Model, seen: _Scene, story: str) -> Device:
        override = {"path": str(model.override), "accept_mismatch": True}
        mqtt = {"host": self.broker.host, "port": self.broker.port, "version": self.broker.mqtt_version}
        document = {
            "device": {"id": name, "site": SITE, "state_dir": str(self.folder / "state" / name)},
            "model": {"bundle": str(model.bundle)}
            | ({"preprocess_override": override} if model.override else {}),
            "source": dict(seen.source) | {"fps": seen.fps},
            # Real devices report every 5 minutes; here a window is a few seconds. Every picture is one of
            # its own, so each counts; no device is here for the day that a baseline of its own takes.
            "monitor": {
                "sample_every": 1,
                "window": {"samples": model.samples, "interval_s": 10},
                "thinning": 0,
                "commissioning": {"enabled": False},
                "labelled_frames": model.labelled,
            },
            "mqtt": mqtt | {"backoff_max_s": 2},
            "outbox": {"flush_interval_s": 0.5},
            "health": {"interval_s": 5},
        }
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(document, sort_keys=False))
        return Device(name=name, config=config, fps=seen.fps, truth=seen.truth, story=story)


def _pictures(folder: Path, frames: int, rng: np.random.Generator, *, drift: bool) -> _Scene:
    """JPEG files in the order of time; with ``drift`` dusk falls half-way."""
    folder.mkdir(parents=True, exist_ok=True)
    truth: list[tuple[str, int | float]] = []
    for number, (image, label) in enumerate(_photographs(frames, rng)):
        seen = scene.dusk(image) if drift and number >= frames // 2 else image
        name = f"{number:05d}.jpg"
        (folder / name).write_bytes(scene.jpeg(seen))
        truth.append((name, label))
    source = {"kind": "directory", "path": str(folder), "watch": True, "poll_interval_s": 0.2}
    return _Scene(source=source, fps=CAMERA_FPS, truth=tuple(truth))


def _photographs(count: int, rng: np.random.Generator) -> list[tuple[Image, int]]:
    digits = scene.held_out()
    chosen = rng.integers(0, len(digits), count)
    return [(scene.render(digits.pixels[at], rng), int(digits.labels[at])) for at in chosen]


def _readings(path: Path, count: int, rng: np.random.Generator) -> _Scene:
    """A sensor's readings as JSON lines; what it measures changes half-way."""
    before = sensor.TRAINED.draw(count // 2, rng)
    values = np.concatenate([before, sensor.DEPLOYED.draw(count - len(before), rng)])
    rows = [{"id": f"r{number}", "values": [value]} for number, value in enumerate(values.tolist())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    truth = tuple((f"r{number}", value) for number, value in enumerate(sensor.truth(values).tolist()))
    return _Scene(source={"kind": "vectors", "path": str(path), "follow": True}, fps=SENSOR_FPS, truth=truth)


def _pack_digits(folder: Path, rng: np.random.Generator) -> Path:
    reference = folder / "reference"
    reference.mkdir()
    rows = []
    for number, (image, label) in enumerate(_photographs(REFERENCE_IMAGES, rng)):
        (reference / f"{number:05d}.jpg").write_bytes(scene.jpeg(image))
        rows.append((f"reference/{number:05d}.jpg", str(label)))
    csv_file = folder / "reference.csv"
    _write_csv(csv_file, ("file", "label"), rows)
    assets = scene.ASSETS
    model, preprocess = assets / "digits_int8.tflite", assets / "preprocess.yaml"
    options = ("--labels", str(assets / "labels.txt"), "--replay-inputs", str(REPLAYED_IMAGES))
    return _pack(folder / "digits.tflite", model, preprocess, csv_file, *options)


def _pack_line(folder: Path, rng: np.random.Generator) -> Path:
    values = sensor.TRAINED.draw(REFERENCE_VECTORS, rng)
    truths = sensor.truth(values)
    rows = [(repr(x), repr(y)) for x, y in zip(values.tolist(), truths.tolist(), strict=True)]
    csv_file = folder / "reference-vectors.csv"
    _write_csv(csv_file, ("x", "label"), rows)
    assets = scene.ASSETS
    return _pack(folder / "line.tflite", assets / "regression.tflite", assets / "regression.yaml", csv_file)


def _pack(bundle: Path, model: Path, preprocess: Path, reference: Path, *options: str) -> Path:
    command = [*LITEWATCH, "pack", str(model), "--preprocess", str(preprocess), "--reference", str(reference)]
    done = subprocess.run([*command, *options, "-o", str(bundle)], capture_output=True, text=True)
    if done.returncode:
        raise MachineError(f"packing {bundle.name} failed: {done.stderr[-600:]}")
    return bundle


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
