"""What may enter the store: never an exception, and no device speaks as another."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_telemetry import AT, SESSIONS, about, alarm, envelope, health, state, window

from agent.telemetry import wire
from agent.telemetry.messages import KINDS, kind_of
from tools.collector.admission import Accepted, Identity, Refused, admit
from tools.collector.store import Store
from tools.collector.tables import quarantine

ROOT = Path(__file__).resolve().parent.parent
PLACE = "litewatch/1/lab/cam-1/health"
VALID = wire.encode(health(7))
OLD_UUID = "01900001-0000-4000-8000-000000000000"


NUMBERS = count(10)


def changed(**fields: Any) -> bytes:
    """A valid message with some fields changed, each under a seq of its own."""
    return json.dumps(json.loads(VALID) | {"seq": next(NUMBERS)} | fields).encode()


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    # name: topic, payload, how the reason begins
    "empty": (PLACE, b"", "payload: not JSON"),
    "binary": (PLACE, bytes(range(256)), "payload: not UTF-8 at byte 128"),
    "truncated": (PLACE, VALID[:-10], "payload: not JSON"),
    "a list": (PLACE, b"[]", "payload: expected a JSON object, got list"),
    "oversized": (PLACE, VALID + b" " * 300_000, f"payload: {len(VALID) + 300_000} bytes, at most 262144"),
    "deep": (PLACE, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "payload:"),
    "deep list": (PLACE, b"[" * 50_000, "payload:"),
    "not a number": (PLACE, changed().replace(b'"cpu_s": 12.0', b'"cpu_s": NaN'), "payload: not JSON"),
    "huge integer": (PLACE, VALID.replace(b'"cpu_s":12.0', b'"cpu_s":1' + b"0" * 5000), "payload:"),
    "null character": (PLACE, changed(boot_id="a\0b"), "boot_id: holds a NUL character"),
    "half a surrogate": (PLACE, changed(boot_id="\ud800"), "boot_id: holds half of a surrogate pair"),
    "another device": (
        "litewatch/1/lab/cam-2/health", VALID, "device: the envelope says 'cam-1', its topic 'cam-2'",
    ),
    "another site": (
        "litewatch/1/home/cam-1/health", VALID, "site: the envelope says 'lab', its topic 'home'",
    ),
    "another kind": ("litewatch/1/lab/cam-1/window", VALID, "schema: expected litewatch.window/1"),
    "unknown kind": ("litewatch/1/lab/cam-1/secrets", VALID, "topic: unknown kind 'secrets'"),
    "deep topic": ("litewatch/1/lab/cam-1/health/x", VALID, "topic: expected litewatch/1/<site>"),
    "empty level": ("litewatch/1//cam-1/health", VALID, "topic: expected"),
    "newer schema": (PLACE, changed(schema="litewatch.health/2"), "schema: litewatch.health/2 is newer"),
    "no session": (PLACE, changed(session="x"), "session: expected a UUID of version 7, got 'x'"),
    "random session": (PLACE, changed(session=OLD_UUID), "session: expected a UUID of version 7"),
    "huge seq": (PLACE, changed(seq=2**60), "seq: expected 0 to 2^60"),
    "negative seq": (PLACE, changed(seq=-1), "seq: must not be negative"),
    "huge floor": (PLACE, changed(floor=2**63 - 1), "floor: expected 0 to 2^60"),
    "seq as text": (PLACE, changed(seq="1"), "seq: expected int, got '1'"),
    "no time": (PLACE, changed(sent_at="yesterday"), "sent_at: expected a time"),
    "before all times": (PLACE, changed(sent_at="0001-01-01T00:00:00+23:59"), "sent_at"),
    "body of another": (PLACE, changed(body={"state": "online"}), "body."),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_payloads_are_refused_with_the_reason(name: str) -> None:
    topic, payload, reason = HOSTILE[name]
    verdict = admit(topic, payload, received_at=AT)
    assert isinstance(verdict, Refused)
    assert verdict.reason.startswith(reason)
    assert (verdict.topic, verdict.size, verdict.head) == (topic, len(payload), payload[:4096])


def test_every_problem_of_a_payload_is_named() -> None:
    verdict = admit("litewatch/1/home/cam-2/health", changed(session="x", seq=2**60), received_at=AT)
    assert isinstance(verdict, Refused)
    assert verdict.reason == (
        "site: the envelope says 'lab', its topic 'home'; "
        "device: the envelope says 'cam-1', its topic 'cam-2'; "
        "session: expected a UUID of version 7, got 'x'; seq: expected 0 to 2^60, got 1152921504606846976"
    )


@pytest.mark.parametrize(
    "body", [health(1).body, about(), window(), alarm("raised"), state("online", 1).body]
)
def test_what_devices_send_is_accepted(body: Any) -> None:
    message = envelope(body, 3)
    kind = kind_of(body)
    payload = wire.encode(message)
    verdict = admit(f"litewatch/1/lab/cam-1/{kind}", payload, received_at=AT, replayed=True)
    assert verdict == Accepted(
        kind=kind,
        envelope=message,
        body=payload[payload.index(b'"body":') + 7 : -1].decode(),
        received_at=AT,
        replayed=True,
    )


@pytest.mark.parametrize("kind", [kind for kind, about in KINDS.items() if about.inbound])
def test_what_is_meant_for_devices_is_ignored(kind: str) -> None:
    assert admit(f"litewatch/1/lab/cam-1/{kind}", b"anything", received_at=AT) is None


@pytest.mark.parametrize("kind", [kind for kind, about in KINDS.items() if about.retained])
def test_clearing_a_retained_message_is_no_message(kind: str) -> None:
    assert admit(f"litewatch/1/lab/cam-1/{kind}", b"", received_at=AT) is None


def test_only_a_payload_that_can_never_be_read_is_settled() -> None:
    """The device may forget it, so it must be certain which one it was, and that no update would help."""
    known = Identity(site="lab", device="cam-1", session=SESSIONS[1], seq=7)
    settled = {
        "broken body": (PLACE, changed(body={}, seq=7), known),
        "broken time": (PLACE, changed(sent_at="yesterday", seq=7), known),
        "newer schema": (*HOSTILE["newer schema"][:2], None),
        "another device": (*HOSTILE["another device"][:2], None),
        "no session": (*HOSTILE["no session"][:2], None),
        "unsequenced": (PLACE, changed(body={}, seq=0), None),
        "seq is true": (PLACE, changed(seq=True), None),
        "truncated": (*HOSTILE["truncated"][:2], None),
        "oversized": (*HOSTILE["oversized"][:2], None),
    }
    for name, (topic, payload, expected) in settled.items():
        verdict = admit(topic, payload, received_at=AT)
        assert isinstance(verdict, Refused), name
        assert verdict.settles == expected, name


@pytest.mark.parametrize("defect", [MemoryError("no room"), RuntimeError("a defect")])
def test_what_failed_in_the_collector_itself_is_kept_by_the_device(
    monkeypatch: pytest.MonkeyPatch, defect: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise defect

    for place in ("agent.telemetry.wire.decode", "agent.telemetry.wire.compact"):
        with monkeypatch.context() as patched:
            patched.setattr(place, fails)
            verdict = admit(PLACE, VALID, received_at=AT)
        assert isinstance(verdict, Refused)
        assert (verdict.reason, verdict.settles) == (f"could not be judged: {defect!r}", None)
    assert isinstance(admit(PLACE, VALID, received_at=AT), Accepted)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=6,
)
LEVEL = st.sampled_from(
    ["litewatch", "1", "lab", "cam-1", "health", "state", "ack", "", "$SYS", "\ud800", "\0", "é"]
)


def judged(store: Store, topic: str, payload: bytes) -> None:
    """It is stored, quarantined or ignored: nothing else, and nothing is raised."""
    verdict = admit(topic, payload, received_at=AT)
    if verdict is None:
        return
    receipt = store.ingest([verdict])
    if receipt.duplicates:
        return
    if isinstance(verdict, Refused):
        assert (receipt.stored, receipt.refused) == ((), (verdict,))
        assert store.rows(quarantine)[-1].reason == verdict.reason
    else:
        assert (receipt.stored, receipt.refused) == ((verdict,), ())


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    opened = Store("sqlite://", quarantine_rows=10)
    yield opened
    opened.close()


@settings(max_examples=150, deadline=None)
@given(st.lists(LEVEL, max_size=7).map("/".join) | st.just(PLACE), st.binary(max_size=200))
def test_random_bytes_are_never_raised(store: Store, topic: str, payload: bytes) -> None:
    judged(store, topic, payload)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_message_with_anything_changed_is_stored_or_quarantined(store: Store, data: st.DataObject) -> None:
    source = data.draw(
        st.sampled_from([health(3, floor=2), state("online", 4), envelope(alarm("raised"), 2)])
    )
    kind = kind_of(source.body)
    fields = json.loads(wire.encode(source))
    for _ in range(data.draw(st.integers(1, 3))):
        target = (
            fields
            if data.draw(st.booleans()) or not fields["body"] or type(fields["body"]) is not dict
            else fields["body"]
        )
        key = data.draw(st.sampled_from(sorted(target)))
        target[key] = data.draw(ANY_JSON)
    judged(store, f"litewatch/1/lab/cam-1/{kind}", json.dumps(fields).encode())


def test_the_collector_needs_neither_opencv_nor_a_runtime() -> None:
    program = """
import pathlib, sys
from importlib import import_module
for path in sorted(pathlib.Path("tools/collector").glob("*.py")):
    import_module(f"tools.collector.{path.stem}" if path.stem != "__init__" else "tools.collector")
for command in ("collect", "report", "label"):
    import_module(f"tools.commands.{command}")
heavy = {"cv2", "ai_edge_litert", "tflite_runtime", "tensorflow", "numpy"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", ["collect", "report"])
def test_without_sqlalchemy_the_message_says_what_to_type(command: str) -> None:
    program = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "from tools.cli import main\n"
        f"assert main(['{command}', '--help']) == 0\n"
        f"sys.exit(main(['{command}']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: the collector needs SQLAlchemy: pip install 'litewatch[collector]'\n",
    )
