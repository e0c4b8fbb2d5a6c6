"""Why the device is degraded: each change is published once, whatever the words are made of."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agent.errors import WireError
from agent.problems import LONGEST_LINE, Problems, plain_line
from agent.telemetry import wire
from agent.telemetry.messages import DeviceState, State


@dataclass
class Said:
    states: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    refuse: bool = False

    def set_state(self, state: DeviceState, problems: tuple[str, ...] = ()) -> None:
        if self.refuse:
            raise WireError("refused")
        self.states.append((state, problems))


def test_problems_gather_until_ready_and_every_change_is_said_once() -> None:
    said, status = Said(), []
    problems = Problems(said, on_change=status.append)
    problems.set("source", "no camera")
    assert said.states == []
    problems.ready()
    problems.set("source", "no camera")
    problems.set("model", "hot")
    problems.set("source", None)
    problems.set("model", None)
    problems.close()
    problems.set("source", "too late")
    assert said.states == [
        ("degraded", ("source: no camera",)),
        ("degraded", ("model: hot", "source: no camera")),
        ("degraded", ("model: hot",)),
        ("online", ()),
    ]
    assert status == ["source: no camera", "model: hot; source: no camera", "model: hot", "online"]


def test_a_state_that_cannot_be_published_is_no_end() -> None:
    problems = Problems(Said(refuse=True), on_change=lambda _: None)
    problems.ready()
    problems.set("source", "no camera")


@given(st.text(max_size=2000))
def test_whatever_a_problem_says_can_travel(text: str) -> None:
    line = plain_line(text)
    assert len(line) <= LONGEST_LINE
    assert line.isprintable()
    wire.body_json(State(state="degraded", connection=1, problems=(line,)))


def test_a_header_of_nul_characters() -> None:
    assert plain_line("column '\0\0x' \x1b]0;title\x07 \ud800") == "column '��x' �]0;title� �"
