"""Commands: what each does, what is wrong with those that are not obeyed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.control import Control, MonitorChanges, parse_changes
from agent.errors import ConfigError, DelegateError, InputError, MachineError
from agent.sections import MonitorConfig
from agent.telemetry import wire
from agent.telemetry.messages import Check, Command, Reply


class Recorded:
    """Controls that only write down what they were told; ``fails`` is raised by everything."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.told: list[object] = []
        self._fails = fails

    def _tell(self, what: object) -> None:
        if self._fails is not None:
            raise self._fails
        self.told.append(what)

    def rebirth(self) -> None:
        self._tell("rebirth")

    def pause(self) -> None:
        self._tell("pause")

    def resume(self) -> None:
        self._tell("resume")

    def check(self) -> str:
        self._tell("check")
        return "check-7"

    def sample(self) -> str:
        self._tell("sample")
        return "session-12"

    def set(self, changes: MonitorChanges) -> None:
        self._tell(changes)

    def canary(self) -> dict[str, Any]:
        self._tell("canary")
        return {"runs": 8, "mismatches": 0}

    def commission(self) -> None:
        self._tell("commission")

    def lend(self) -> None:
        self._tell("lend")

    def take_back(self) -> None:
        self._tell("take_back")

    def state(self) -> dict[str, Any]:
        self._tell("state")
        return {"state": "online", "problems": []}

    def publish(self, check: Check) -> None:
        self._tell(f"publish {check.verdict}")


RESULTS: dict[str, dict[str, Any]] = {
    "rebirth": {},
    "pause": {},
    "resume": {},
    "check": {"check": "check-7"},
    "sample": {"frame": "session-12"},
    "canary": {"runs": 8, "mismatches": 0},
    "commission": {},
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_command_is_done_and_its_reply_carries_the_transaction_and_the_result(name: str) -> None:
    controls = Recorded()
    reply = Control(controls).answer(Command(command=name, transaction="t"))
    assert reply == Reply(transaction="t", ok=True, result=RESULTS[name])
    assert controls.told == [name]


def test_set_takes_the_keys_of_section_monitor() -> None:
    controls = Recorded()
    arguments = {"sample_every": 3, "window": {"samples": 500, "interval_s": 60}}
    reply = Control(controls).answer(Command(command="set", arguments=arguments))
    assert reply == Reply(transaction=None, ok=True, result=arguments)
    changes = MonitorChanges(sample_every=3, window_samples=500, window_interval_s=60.0)
    assert controls.told == [changes]
    changed = changes.of(MonitorConfig(labelled_frames=50))
    assert (changed.sample_every, changed.window.samples, changed.window.interval_s) == (3, 500, 60.0)
    assert changed.labelled_frames == 50
    assert MonitorChanges(window_samples=30).of(changed).window.interval_s == 60.0


BAD_SETTINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["arguments: name at least one of sample_every, window.samples, window.interval_s"]),
    "null": (
        {"sample_every": None},
        ["arguments: name at least one of sample_every, window.samples, window.interval_s"],
    ),
    "range": (
        {"sample_every": 0, "window": {"samples": 3, "interval_s": 1e9}},
        [
            "arguments.sample_every: must be at least 1, got 0",
            "arguments.window.samples: must be at least 20, got 3",
            "arguments.window.interval_s: must be at most 2.6784e+06, got 1e+09",
        ],
    ),
    "types": (
        {"sample_every": "5", "window": {"samples": 2.5, "interval_s": True}},
        [
            "arguments.sample_every: expected int, got '5'",
            "arguments.window.samples: expected int, got 2.5",
            "arguments.window.interval_s: expected float, got True",
        ],
    ),
    "unknown": (
        {"sample_every": 5, "false_alarms_per_month": 100},
        ["arguments: unknown key 'false_alarms_per_month' (known: sample_every, window)"],
    ),
    "shape": ({"window": 7}, ["arguments.window: expected a mapping"]),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings_are_refused_with_every_problem_by_its_dotted_path(case: str) -> None:
    arguments, problems = BAD_SETTINGS[case]
    controls = Recorded()
    reply = Control(controls).answer(Command(command="set", arguments=arguments, transaction="t"))
    assert reply == Reply(transaction="t", ok=False, problems=tuple(problems))
    assert controls.told == []


