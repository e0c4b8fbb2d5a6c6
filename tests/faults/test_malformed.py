"""Ten thousand malformed inputs of each kind: an answer or one clear error, never a crash, a hang of a
second or a traceback.

Seeded mutations of whole inputs, of their bytes and (so that what lies behind the first check is
reached) of their values, with hashes and checksums made right again.
"""

import io
import json
import logging
import resource
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import bundles
import cv2
import numpy as np
import pytest
import tiny
import yaml
from malformed import Outcome, as_json, as_yaml, bend_bytes, bend_tree, hammer
from PIL import Image
from scale import scaled

from agent import archive, bundle, config, manifest
from agent.bundle import MANIFEST
from agent.contracts import Classification, Frame, Skipped, TensorSpec
from agent.control import Control, MonitorChanges
from agent.errors import FrameError
from agent.preprocess import spec as specs
from agent.preprocess.compiled import compile_spec
from agent.preprocess.steps import image_flow
from agent.runtime import KINDS as DELEGATES
from agent.runtime.flatbuffer import check as check_structure
from agent.selftest import GOLDEN, answers, reproduces
from agent.sources import KINDS as SOURCES
from agent.sources.vectors import Vectors
from agent.telemetry import wire
from agent.telemetry.messages import Check, Command, Envelope, Label, Labels, kind_of, schema_name
from agent.truth import Truth

ROOT = Path(__file__).resolve().parents[2]
COUNT = scaled(10_000, least=100)
LONGEST_S = 1.0
MOST_MIB = 400
"""Twice 50 megapixels, and some."""
EXAMPLE = (ROOT / "systemd" / "agent.example.yaml").read_text()
FIXTURE = (ROOT / "tests" / "fixtures" / "preprocess.yaml").read_text()
UINT8 = TensorSpec(name="input", shape=(1, 8, 8, 3), dtype="uint8", scale=1 / 255)

Hammer = Callable[[str, Callable[[Random], Any], Callable[[Any], object]], Outcome]


@pytest.fixture
def all_of(figure: Callable[..., None]) -> Hammer:
    """Hammer, keep the figures, and judge."""

    def run(what: str, make: Callable[[Random], Any], use: Callable[[Any], object]) -> Outcome:
        logging.disable(logging.CRITICAL)  # an error handled and logged ten thousand times
        try:
            done = hammer(COUNT, make, use)
        finally:
            logging.disable(logging.NOTSET)
        said = f"{done.refused} refused, {done.taken} taken"
        figure(f"malformed {what}", done.inputs, "inputs", target=COUNT, bound="at least", detail=said)
        figure(f"malformed {what}: crashes, tracebacks, hangs", len(done.escaped), "inputs", target=0)
        figure(f"malformed {what}: slowest", round(done.slowest_s, 4), "s", target=LONGEST_S,
               detail=f"processor time, input {done.slowest}")  # fmt: skip
        assert not done.escaped, "\n".join(done.escaped[:8])
        assert done.slowest_s <= LONGEST_S
        assert done.refused > COUNT / 20  # or the inputs were not malformed at all
        return done

    return run


FULL_CONFIG: dict[str, Any] = yaml.safe_load(EXAMPLE) | {
    "health": {"interval_s": 60},
    "outbox": {"flush_interval_s": 5, "max_bytes": 2**21, "confirm": "broker", "ack_timeout_s": 9.5},
    "mqtt": {
        "host": "b", "port": 1883, "version": "3.1.1", "keepalive_s": 20, "tls": {"ca": "ca.pem"},
        "backoff_min_s": 1, "in_flight": 5, "home_assistant": {"enabled": True},
    },
}  # fmt: skip
MORE_SOURCES: tuple[dict[str, Any], ...] = (
    {"kind": "video", "path": "v.mp4", "fps": 5, "loop": True},
    {"kind": "vectors", "path": "-", "format": "csv", "columns": ["a", "b"], "fps": 2.5},
    {"kind": "camera", "device": "/dev/video0", "width": 640, "height": 480, "fps": 5.5, "fourcc": "MJPG"},
    {"kind": "rpicam", "camera": 1, "width": 640, "arguments": ["--hflip"], "quality": 80},
    {"kind": "stream", "url": "rtsp://user:secret@camera:554/live?x=1", "transport": "udp", "fps": 2},
    {"kind": "mqtt", "topic": "yard/camera", "host": "b", "port": 8883, "tls": {"ca": "ca.pem"}, "qos": 1},
)
DELEGATE_OPTIONS: tuple[Any, ...] = (
    "cpu",
    {"kind": "cpu", "kernels": "xnnpack"},
    {"kind": "edgetpu", "device": "usb:0"},
    {
        "kind": "external",
        "library": "/usr/lib/x.so",
        "options": {"a": 1, "b": 0.5, "c": True},
        "model": "edgetpu",
    },
)


