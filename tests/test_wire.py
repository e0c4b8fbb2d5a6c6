"""Messages to bytes and back; what is hostile or broken is refused with its place."""

import dataclasses
import json
import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.errors import WireError
from agent.telemetry import wire
from agent.telemetry.clock import format_utc, parse_utc
from agent.telemetry.identity import new_session, uuid7
from agent.telemetry.messages import (
    KINDS,
    Ack,
    Alarm,
    Envelope,
    PreprocessInUse,
    Reply,
    identifier_problem,
    kind_of,
    schema_name,
)

STORED = sorted((Path(__file__).parent / "fixtures" / "messages").glob("*.json"))

text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)
int64 = st.integers(-(2**63) + 1, 2**63 - 1)
plain = st.recursive(
    st.none() | st.booleans() | int64 | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
for type_, strategy in ((str, text), (float, finite), (int, int64)):
    st.register_type_strategy(type_, strategy)
BODIES = st.one_of(
    *(
        st.builds(
            kind.body,
            **{name: st.dictionaries(text, plain, max_size=3)
               for name in ("config", "arguments", "result") if name in kind.body.__dataclass_fields__},
        )
        for kind in KINDS.values()
    )
)  # fmt: skip
names = st.text("abz-_. 09ü", min_size=1, max_size=64).filter(lambda name: identifier_problem(name) is None)
times = st.integers(0, 4_000_000_000_000).map(lambda ms: format_utc(ms / 1000))


def envelope(body: Any, **changes: Any) -> Envelope:
    return Envelope(
        **{
            "schema": schema_name(kind_of(body)),
            "device": "cam-1",
            "site": "lab",
            "session": "0190163d-8694-739b-aea5-966c26f8ad91",
            "seq": 1,
            "sent_at": "2026-01-31T12:00:00.000Z",
            "boot_id": "b",
            "clock_synced": True,
            "historical": False,
            "body": body,
        }
        | changes
    )


def payload(**changes: Any) -> bytes:
    """An ack as JSON with some of its keys replaced."""
    data = json.loads(wire.encode(envelope(Ack(acked_session="s", upto=3))))
    return json.dumps(data | changes).encode()


def refused(data: bytes, kind: str = "ack") -> str:
    with pytest.raises(WireError) as raised:
        wire.decode(data, kind=kind)
    return str(raised.value)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_messages_stay_readable(path: Path) -> None:
    kind, _, version = path.name.removesuffix(".json").rpartition(".v")
    message = wire.decode(path.read_bytes(), kind=kind)
    assert message.schema == f"litewatch.{kind}/{version}"
    stored = json.loads(path.read_text())
    again = json.loads(wire.encode(message))
    # Everything that was said is still understood as it was meant; newer fields may stand beside it.
    assert _within(stored, again)


def test_every_kind_has_a_stored_example_that_leaves_nothing_out() -> None:
    assert {path.name for path in STORED} >= {
        f"{kind}.v{about.version}.json" for kind, about in KINDS.items()
    }
    for kind, about in KINDS.items():
        data = json.loads((STORED[0].parent / f"{kind}.v{about.version}.json").read_text())
        assert set(data["body"]) == set(about.body.__dataclass_fields__)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_messages_fit_the_published_schema(path: Path) -> None:
    schema = wire.json_schema(path.name.partition(".")[0])
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(path.read_text()))


def test_the_schema_refuses_another_kinds_message() -> None:
    alarm = json.loads((STORED[0].parent / "alarm.v1.json").read_text())
    assert not Draft202012Validator(wire.json_schema("window")).is_valid(alarm)
    del alarm["body"]["severity"]
    assert not Draft202012Validator(wire.json_schema("alarm")).is_valid(alarm)


