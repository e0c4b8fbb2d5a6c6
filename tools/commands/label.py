"""``litewatch label``: truth that arrives later, sent to the device whose frames it belongs to."""

from pathlib import Path
from typing import Any

import click

from agent.errors import InputError, LabelError
from agent.telemetry.messages import Label, identifier_problem
from tools.collector.options import mqtt_options, to_mqtt
from tools.console import emit_json, say


@click.command(short_help="Send labels that arrived later.")
@click.option("--device", required=True, help="The device that saw the frames.")
@click.option("--site", required=True, help="Its site.")
@click.option("--frame", help="A frame by its id (<session>-<n>).")
@click.option("--name", help="A frame by the name its source gave it, such as its file name.")
@click.option("--label", "truth", help="The truth: an output index, a line of the labels file, or a value.")
@click.option("--csv", "file", metavar="FILE", help="Many: columns frame (or name, or file) and label.")
@click.option("--json", "as_json", is_flag=True, help="What was sent, as JSON on standard output.")
@mqtt_options
def label(
    device: str,
    site: str,
    frame: str | None,
    name: str | None,
    truth: str | None,
    file: str | None,
    as_json: bool,
    **broker: Any,
) -> None:
    """Send labels to a device, which joins them to the frames it predicted.

    The device remembers its last 10,000 predictions; labels of other frames are counted there as
    unknown. The whole file is checked before anything is sent.

    \b
    Examples:
      litewatch label --device cam-1 --site lab --name img_0042.jpg --label 7
      litewatch label --device cam-1 --site lab --csv labels.csv
      litewatch label --device cam-1 --site lab --mqtt broker:8883 --ca ca.pem --csv labels.csv

    \b
    labels.csv:
      name,label
      img_0042.jpg,7
      img_0043.jpg,goldfish
    """
    from tools.collector.labels import in_batches, parse_label, read_labels
    from tools.collector.sender import send_labels

    places = {"--device": device, "--site": site}
    problems = [
        f"{option}: {problem}" for option, text in places.items() if (problem := identifier_problem(text))
    ]
    if (file is None) == (truth is None) or (truth is not None and (frame is None) == (name is None)):
        problems.append("expected --csv FILE, or --label with one of --frame and --name")
    elif file is not None and (frame or name):
        problems.append("--csv: names its frames itself; leave out --frame and --name")
    if problems:
        raise InputError(*problems)
    if file is not None:
        labels = read_labels(_read(file), where=file)
    else:
        assert truth is not None
        labels = (Label(label=parse_label(truth, where="--label"), frame=frame, name=name),)
    batches = list(in_batches(labels))
    send_labels(to_mqtt(**broker), site=site, device=device, batches=batches)
    if as_json:
        emit_json({"device": device, "site": site, "labels": len(labels), "messages": len(batches)})
    else:
        say(f"sent {len(labels)} label{'s' if len(labels) != 1 else ''} to {site}/{device}")


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise LabelError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise LabelError(f"{file}: not UTF-8 at byte {error.start}") from None
