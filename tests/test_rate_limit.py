"""Some at once, then so many a second."""

from agent.telemetry.rate_limit import RateLimit


def taken(limit: RateLimit, now: float) -> int:
    """How often it may happen at ``now``."""
    count = 0
    while limit.take(now):
        count += 1
    return count


def test_the_burst_first_then_the_rate() -> None:
    limit = RateLimit(per_s=2.0, burst=10, now=100.0)
    assert taken(limit, 100.0) == 10
    assert taken(limit, 101.5) == 3
    assert taken(limit, 101.9) == 0
    assert taken(limit, 102.0) == 1
    assert taken(limit, 1e6) == 10


def test_who_waits_wakes_for_a_quarter_of_the_burst() -> None:
    limit = RateLimit(per_s=2.0, burst=20, now=0.0)
    taken(limit, 0.0)
    assert limit.again_at == 2.5
    assert taken(limit, 2.5) == 5


def test_a_burst_of_one_and_a_clock_that_stands_still() -> None:
    limit = RateLimit(per_s=0.1, burst=1, now=5.0)
    assert [limit.take(5.0), limit.take(5.0), limit.take(4.0)] == [True, False, False]
    assert limit.again_at == 14.0
    assert limit.take(15.0)


def test_an_amount_is_taken_whole_or_not_at_all() -> None:
    limit = RateLimit(per_s=10.0, burst=100, now=0.0)
    assert [limit.take(0.0, 60.0), limit.take(0.0, 60.0), limit.take(0.0, 40.0)] == [True, False, True]
    assert [limit.take(1.9, 20.0), limit.take(2.0, 20.0)] == [False, True]
