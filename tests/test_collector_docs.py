"""docs/telemetry.md and docs/fleet.md: messages decode, commands parse, tables name what is really there."""

import json
import re
import shlex
from typing import Any

import pytest
from collecting import ROOT
from test_collector_report import SEEDED

from agent.telemetry import wire
from agent.telemetry.messages import KINDS, Commissioning, Estimate, RankedCause, Stream
from tools.collector.labels import read_labels
from tools.commands.collect import collect
from tools.commands.label import label
from tools.commands.report import report

TEXT = (ROOT / "docs" / "telemetry.md").read_text()
FLEET = (ROOT / "docs" / "fleet.md").read_text()
COMMANDS = {"collect": collect, "report": report, "label": label}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("json"))
def test_messages_decode_and_hide_no_field(block: str) -> None:
    written = json.loads(block)
    kind = written["schema"].removeprefix("litewatch.").removesuffix("/1")
    again = json.loads(wire.encode(wire.decode(block.encode(), kind=kind)))
    assert {key: again[key] for key in written if key != "body"} == {
        key: value for key, value in written.items() if key != "body"
    }
    assert set(written["body"]) <= set(again["body"])


def test_commands_parse() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if "litewatch " in line]
    assert len(lines) == 4
    for line in lines:
        words = shlex.split(line)
        name, *arguments = words[words.index("litewatch") + 1 :]
        COMMANDS[name].make_context(name, arguments)


def test_the_csv_reads() -> None:
    (block,) = blocks("csv")
    assert [found.label for found in read_labels(block, where="docs")] == [7, "goldfish"]


def described(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_0-9]+)(?:\[\])?`", text))


def test_every_topic_is_described() -> None:
    assert set(KINDS) <= described(TEXT)


def test_every_key_of_the_report_is_described() -> None:
    assert {key for device in SEEDED["devices"] for key in device} <= described(FLEET)
    (machine,) = (device["machine"] for device in SEEDED["devices"] if device["machine"])
    told: tuple[type[Any], ...] = (Estimate, RankedCause, Commissioning, Stream)
    shown = {name for cls in told for name in cls.__dataclass_fields__} - {"kind", "n", "effective_n"}
    assert set(machine) | shown <= described(FLEET)
