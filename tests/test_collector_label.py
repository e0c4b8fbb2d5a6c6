"""``litewatch label``: everything is checked first, and what was not delivered is said."""

import queue
import subprocess
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from broker import Broker, eventually
from collecting import LITEWATCH, ROOT, version_of
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from agent.errors import LabelError, WireError
from agent.telemetry import wire
from agent.telemetry.messages import Envelope, Label, Labels
from agent.telemetry.options import MqttOptions
from tools.collector.labels import in_batches, parse_label, read_labels
from tools.collector.sender import send_labels

pytest_plugins = ("broker",)


def run(broker: Broker | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ()
    if broker is not None:
        where = ("--mqtt", f"{broker.host}:{broker.port}", "--mqtt-version", version_of(broker))
    command = [*LITEWATCH, "label", "--device", "cam-1", "--site", "lab", *where, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def heard(broker: Broker) -> Iterator["queue.SimpleQueue[Envelope]"]:
    """What the agent of cam-1 would hear."""
    messages: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
    subscribed: list[int] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: messages.put(wire.decode(message.payload, kind="label"))
    client.on_subscribe = lambda *_: subscribed.append(1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    client.subscribe("litewatch/1/lab/cam-1/label", 1)
    eventually(lambda: subscribed)
    yield messages
    client.disconnect()
    client.loop_stop()


def test_one_label(broker: Broker, heard: "queue.SimpleQueue[Envelope]") -> None:
    done = run(broker, "--name", "img_0042.jpg", "--label", "7")
    assert (done.returncode, done.stderr) == (0, "sent 1 label to lab/cam-1\n")
    message = heard.get(timeout=10)
    assert message.body.labels == (Label(label=7, name="img_0042.jpg"),)
    assert (message.device, message.site, message.seq) == ("cam-1", "lab", 0)


def test_a_csv_goes_in_messages_of_200(
    tmp_path: Path, broker: Broker, heard: "queue.SimpleQueue[Envelope]"
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("frame,label\n" + "".join(f"f-{n},{n % 10}\n" for n in range(450)))
    done = run(broker, "--csv", str(path), "--json")
    assert done.returncode == 0
    assert done.stdout == (
        '{\n  "device": "cam-1",\n  "site": "lab",\n  "labels": 450,\n  "messages": 3\n}\n'
    )
    batches = [heard.get(timeout=10).body.labels for _ in range(3)]
    assert [len(batch) for batch in batches] == [200, 200, 50]
    assert [label for batch in batches for label in batch] == [
        Label(label=n % 10, frame=f"f-{n}") for n in range(450)
    ]


def test_a_bad_csv_names_every_problem_and_sends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("name,label\na.jpg,1\na.jpg,2\n,3\nb.jpg,\nc.jpg,1e999\nd.jpg,1,2\n")
    done = run(None, "--csv", str(path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: {path} line 3: 'a.jpg' has another label in line 2",
        f"error: {path} line 4: expected a name of 1 to 1024 printable characters",
        f"error: {path} line 5: expected a label of 1 to 1024 characters, got 0",
        f"error: {path} line 6: expected a finite number, got 1e999",
        f"error: {path} line 7: expected 2 cells, got 3",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "error: expected --csv FILE, or --label with one of --frame and --name\n"),
        (("--label", "1"), "error: expected --csv FILE, or --label with one of --frame and --name\n"),
        (
            ("--label", "1", "--name", "a", "--frame", "b"),
            "error: expected --csv FILE, or --label with one of --frame and --name\n",
        ),
        (
            ("--csv", "x.csv", "--name", "a"),
            "error: --csv: names its frames itself; leave out --frame and --name\n",
        ),
        (("--csv", "absent.csv"), "error: absent.csv: cannot be read (No such file or directory)\n"),
        (("--name", "a", "--label", "1e999"), "error: --label: expected a finite number, got 1e999\n"),
        (
            ("--name", "a", "--label", "1", "--mqtt", "a:b:c"),
            "error: --mqtt: expected HOST or HOST:PORT, got 'a:b:c'\n",
        ),
        (
            ("--name", "a", "--label", "1", "--mqtt", "host:99999", "--key", "k"),
            "error: --mqtt (its port): expected 1 to 65535, got 99999\nerror: --key: needs --certificate\n",
        ),
        (
            (
                "--name",
                "a",
                "--label",
                "1",
                "--username",
                "u",
                "--password-file",
                "absent",
                "--ca",
                "absent.pem",
            ),
            "error: --password-file: absent cannot be read ([Errno 2] No such file or directory: 'absent')\n"
            "error: --ca: absent.pem cannot be used ([Errno 2] No such file or directory)\n",
        ),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], told: str) -> None:
    done = run(None, *arguments)
    assert (done.returncode, done.stderr) == (2, told)


def test_names_that_are_no_topic_level() -> None:
    command = [*LITEWATCH, "label", "--device", "a/b", "--site", "", "--name", "x", "--label", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [" --device", " --site"]


def test_nobody_to_hear_it(broker: Broker) -> None:
    if version_of(broker) != "5":
        pytest.skip("needs mosquitto; MQTT 3.1.1 cannot tell")
    done = run(broker, "--name", "a", "--label", "1")
    assert (done.returncode, done.stderr) == (
        1,
        f"error: 127.0.0.1:{broker.port}: no agent cam-1 of site lab is subscribed; "
        "the labels were not delivered\n",
    )


def test_no_broker() -> None:
    done = run(None, "--mqtt", "127.0.0.1:1", "--name", "a", "--label", "1")
    assert (done.returncode, done.stderr) == (
        1,
        "error: 127.0.0.1:1: cannot be reached: connection refused\n",
    )


def test_what_a_label_may_be() -> None:
    given = ["7", "-2", "1.5", "1e3", "goldfish", " tench, Tinca ", "007", str(2**60)]
    meant = [7, -2, 1.5, 1000.0, "goldfish", "tench, Tinca", 7, float(2**60)]
    assert [parse_label(text, where="x") for text in given] == meant
    assert [type(parse_label(text, where="x")) for text in given] == [type(value) for value in meant]


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "inf", "Infinity", "-inf", "1_0", "+1", ".5", "٣", "1.5e", "0x10", "1 0"]
)
def test_what_is_no_plain_number_is_a_line_of_the_labels_file(text: str) -> None:
    assert parse_label(text, where="x") == text


def test_messages_are_bounded_in_bytes_as_well() -> None:
    short = [Label(label=1, name=str(n)) for n in range(450)]
    assert [len(batch) for batch in in_batches(short)] == [200, 200, 50]
    long = [Label(label="\N{GRINNING FACE}" * 1024, name=f"{n}-" + "ä" * 1000) for n in range(200)]
    batches = list(in_batches(long))
    assert [len(batch) for batch in batches] == [41, 41, 41, 41, 36]
    assert [label for batch in batches for label in batch] == long
    assert max(len(wire.body_json(Labels(labels=batch))) for batch in batches) <= wire.BODY_BYTES
    assert list(in_batches([])) == []


def test_nothing_is_sent_when_one_message_cannot_be(
    broker: Broker, heard: "queue.SimpleQueue[Envelope]"
) -> None:
    options = MqttOptions(host=broker.host, port=broker.port, version=version_of(broker))  # type: ignore[arg-type]
    good, bad = (Label(label=1, name="a"),), (Label(label=float("nan"), name="b"),)
    with pytest.raises(WireError, match=r"body\.labels\[0\]\.label: expected a finite number"):
        send_labels(options, site="lab", device="cam-1", batches=[good, bad])
    # What is sent afterwards comes first.
    send_labels(options, site="lab", device="cam-1", batches=[(Label(label=2, name="c"),)])
    assert heard.get(timeout=10).body.labels == (Label(label=2, name="c"),)


@pytest.mark.parametrize("header", ["frame", "name", "file"])
def test_a_csv_says_which_frames_by_its_column(header: str) -> None:
    text = f"\n{header} , note, label\r\na.jpg,x,1\r\n\r\na.jpg,y,1\r\n"
    label = Label(label=1, frame="a.jpg") if header == "frame" else Label(label=1, name="a.jpg")
    assert read_labels(text, where="l.csv") == (label,)


@given(st.text(max_size=60) | st.text(st.sampled_from('name,label\n"\r1x'), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        labels = read_labels(text, where="l.csv")
    except LabelError as error:
        assert error.problems and all(problem.startswith("l.csv") for problem in error.problems)
    else:
        assert labels
