import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.circuit_breaker import CircuitBreaker
from api.experiments.breaker import Breakers
from wire.target import Target


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(3, 10, clock)


def attempt(breaker: CircuitBreaker) -> int:
    ticket = breaker.begin()
    assert ticket is not None
    return ticket


def open_it(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        breaker.fail(attempt(breaker))


def test_opens_after_failures_in_a_row(breaker: CircuitBreaker) -> None:
    for outcome in (breaker.fail, breaker.fail, breaker.succeed, breaker.fail, breaker.fail):
        outcome(attempt(breaker))
    assert breaker.state == "closed"
    breaker.fail(attempt(breaker))
    assert breaker.state == "open"
    assert breaker.begin() is None


def test_one_probe_closes_or_opens_it_again(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 9.9
    assert breaker.begin() is None
    clock.now += 0.1
    assert breaker.state == "half-open"
    probe = attempt(breaker)
    assert breaker.begin() is None
    breaker.fail(probe)
    assert breaker.state == "open"
    clock.now += 10
    breaker.succeed(attempt(breaker))
    assert breaker.state == "closed"
    # The count begins anew.
    breaker.fail(attempt(breaker))
    assert breaker.state == "closed"


def test_a_probe_that_told_nothing_makes_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    open_it(breaker)
    clock.now += 10
    breaker.abandon(attempt(breaker))
    assert breaker.state == "half-open"
    breaker.succeed(attempt(breaker))
    assert breaker.state == "closed"


def test_late_results_do_not_count(breaker: CircuitBreaker, clock: Clock) -> None:
    slow_success, slow_failure, slow_nothing = (attempt(breaker) for _ in range(3))
    open_it(breaker)
    breaker.succeed(slow_success)
    assert breaker.state == "open"
    clock.now += 10
    attempt(breaker)
    # They must neither take the probe's place nor stand for it.
    breaker.fail(slow_failure)
    breaker.abandon(slow_nothing)
    assert breaker.state == "half-open"
    assert breaker.begin() is None


@settings(deadline=None)
@given(st.lists(st.sampled_from(["succeed", "fail", "abandon", "wait"]), max_size=40))
def test_it_always_lets_something_through_in_the_end(steps: list[str]) -> None:
    clock = Clock()
    breaker = CircuitBreaker(3, 10, clock)
    for step in steps:
        if step == "wait":
            clock.now += 4
        elif (ticket := breaker.begin()) is not None:
            getattr(breaker, step)(ticket)
    clock.now += 10
    breaker.succeed(attempt(breaker))
    assert breaker.state == "closed"


def test_each_target_has_its_own() -> None:
    breakers = Breakers(1, 10)
    one, other = Target("residual", 1), Target("residual", 2)
    breakers[one].fail(attempt(breakers[one]))
    assert (breakers[one].state, breakers[other].state) == ("open", "closed")