def test_an_unknown_command_is_told_what_there_is() -> None:
    reply = Control(Recorded()).answer(Command(command="reboot\x1b[2J"))
    assert reply.problems == (
        "command: unknown command 'reboot\N{REPLACEMENT CHARACTER}[2J' "
        "(known: canary, check, commission, pause, rebirth, resume, sample, set)",
    )


def test_arguments_of_a_command_that_takes_none_are_refused() -> None:
    controls = Recorded()
    reply = Control(controls).answer(Command(command="pause", arguments={"for_s": 60, "why": ""}))
    assert reply.problems == (
        "arguments.for_s: unknown key (pause takes no arguments)",
        "arguments.why: unknown key (pause takes no arguments)",
    )
    assert controls.told == []


@pytest.mark.parametrize("name", ["lend", "take_back"])
def test_the_device_is_lent_to_programs_of_this_machine_only(name: str) -> None:
    controls = Recorded()
    control = Control(controls)
    assert not control.answer(Command(command=name)).ok
    assert controls.told == []
    assert control.answer(Command(command=name), local=True).ok
    assert controls.told == [name]


@pytest.mark.parametrize(
    ("error", "problems"),
    [
        (ConfigError("window too large", "promise too rare"), ("window too large", "promise too rare")),
        (MachineError("a check runs already"), ("a check runs already",)),
        (DelegateError("edgetpu: lost\nat once"), ("edgetpu: lost\N{REPLACEMENT CHARACTER}at once",)),
        (KeyError("x"), ("canary: failed, see the log: KeyError('x')",)),
    ],
)
def test_what_a_command_raises_becomes_its_reply(error: Exception, problems: tuple[str, ...]) -> None:
    reply = Control(Recorded(error)).answer(Command(command="canary", transaction="t"))
    assert reply == Reply(transaction="t", ok=False, problems=problems)


def test_a_transaction_that_no_reply_could_repeat_is_refused() -> None:
    controls = Recorded()
    reply = Control(controls).answer(Command(command="pause", transaction="x" * 201))
    assert reply.problems == ("transaction: expected at most 200 printable characters",)
    assert (reply.transaction, controls.told) == (None, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.sampled_from([*RESULTS, "set", "lend", ""]) | st.text(), st.dictionaries(st.text(), JSON), st.text()
)
def test_every_command_is_answered_with_something_that_can_be_sent(
    name: str, arguments: dict[str, Any], transaction: str
) -> None:
    command = Command(command=name, arguments=arguments, transaction=transaction)
    reply = Control(Recorded()).answer(command)
    assert reply.ok != bool(reply.problems)
    wire.body_json(reply)


@given(st.dictionaries(st.sampled_from(["sample_every", "window"]) | st.text(), JSON))
def test_settings_are_either_sound_or_refused(arguments: dict[str, Any]) -> None:
    try:
        changes = parse_changes(arguments)
    except InputError as error:
        assert error.problems
    else:
        assert changes.of(MonitorConfig()).problems() == []


def test_programs_of_this_machine_alone_ask_for_the_state_and_hand_over_a_check() -> None:
    agent = Recorded()
    control = Control(agent)
    given = {"check": {"verdict": "ok", "cause": None, "rungs": []}}
    for command in (Command(command="state"), Command(command="publish", arguments=given)):
        assert not control.answer(command).ok
        assert control.answer(command, local=True).ok
    assert control.answer(
        Command(command="publish", arguments={"check": {"verdict": "fine"}}), local=True
    ).problems