@settings(max_examples=300, deadline=None)
@given(
    BODIES, names, names, st.integers(0, 2**62), times, st.booleans(),
    st.none() | st.builds(PreprocessInUse),
)  # fmt: skip
def test_what_is_encoded_decodes_to_the_same(
    body: Any, device: str, site: str, seq: int, at: str, flag: bool, preprocess: PreprocessInUse | None
) -> None:
    message = envelope(
        body, device=device, site=site, seq=seq, sent_at=at, created_at=at, clock_synced=flag,
        historical=not flag, floor=seq, preprocess=preprocess,
    )  # fmt: skip
    data = wire.encode(message)
    assert wire.decode(data, kind=kind_of(body)) == message
    assert wire.encode_around(message, wire.body_json(body)) == data
    assert Draft202012Validator(wire.json_schema(kind_of(body))).is_valid(json.loads(data))


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | plain.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(sorted(KINDS)),
)
def test_whatever_arrives_is_decoded_or_refused(data: bytes, kind: str) -> None:
    try:
        wire.decode(data, kind=kind)
    except WireError as error:
        assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_message_is_decoded_or_refused(data: st.DataObject) -> None:
    whole = bytearray((STORED[0].parent / "window.v1.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        wire.decode(bytes(whole), kind="window")
    except WireError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "payload: not JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"\xff{}", "payload: not UTF-8 at byte 0"),
        (b"[]", "payload: expected a JSON object, got list"),
        (b'{"a": NaN}', "payload: not JSON (NaN is not a number)"),
        (b'{"a": -Infinity}', "payload: not JSON (-Infinity is not a number)"),
        (b'{"a": [1e999]}', "a[0]: expected a finite number, got inf"),
        (b'{"a": 9223372036854775808}', "a: an integer beyond 64 bits"),
        (b'{"a": "\\u0000"}', "a: holds a NUL character"),
        (b'{"a": "\\ud800"}', "a: holds half of a surrogate pair"),
        (b"[" * 100_000, "payload: nested deeper than 16 levels"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, ".".join("a" * 16) + ": nested deeper than 16 levels"),
        (b"{}", "schema: required key is missing"),
        (b'{"schema": 3}', "schema: expected litewatch.ack/1, got '3'"),
        (b'{"schema": "litewatch.health/1"}', "schema: expected litewatch.ack/1, got 'litewatch.health/1'"),
        (
            b'{"schema": "litewatch.ack/2"}',
            "schema: litewatch.ack/2 is newer than litewatch.ack/1: update the agent",
        ),
        (b" " * (wire.MAX_BYTES + 1), "payload: 262145 bytes, at most 262144 are read"),
    ],
)  # fmt: skip
def test_broken_payloads_say_what_is_wrong(data: bytes, problem: str) -> None:
    assert refused(data) == problem


def test_a_newer_message_of_a_device_asks_for_a_newer_collector() -> None:
    assert (
        refused(b'{"schema": "litewatch.window/7"}', "window")
        == "schema: litewatch.window/7 is newer than litewatch.window/1: update the collector"
    )


def test_every_problem_is_told_at_once() -> None:
    data = payload(device="a/b", seq=-1, sent_at="yesterday", body={"acked_session": 3})
    assert refused(data).splitlines() == [
        "body.acked_session: expected str, got 3",
        "body.upto: required key is missing",
        "device: the characters '/' cannot stand in a topic level",
        "seq: must not be negative",
        "sent_at: expected a time like 2026-01-31T12:00:00Z, got 'yesterday'",
    ]


def test_unknown_keys_are_ignored_everywhere() -> None:
    data = payload(news=[1], body={"acked_session": "s", "upto": 3, "more": {}})
    assert wire.decode(data, kind="ack").body == Ack(acked_session="s", upto=3)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_not_finite_is_not_sent(number: float) -> None:
    alarm = Alarm(
        alarm="drift", status="raised", severity="warning", cause="", summary="", evidence={"p": number}
    )
    with pytest.raises(WireError) as raised:
        wire.body_json(alarm)
    assert str(raised.value) == f"body.evidence.p: expected a finite number, got {number}"


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(WireError) as raised:
        wire.body_json(Reply(transaction=None, ok=True, problems=("x" * wire.MAX_BYTES,)))
    assert str(raised.value) == "body: 262202 bytes, at most 258048 can be sent"


