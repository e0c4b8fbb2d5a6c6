"""One identity on two devices is one alarm, however often they throw each other off."""

from agent.monitor.takeover import DAY_NS, TakeoverAlarm

MINUTE_NS = 60 * 1_000_000_000


def test_it_is_raised_once_and_said_again_once_a_day() -> None:
    alarm = TakeoverAlarm()
    said = [alarm.update(minute, minute * MINUTE_NS) for minute in range(3 * 24 * 60)]
    assert [minute for minute, change in enumerate(said) if change] == [1, 1441, 2881]
    assert set(said) == {None, "raised"}


def test_a_day_without_one_clears_it_and_the_next_raises_it_anew() -> None:
    alarm = TakeoverAlarm()
    assert alarm.update(0, 0) is None
    assert alarm.update(2, MINUTE_NS) == "raised"
    assert alarm.update(2, DAY_NS) is None
    assert alarm.update(2, DAY_NS + MINUTE_NS) == "cleared"
    assert alarm.update(2, 3 * DAY_NS) is None
    assert alarm.update(3, 3 * DAY_NS) == "raised"
