"""What is sent next: back to the oldest when overdue, a probe after silence, fresh news past a backlog."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.telemetry.backoff import Backoff
from agent.telemetry.ports import Stored
from agent.telemetry.send_window import PROBE, WIDTH, Ask, SendWindow


class Run:
    """A window over an endless outbox of messages 1, 2, 3 … of one session, ids equal to seqs."""

    def __init__(self, confirm: str = "collector", *, last: int = 0, in_flight: int = 10_000) -> None:
        self.window = SendWindow(confirm="broker" if confirm == "broker" else "collector", timeout_s=60.0)
        self.last, self.gone, self.token, self.now = last, 0, 0, 0.0
        self.in_flight = in_flight
        self.window.begin(newest=last, in_flight=in_flight)

    def send(self) -> list[int]:
        """Everything the window wants sent now."""
        sent = []
        while (ask := self.window.ask()) is not None:
            ids = [id_ for id_ in range(ask.after_id + 1, self.last + 1) if id_ > self.gone][: ask.limit]
            if not ids and not ask.again:
                break
            for id_ in ids:
                row = stored(id_)
                if not self.window.passes(row, ask):
                    self.token += 1
                    self.window.sent(row, self.token, ask, self.now)
                    sent.append(id_)
        return sent

    def send_one(self, id_: int) -> None:
        """The next of a backlog, and no more."""
        ask = self.window.ask()
        assert ask is not None and ask.after_id < id_
        self.token += 1
        self.window.sent(stored(id_), self.token, ask, self.now)

    def answer_all(self, outcome: str = "taken") -> None:
        for token in range(1, self.token + 1):
            self.window.answered(token, "taken" if outcome == "taken" else "unheard")

    def ack(self, upto: int) -> None:
        removed, self.gone = max(0, upto - self.gone), max(self.gone, upto)
        self.window.acknowledged("s", upto, removed=removed, now=self.now)


def stored(id_: int) -> Stored:
    return Stored(
        id=id_, session="s", seq=id_, kind="window", body="{}", created_at="", created_s=0, boot_id="",
        clock_synced=True, preprocess=None,
    )  # fmt: skip


def test_each_message_is_sent_once_while_acks_come() -> None:
    run = Run()
    for last in (3, 5, 6):
        run.last = last
        assert run.send() == list(range(run.gone + 1, last + 1))
        assert run.send() == []
        run.ack(last)
    assert run.window.deadline() is None


def test_the_broker_bounds_what_is_on_its_way() -> None:
    run = Run(last=5, in_flight=2)
    assert run.send() == [1, 2]
    assert run.window.ask() is None
    run.window.answered(1, "taken")
    assert run.send() == [3]


def test_a_new_connection_sends_everything_unconfirmed_again() -> None:
    run = Run(last=4)
    run.send()
    run.ack(1)
    run.window.begin(newest=4, in_flight=10)
    assert run.send() == [2, 3, 4]


def test_overdue_messages_are_sent_again_as_a_probe_that_grows_with_each_ack() -> None:
    run = Run(last=500)
    assert len(run.send()) == 500
    run.now = 59.9
    assert not run.window.expire(run.now)
    run.now = 60.0
    assert run.window.expire(run.now)
    assert run.send() == list(range(1, PROBE + 1))
    run.ack(PROBE)
    assert run.send() == list(range(PROBE + 1, 3 * PROBE + 1))


def test_the_timeout_doubles_in_silence_up_to_eight_times() -> None:
    run = Run(last=1)
    waits = []
    for _ in range(6):
        run.send()
        deadline = run.window.deadline()
        assert deadline is not None
        waits.append(deadline - run.now)
        run.now = deadline
        assert run.window.expire(run.now)
    assert waits == [60, 120, 240, 480, 480, 480]


def test_when_nobody_subscribes_a_probe_goes_out_soon() -> None:
    run = Run(last=40)
    assert len(run.send()) == 40
    run.answer_all("unheard")
    for patience_s in (5.0, 10.0, 20.0, 40.0, 40.0):
        run.now += patience_s - 0.1
        assert not run.window.expire(run.now)
        run.now += 0.2
        assert run.window.expire(run.now)
        assert run.send() == list(range(1, PROBE + 1))
        run.answer_all("unheard")
    # Once somebody listens to all that was sent, the broker's word is worth the whole timeout again.
    run.now += 40.1
    assert run.window.expire(run.now)
    assert run.send()
    run.answer_all("taken")
    run.ack(PROBE)
    assert run.send()
    run.answer_all("taken")
    assert run.window.deadline() == run.now + 60.0


def test_what_nobody_heard_is_not_forgotten_when_somebody_hears_the_next() -> None:
    run = Run(last=3)
    assert run.send() == [1, 2, 3]
    run.window.answered(1, "unheard")
    run.window.answered(2, "taken")
    run.window.answered(3, "taken")
    assert run.window.deadline() == 5.0


def test_who_hears_a_message_gets_what_nobody_heard_before_at_once() -> None:
    run = Run(last=3)
    assert run.send() == [1, 2, 3]
    run.answer_all("unheard")
    run.now, run.last = 4.0, 4
    assert run.send() == [4]
    run.window.answered(4, "taken")
    assert run.window.expire(run.now)
    assert run.send() == [1, 2, 3, 4]


def test_who_hears_only_other_kinds_is_sent_nothing_twice() -> None:
    run = Run(last=1)
    assert run.send() == [1]
    run.answer_all("unheard")
    run.now = 4.0
    ask = run.window.ask()
    assert ask is not None
    run.window.sent(replace(stored(2), kind="alarm"), 2, ask, run.now)
    run.window.answered(2, "taken")
    assert not run.window.expire(run.now)


def test_a_backlog_is_limited_but_new_messages_pass_it_once() -> None:
    run = Run(last=WIDTH + 100)
    assert run.send() == list(range(1, WIDTH + 1))
    run.last += 2
    assert run.send() == [WIDTH + 101, WIDTH + 102]
    assert run.send() == []
    run.ack(50)  # 52 places are free: 1000 wide, 950 and the two new ones unconfirmed
    assert run.send() == list(range(WIDTH + 1, WIDTH + 49))


def test_new_messages_that_passed_a_backlog_are_not_repeated() -> None:
    run = Run(last=WIDTH + 1)
    run.send()
    run.last += 1
    assert run.send() == [WIDTH + 2]
    run.ack(WIDTH)
    assert run.send() == [WIDTH + 1]
    assert run.send() == []


def test_an_ack_that_leaves_out_older_messages_brings_them_at_once() -> None:
    run = Run(last=3)
    run.send()
    run.now, run.last = 1.9, 4
    run.send()
    run.ack(0)  # too soon to say that anything was lost
    assert not run.window.expire(run.now)
    run.now = 2.0
    run.ack(0)
    assert run.window.expire(run.now)
    assert run.send() == [1, 2, 3, 4]
    run.ack(0)
    assert not run.window.expire(run.now)


def test_other_messages_progress_does_not_put_off_an_overdue_one() -> None:
    run = Run("broker", last=1)
    run.send()
    run.window.answered(1, "refused")
    for _ in range(59):
        run.now += 1.0
        run.last += 1
        run.send()
        run.window.answered(run.token, "taken")
    assert not run.window.expire(run.now)
    run.now += 1.0
    assert run.window.expire(run.now)
    assert run.send()[0] == 1


def test_one_message_can_be_sent_again() -> None:
    run = Run(last=3)
    run.send()
    run.window.send_again("s", 2)
    run.window.send_again("s", 99)
    assert run.send() == [2]
    assert run.send() == []


def test_with_confirm_broker_its_word_removes_unless_nobody_listens() -> None:
    run = Run("broker", last=3)
    run.send()
    assert run.window.answered(1, "taken") == 1
    assert run.window.answered(2, "unheard") is None
    assert run.window.answered(3, "refused") is None
    assert run.window.answered(3, "taken") is None
    assert run.window.unconfirmed == 2
    run.gone, run.now = 1, 60.0
    assert run.window.expire(60.0)
    assert run.send() == [2, 3]


def test_with_confirm_collector_the_brokers_word_removes_nothing() -> None:
    run = Run(last=1)
    run.send()
    assert run.window.answered(1, "taken") is None
    assert (run.window.in_flight, run.window.unconfirmed) == (0, 1)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["make", "ack", "lost", "time", "connect"]), max_size=60), st.integers(1, 30))
def test_in_the_end_every_message_arrives(events: list[str], in_flight: int) -> None:
    run = Run(in_flight=in_flight)
    arrived: set[int] = set()

    def upto() -> int:
        return next(n for n in range(1, run.last + 2) if n not in arrived) - 1

    for event in [*events, "make", *["time", "ack"] * 80]:
        if event == "make":
            run.last += 7
        elif event == "connect":
            run.window.begin(newest=run.last, in_flight=in_flight)
        elif event == "time":
            run.now += 500
            run.window.expire(run.now)
        sent = run.send()
        run.answer_all()
        if event != "lost":
            arrived |= set(sent)
        if event == "ack":
            run.ack(upto())
    assert run.gone == run.last


def test_backoff_doubles_under_full_jitter_and_is_bounded() -> None:
    backoff = Backoff(min_s=1.0, max_s=10.0, random=lambda: 0.5)
    assert [backoff.next_s() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_news_that_waits_for_a_backlog_to_be_confirmed_is_not_overdue_while_that_moves() -> None:
    run = Run(last=5)
    run.last = 6
    run.window.sent(stored(6), 99, run_ask(run), 0.0)  # past the backlog
    for step in range(1, 6):
        run.now = 40.0 * step
        assert not run.window.expire(run.now)
        run.send_one(step)
        run.ack(step)
    assert run.window.deadline() == 200.0 + 60.0
    assert run.window.expire(260.0)


def run_ask(run: Run) -> Ask:
    """What is asked for while the backlog has used up its share."""
    ask = run.window.ask(backlog=False)
    assert ask is not None and ask.fresh and ask.after_id == 5
    return ask
