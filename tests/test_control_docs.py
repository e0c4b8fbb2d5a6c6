"""docs/control.md shows what the agent really takes and says."""

import json
import re
from pathlib import Path

from test_control import RESULTS, Recorded

from agent.control import Control
from agent.telemetry import wire
from agent.telemetry.messages import Reply
from agent.telemetry.reception import COMMANDS_AT_ONCE
from agent.telemetry.sender import REPLAY_PER_S

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "control.md").read_text(encoding="utf-8")
REQUEST, ANSWER = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def test_every_command_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted([*RESULTS, "set"])


def test_the_example_is_a_command_and_its_reply_is_what_would_be_said() -> None:
    command = wire.decode(REQUEST.encode(), kind="command").body
    assert Control(Recorded()).answer(command).ok
    refused = json.loads(REQUEST)
    refused["body"]["arguments"]["sample_every"] = 0
    command = wire.decode(json.dumps(refused).encode(), kind="command").body
    expected = json.loads(ANSWER)
    assert Control(Recorded()).answer(command) == Reply(
        **expected | {"problems": tuple(expected["problems"])}
    )


def test_the_limits_are_the_ones_in_force() -> None:
    assert f"**More than {COMMANDS_AT_ONCE}** commands at once" in PAGE
    assert f"{REPLAY_PER_S:g} messages a second" in PAGE
