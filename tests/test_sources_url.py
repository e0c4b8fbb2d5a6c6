"""A stream's address: what is shown of it never holds a secret, and what cannot be opened is refused."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import AgentConfig, parse
from agent.errors import ConfigError
from agent.runtime import KINDS as DELEGATES
from agent.sources import KINDS
from agent.sources.stream import Stream
from agent.sources.url import shown, url_problem, with_credentials
from agent.structure import load_kind


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://door.local:554/ch1", "rtsp://door.local:554/ch1"),
        ("rtsp://admin:s3cret@door.local/ch1", "rtsp://door.local/ch1"),
        ("rtsp://admin:s3/c@re?t@door.local/ch1", "rtsp://door.local/ch1"),
        ("http://door/video?usr=admin&pwd=s3cret", "http://door/video?usr=…&pwd=…"),
        ("rtsp://door/user=admin&password=s3cret&channel=1", "rtsp://door/user=…&password=…&channel=1"),
        ("rtsp://door/user=admin_password=s3cret_channel=1.sdp", "rtsp://door/user=…"),
        ("admin:s3cret@door", "door"),
    ],
)
def test_what_is_shown(url: str, expected: str) -> None:
    assert shown(url) == expected


PASSWORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6)


@given(password=PASSWORD)
def test_no_password_is_shown_escaped_or_not(password: str) -> None:
    for url in (with_credentials("rtsp://door/ch1", "me", password), f"rtsp://me:{password}@door/ch1"):
        assert shown(url) == "rtsp://door/ch1"
        assert all(password not in problem for problem in Stream(url=url).problems())


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("rtsp://door/ch1", None),
        ("https://[::1]:8443/", None),
        (
            "file:///etc/passwd",
            "must begin with rtsp://, rtsps://, http://, https://, got 'file:///etc/passwd'",
        ),
        ("/dev/video0", "must begin with rtsp://, rtsps://, http://, https://, got '/dev/video0'"),
        ("rtsp://me:pw@", "names no host, or port 0: 'rtsp://'"),
        ("rtsp://door:no/", "cannot be read as a URL: 'rtsp://door:no/'"),
        ("rtsp://door/a b", "holds a space or a control character: 'rtsp://door/a b'"),
    ],
)
def test_what_cannot_be_opened(url: str, problem: str | None) -> None:
    assert url_problem(url) == problem


@given(st.text())
def test_any_text_is_a_url_or_a_problem(text: str) -> None:
    shown(text)
    Stream(url=text).problems()


def config(source: str) -> AgentConfig:
    text = f"device: {{id: door}}\nmodel: {{bundle: m.tflite}}\nsource: {{{source}}}\n"
    return parse(text, sources=KINDS, delegates=DELEGATES)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "kind: stream, url: 'https://10.0.0.7/v'",
            "source.ca: must name the camera's certificate or its authority: FFmpeg compares a certificate "
            "with a name, not with an address",
        ),
        ("kind: stream, url: 'http://c/v', ca: c.pem", "source.ca: only for rtsps and https"),
        (
            "kind: stream, url: 'rtsps://c/v', ca: 'a;b'",
            "source.ca: OpenCV cannot be told of a path with ; or |",
        ),
        (
            "kind: stream, url: 'rtsp://c/v', username: me",
            "source.username: needs password_file, and password_file needs username",
        ),
        (
            "kind: stream, url: 'rtsp://you:pw@c/v', username: me, password_file: f",
            "source.username: the url names a user already; set one of the two",
        ),
        (
            "kind: stream, url: 'rtsp://c/v', read_timeout_ms: 0",
            "source.read_timeout_ms: must be at least 1, got 0",
        ),
        ("kind: camera, width: 640", "source.width: needs height as well"),
        ("kind: camera, fourcc: MJPEG", "source.fourcc: must be four letters such as MJPG, got 'MJPEG'"),
        ("kind: camera, device: -1", "source.device: must be a path such as /dev/video0, or a number from 0"),
    ],
)
def test_options_that_make_no_sense(source: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(source)
    assert caught.value.problems == (f"agent.yaml: {problem}",)


def test_every_live_kind_is_configured_by_name() -> None:
    for source in (
        "kind: camera, device: /dev/v4l/by-id/usb-x, width: 640, height: 480, fps: 10, fourcc: MJPG",
        "kind: camera, device: 1",
        "kind: rpicam, camera: 1, arguments: [--shutter, '10000']",
        "kind: stream, url: 'rtsp://door/ch1', transport: udp",
        "kind: mqtt, topic: plant/+/image, version: 5, tls: {}",
    ):
        assert config(source).source.live


@pytest.mark.parametrize("kind", ["camera", "rpicam", "stream", "mqtt"])
def test_every_option_stands_in_the_documentation(kind: str) -> None:
    text = (Path(__file__).parent.parent / "docs" / "sources.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{kind}` |")]
    assert [f.name for f in dataclasses.fields(load_kind(KINDS, kind)) if f"`{f.name}`" not in row] == []


def test_the_examples_in_the_documentation_are_valid() -> None:
    text = (Path(__file__).parent.parent / "docs" / "sources.md").read_text()
    examples = [
        line.removeprefix("source: {").removesuffix("}")
        for line in text.splitlines()
        if line.startswith("source: {")
    ]
    assert [type(config(example).source).__name__ for example in examples] == [
        "Camera",
        "Rpicam",
        "Stream",
        "Mqtt",
    ]