def test_the_largest_body_fits_into_the_largest_payload() -> None:
    room = wire.BODY_BYTES - len(wire.body_json(Reply(transaction="", ok=True)).encode())
    body = Reply(transaction="x" * room, ok=True)
    differs = tuple(f"step-{n}" for n in range(50))
    message = envelope(
        body,
        device="d" * 64,
        site="ü" * 64,
        preprocess=PreprocessInUse(fingerprint="f" * 64, differs=differs),
    )
    assert wire.decode(wire.encode(message), kind="reply") == message


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"body": {"acked_session": "s", "upto": 1, "more": "x" * 258_100}},
            "body: 258140 bytes, at most 258048 are read",
        ),
        # Numbers grow when they are written anew: 1e9 becomes 1000000000.0.
        (
            {"body": {"acked_session": "s", "upto": 1, "more": [1e9] * 20_000}},
            "body: 260039 bytes, at most 258048 are read",
        ),
        (
            {"boot_id": "b" * 60_000, "body": {"acked_session": "s", "upto": 1, "more": [1e9] * 19_500}},
            "payload: 313797 bytes when written anew",
        ),
    ],
)
def test_what_could_not_be_written_anew_is_not_read(changes: dict[str, Any], problem: str) -> None:
    data = payload(**changes).replace(b"1000000000.0", b"1e9")
    assert len(data) <= wire.MAX_BYTES
    assert refused(data) == problem


def test_a_file_name_that_is_no_utf8_is_sent_with_question_marks() -> None:
    assert (
        json.loads(wire.body_json(Reply(transaction="caf\udce9.jpg", ok=True)))["transaction"] == "caf?.jpg"
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("cam-1", None),
        ("Küche links", None),
        ("x" * 64, None),
        ("", "expected 1 to 64 characters, got 0"),
        ("x" * 65, "expected 1 to 64 characters, got 65"),
        ("a+b#c/d", "the characters '#' '+' '/' cannot stand in a topic level"),
        ("a\0", "the characters '\\x00' cannot stand in a topic level"),
        ("a\n", "the characters '\\n' cannot stand in a topic level"),
        ("$SYS", "must neither begin with '$' nor begin or end with a space"),
        (" a", "must neither begin with '$' nor begin or end with a space"),
    ],
)
def test_identifiers_fit_one_level_of_a_topic(name: str, problem: str | None) -> None:
    assert identifier_problem(name) == problem


def test_uuid7_is_the_example_of_its_standard() -> None:
    # RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC, rand_a CC3, rand_b 18C4DC0C0C07398F.
    random = (0xCC3 << 68 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert uuid7(0x017F22E279B0, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_sessions_are_uuids_of_version_7_and_differ() -> None:
    sessions = {new_session() for _ in range(100)}
    assert len(sessions) == 100
    assert {uuid.UUID(session).version for session in sessions} == {7}
    assert {uuid.UUID(session).variant for session in sessions} == {uuid.RFC_4122}


@given(
    st.integers(0, 2**40),
    st.binary(min_size=10, max_size=10),
    st.integers(1, 1000),
    st.binary(min_size=10, max_size=10),
)
def test_later_sessions_sort_after_earlier_ones(ms: int, first: bytes, later: int, second: bytes) -> None:
    assert uuid7(ms, first) < uuid7(ms + later, second)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert format_utc(1_769_860_800.0019) == "2026-01-31T12:00:00.001Z"
    assert parse_utc("2026-01-31T13:00:00.250+01:00") == 1_769_860_800.25
    with pytest.raises(ValueError, match="offset"):
        parse_utc("2026-01-31T13:00:00")


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and _within(part[key], whole[key]) for key in part
        )
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(_within, part, whole))
    return bool(part == whole)


def test_bodies_are_plain_frozen_values() -> None:
    for kind in KINDS.values():
        assert dataclasses.is_dataclass(kind.body)
        assert kind.body.__dataclass_params__.frozen  # type: ignore[attr-defined]  # made by dataclass