def test_configs(all_of: Hammer) -> None:
    def make(chance: Random) -> str:
        if chance.random() < 0.3:
            return bend_bytes(EXAMPLE.encode(), chance).decode(errors="replace")
        model = FULL_CONFIG["model"] | {"delegate": chance.choice(DELEGATE_OPTIONS)}
        source = chance.choice((FULL_CONFIG["source"], *MORE_SOURCES))
        tree = FULL_CONFIG | {"model": model, "source": source}
        return as_yaml(bend_tree(tree, chance), chance).decode(errors="replace")

    def use(text: str) -> None:
        made = config.parse(text, sources=SOURCES, delegates=DELEGATES)
        json.dumps(config.public(made, sources=SOURCES, delegates=DELEGATES), allow_nan=False)

    for source in MORE_SOURCES:
        use(json.dumps(FULL_CONFIG | {"source": source}))
    assert all_of("configs", make, use).taken > COUNT / 100


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Whole bundles by what they hold."""
    folder = tmp_path_factory.mktemp("packed")
    return {
        "images": bundles.pack_images(folder / "images", count=100).data,
        "vectors": bundles.pack_vectors(folder / "vectors", count=100).data,
        "twin": bundles.pack_twin(folder / "twin", count=32, golden_count=5, golden_margin=1).data,
    }


def files_of(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    opened = archive.read(data, where="whole")
    return data[: opened.start], {name: opened.read(name) for name in opened.entries}


def reseal(model: bytes, files: dict[str, bytes]) -> bytes:
    """The archive again, every hash in its manifest made right."""
    said = json.loads(files[MANIFEST])
    rest = {name: content for name, content in files.items() if name != MANIFEST}
    said["flatbuffer"] = asdict(manifest.hash_model(model))
    said["files"] = [
        {"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in manifest.hash_files(rest)
    ]
    return archive.append(model, rest | {MANIFEST: json.dumps(said).encode()})


def test_bundles(packed: dict[str, bytes], all_of: Hammer) -> None:
    parts = {what: files_of(data) for what, data in packed.items()}
    runners = {what: tiny.runner(model) for what, (model, _) in parts.items()}

    def make(chance: Random) -> tuple[str, bytes]:
        what = chance.choice(("images", "images", "vectors", "twin"))
        if chance.random() < 0.3:
            return what, bend_bytes(packed[what], chance)
        model, files = parts[what][0], dict(parts[what][1])
        if chance.random() < 0.1:
            return what, reseal(bend_bytes(model, chance), files)
        victim = chance.choice(sorted(files))
        if victim.endswith(".json") and chance.random() < 0.8:
            files[victim] = as_json(bend_tree(json.loads(files[victim]), chance))
        elif chance.random() < 0.05:
            del files[victim]
        else:
            files[victim] = bend_bytes(files[victim], chance)
        if victim == MANIFEST or MANIFEST not in files:
            return what, archive.append(model, files)
        return what, reseal(model, files)

    def use(given: tuple[str, bytes]) -> None:
        what, data = given
        made = bundle.read(data, name="bundle", most_golden=GOLDEN)
        if made.flatbuffer != parts[what][0]:
            check_structure(made.flatbuffer)  # what stands between such a model and the runtime
            return
        compiled = compile_spec(made.spec, runners[what].input)
        answers(made, compiled, runners[what])
        reproduces(made, runners[what].input)

    all_of("bundles", make, use)


IMAGE_STEPS: tuple[dict[str, Any], ...] = (
    yaml.safe_load(FIXTURE),
    yaml.safe_load(bundles.TWIN_SPEC),
    {
        "version": "1",
        "steps": [
            {"decode": {"exif": "apply"}},
            {"crop": {"kind": "center", "width": 20, "height": 10, "rounding": "floor"}},
            {"resize": {"width": 64, "height": 32, "method": "area", "aspect": "stretch"}},
            {"pad": {"kind": "size", "width": 70, "height": 70, "value": [0, 1, 2], "position": "center"}},
            {"rotate": {"clockwise": 90, "flip": "none"}},
            {"color": {"order": "gray"}},
            {"normalize": {"mean": [4], "std": [4], "scale": 0.5, "divisor": 2}},
            {"cast": {"mode": "quantize", "rounding": "half_even", "layout": "nchw"}},
        ],
    },
)
VECTOR_STEPS: dict[str, Any] = {
    "version": "1",
    "steps": [
        {"select": {"indices": [0, 2], "columns": ["a", "b", "c"]}},
        {"impute": {"fill": [1, 2]}},
        {"clip": {"low": [-4, -5], "high": [7, 8]}},
        {"standardize": {"mean": [1, 2], "std": [3, 4]}},
        {"cast": {"mode": "quantize", "rounding": "half_even"}},
    ],
}


def fitting(spec: specs.PreprocessSpec) -> TensorSpec | None:
    """An input tensor as ``spec`` fills it, of a size that models have."""
    if not specs.is_image(spec):
        return TensorSpec(name="x", shape=(1, 2), dtype="int8", scale=0.1)
    flow = image_flow(spec.steps)
    height, width = flow.size or (24, 32)
    if height * width > 2_000_000:
        return None
    shape = (1, height, width, flow.channels)
    if getattr(spec.steps[-1], "layout", "") == "nchw":
        shape = (1, flow.channels, height, width)
    return TensorSpec(name="x", shape=shape, dtype="uint8", scale=1 / 255)


def test_preprocess_specs(all_of: Hammer) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    texts = [yaml.safe_dump(tree).encode() for tree in (*IMAGE_STEPS, VECTOR_STEPS)]

    def make(chance: Random) -> str:
        if chance.random() < 0.3:
            return bend_bytes(chance.choice(texts), chance).decode(errors="replace")
        tree = chance.choice((*IMAGE_STEPS, VECTOR_STEPS))
        return as_yaml(bend_tree(tree, chance), chance).decode(errors="replace")

    def use(text: str) -> None:
        spec = specs.parse(text)
        assert specs.fingerprint(specs.parse(specs.dump(spec))) == specs.fingerprint(spec)
        tensor = fitting(spec)
        if tensor is not None:
            compiled = compile_spec(spec, tensor)
            made = compiled(picture if compiled.image else np.array([1.0, np.nan, 3.0])).tensor
            assert (made.shape, made.dtype) == (tensor.shape, tensor.dtype)

    for tree in (*IMAGE_STEPS, VECTOR_STEPS):
        use(json.dumps(tree))
    assert all_of("preprocess specs", make, use).taken > COUNT / 100


def encoded_images() -> dict[str, bytes]:
    picture = np.random.default_rng(2).integers(0, 256, (40, 56, 3), np.uint8)
    smooth = cv2.GaussianBlur(picture, (0, 0), 3)
    made = {
        "baseline.jpg": cv2.imencode(".jpg", smooth)[1],
        "progressive.jpg": cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1],
        "colour.png": cv2.imencode(".png", smooth)[1],
        "deep.png": cv2.imencode(".png", smooth.astype(np.uint16) * 257)[1],
        "lossy.webp": cv2.imencode(".webp", smooth, [cv2.IMWRITE_WEBP_QUALITY, 80])[1],
        "lossless.webp": cv2.imencode(".webp", smooth, [cv2.IMWRITE_WEBP_QUALITY, 101])[1],
        "plain.bmp": cv2.imencode(".bmp", smooth)[1],
        "plain.ppm": cv2.imencode(".ppm", smooth)[1],
        "grey.pgm": cv2.imencode(".pgm", smooth[..., 0])[1],
    }
    gif = io.BytesIO()
    Image.fromarray(smooth).save(gif, "GIF")
    exif = (
        b"\xff\xe1"
        + struct.pack(">H", 34)
        + b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    )
    jpeg = made["baseline.jpg"].tobytes()
    plain = {name: data.tobytes() for name, data in made.items()}
    return plain | {"plain.gif": gif.getvalue(), "turned.jpg": jpeg[:2] + exif + jpeg[2:]}


def mended_png(data: bytes) -> bytes:
    """Every chunk's checksum made right, so that the decoder believes what was changed."""
    mended, at = bytearray(data), 8
    while at + 12 <= len(mended):
        length = int.from_bytes(mended[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


def larger(data: bytes, name: str, chance: Random) -> bytes:
    """The same pixels under a header that promises a size of its own."""
    sides = [chance.choice((0, 1, 7, 4096, 7000, 16383, 65535)) for _ in range(2)]
    bent = bytearray(data)
    if name.endswith(".png"):
        bent[16:24] = struct.pack(">II", *sides)
    elif name.endswith(".bmp"):
        bent[18:26] = struct.pack("<ii", *sides)
    elif name.endswith(".jpg"):
        at = max(bent.find(b"\xff\xc0"), bent.find(b"\xff\xc2"))
        bent[at + 5 : at + 9] = struct.pack(">HH", *sides)
    elif name.endswith(".webp"):
        at = bent.find(b"\x9d\x01\x2a")
        bent[at + 3 : at + 7] = struct.pack("<HH", *(side & 0x3FFF for side in sides))
    return bytes(bent)


def test_image_files(all_of: Hammer, figure: Callable[..., None]) -> None:
    whole = encoded_images()
    stretch = {"width": 8, "height": 8, "method": "linear_exact", "aspect": "stretch"}
    compiled = [
        compile_spec(
            specs.parse(json.dumps({
                "version": "1",
                "steps": [
                    {"decode": {"exif": exif}}, {"resize": stretch}, {"color": {"order": "rgb"}},
                    {"cast": {"mode": "raw", "rounding": "half_away", "layout": "nhwc"}},
                ],
            })),
            UINT8,
        )
        for exif in ("apply", "ignore")
    ]  # fmt: skip
    for data in whole.values():
        compiled[0](data)

    def make(chance: Random) -> tuple[int, bytes]:
        name = chance.choice(sorted(whole))
        data = whole[name]
        bent = larger(data, name, chance) if chance.random() < 0.2 else bend_bytes(data, chance)
        mended = name.endswith(".png") and chance.random() < 0.7
        return chance.randrange(2), mended_png(bent) if mended else bent

    def use(given: tuple[int, bytes]) -> None:
        which, data = given
        assert compiled[which](data).tensor.shape == UINT8.shape

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert all_of("image files", make, use).taken > COUNT / 20
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    figure("malformed image files: memory at most", round(grown), "MiB", target=MOST_MIB)
    assert grown <= MOST_MIB


CSV_ROWS = 'id,a,b,c\nr1,1,2,3\nr2,4.5,-6e3,nan\nr3,,8,9\n"r,4",1,2,3\n'
JSON_ROWS = (
    '{"id": "r1", "values": [1, 2, 3]}\n{"id": 2, "values": [null, 5.5, -1e3]}\n{"values": [7, 8, 9]}\n'
)


def test_vectors(all_of: Hammer, tmp_path: Path) -> None:
    compiled = compile_spec(
        specs.parse(json.dumps(VECTOR_STEPS)), TensorSpec(name="x", shape=(1, 2), dtype="int8", scale=0.1)
    )
    file = tmp_path / "rows"

    def make(chance: Random) -> tuple[bytes, Vectors]:
        kind = chance.choice(("csv", "jsonl"))
        if kind == "jsonl" and chance.random() < 0.6:
            rows = [bend_tree(json.loads(line), chance) for line in JSON_ROWS.splitlines()]
            data = b"\n".join(map(as_json, rows))
        else:
            data = bend_bytes((CSV_ROWS if kind == "csv" else JSON_ROWS).encode(), chance)
        columns = ("a", "b", "c") if kind == "csv" and chance.random() < 0.3 else ()
        options = {"format": chance.choice(("auto", kind)), "columns": columns, "max_line_bytes": 4096}
        return data, Vectors(path=str(file), **options)

    def use(given: tuple[bytes, Vectors]) -> None:
        data, source = given
        file.write_bytes(data)
        feed = source.open()
        try:
            refused = 0
            for item in feed:
                assert isinstance(item, (Frame, Skipped))
                if isinstance(item, Skipped):
                    refused += 1
                    assert item.reason
                    continue
                try:
                    compiled(item.payload)
                except FrameError:
                    refused += 1
        finally:
            feed.close()
        if refused:
            raise FrameError(f"{refused} rows")

    all_of("vectors", make, use)


class Desk:
    """What commands reach: counts, and does nothing else."""

    def __init__(self) -> None:
        self.done = 0

    def _act(self) -> None:
        self.done += 1

    rebirth = pause = resume = commission = lend = take_back = _act

    def check(self) -> str:
        self._act()
        return "check-1"

    sample = check

    def set(self, changes: MonitorChanges) -> None:
        self._act()

    def state(self) -> dict[str, Any]:
        return {}

    def publish(self, check: Check) -> None:
        self._act()

    def canary(self) -> dict[str, Any]:
        self._act()
        return {"runs": 1}


def payload(body: Command | Labels) -> dict[str, Any]:
    """A message as plain data."""
    envelope = Envelope(
        schema=schema_name(kind_of(body)), device="cam-1", site="lab", session="collector", seq=0,
        sent_at="2026-01-01T00:00:00Z", boot_id="", clock_synced=False, historical=False, body=body,
    )  # fmt: skip
    tree: dict[str, Any] = json.loads(wire.encode(envelope))
    return tree


def bent_payload(tree: dict[str, Any], chance: Random) -> bytes:
    if chance.random() < 0.3:
        return bend_bytes(as_json(tree), chance)
    if chance.random() < 0.6:  # leave the envelope whole
        return as_json(tree | {"body": bend_tree(tree["body"], chance)})
    return as_json(bend_tree(tree, chance))


COMMANDS = (
    Command(command="set", arguments={"sample_every": 5, "window": {"samples": 50, "interval_s": 60.0}}),
    Command(command="check", transaction="t-1"),
    Command(command="pause", arguments={}),
    Command(command="canary", transaction="x" * 30),
)


def test_commands(all_of: Hammer) -> None:
    desk = Desk()
    control = Control(desk)

    def use(data: bytes) -> None:
        envelope = wire.decode(data, kind="command")
        reply = control.answer(envelope.body)
        wire.body_json(reply)
        assert reply.ok or reply.problems
        if not reply.ok:
            raise FrameError(*reply.problems)

    done = all_of("commands", lambda chance: bent_payload(payload(chance.choice(COMMANDS)), chance), use)
    assert desk.done >= done.taken


LABEL_FILE = 'name,label\nimg_0001.jpg,7\nimg_0002.jpg,red\n"a,b.png",0\n'


def test_labels(all_of: Hammer) -> None:
    """Half as messages to a device, half as the file somebody sends."""
    from tools.collector.labels import read_labels

    message = payload(
        Labels(
            labels=(
                Label(label=1, frame="s-1"), Label(label="red", name="img_0002.jpg"),
                Label(label=2.5, frame="s-3"), Label(label="3", name="img_0004.jpg"),
            )
        )
    )  # fmt: skip

    def make(chance: Random) -> tuple[str, bytes]:
        if chance.random() < 0.5:
            return "file", bend_bytes(LABEL_FILE.encode(), chance)
        return "message", bent_payload(message, chance)

    def use(given: tuple[str, bytes]) -> None:
        kind, data = given
        if kind == "file":
            read_labels(data.decode(errors="replace"), where="labels.csv")
            return
        truth = Truth(task="classification", outputs=4, labels=bundles.LABELS, reference=0.9, newest=100)
        scores = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
        for number in range(1, 5):
            truth.remember(
                frame=f"s-{number}", name=f"img_{number:04}.jpg",
                prediction=Classification(scores=scores, top=3, score=0.4),
            )  # fmt: skip
        problems = truth.receive(wire.decode(data, kind="label").body)
        truth.report()
        if problems:
            raise FrameError(*problems)

    all_of("labels", make, use)
