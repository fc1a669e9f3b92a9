"""Faults as rules: which of the occasions they act on."""

from typing import Any

import msgspec
import pytest

from linkstead.faults.rules import (
    AFTER_BYTES_MAX,
    DELAY_MS_MAX,
    FAULTS_MAX,
    NTH_MAX,
    Fault,
    FaultError,
    Kind,
    Occasion,
    RuleBook,
)
from linkstead.registry import DeviceKey

ACCOUNT = "1001"
LAMP, OTHER = DeviceKey("a1Lamp00001", "lamp-01"), DeviceKey("a1Lamp00001", "lamp-02")


def count_acts(fault: Fault, occasions: int, key: DeviceKey = LAMP) -> list[int]:
    """The occasions, counted from 1, on which a fault acts."""
    book = RuleBook()
    book.add(ACCOUNT, fault)
    return [number for number in range(1, occasions + 1) if book.find(Occasion.MESSAGE, ACCOUNT, key, "RRpc")]


def test_a_plain_fault_acts_each_time() -> None:
    assert count_acts(Fault(kind=Kind.DROP_ANSWER), 4) == [1, 2, 3, 4]


def test_the_nth_is_one_only_unless_more_are_asked_for() -> None:
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, nth=2), 5) == [2]
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, nth=2, times=2), 5) == [2, 3]
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, nth=2, times=0), 5) == [2, 3, 4, 5]


def test_every_so_many_from_the_nth_on() -> None:
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, every=3), 7) == [1, 4, 7]
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, nth=3, every=2, times=0), 8) == [3, 5, 7]


def test_times_bounds_how_often() -> None:
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, times=1), 3) == [1]
    assert count_acts(Fault(kind=Kind.DROP_ANSWER, every=2, times=2), 9) == [1, 3]


def test_chance_follows_from_the_seed() -> None:
    by_chance = Fault(kind=Kind.DROP_ANSWER, probability=0.5, seed=7)
    first = count_acts(by_chance, 200)
    assert first == count_acts(by_chance, 200)
    assert first != count_acts(msgspec.structs.replace(by_chance, seed=8), 200)
    assert 60 < len(first) < 140


@pytest.mark.parametrize(
    ("scope", "is_met"),
    [
        ({}, True),
        ({"product_key": "a1Lamp00001"}, True),
        ({"product_key": "a1Other0001"}, False),
        ({"device_name": "lamp-01"}, True),
        ({"device_name": "lamp-02"}, False),
        ({"action": "RRpc"}, True),
        ({"action": "Pub"}, False),
        ({"target": "Blink"}, False),
    ],
)
def test_a_scope_is_kept_to(scope: dict[str, Any], is_met: bool) -> None:
    assert bool(count_acts(Fault(kind=Kind.DROP_ANSWER, **scope), 1)) == is_met


def test_what_is_out_of_scope_is_not_counted() -> None:
    book = RuleBook()
    rule = book.add(ACCOUNT, Fault(kind=Kind.DROP_ANSWER, device_name="lamp-01", nth=2))
    assert not book.find(Occasion.MESSAGE, ACCOUNT, LAMP)
    assert not book.find(Occasion.MESSAGE, ACCOUNT, OTHER)
    assert not book.find(Occasion.MESSAGE, "1002", LAMP)
    assert not book.find(Occasion.CALL, ACCOUNT, LAMP)
    assert book.find(Occasion.MESSAGE, ACCOUNT, LAMP) == [rule]
    assert (rule.seen, rule.acted, rule.is_spent) == (2, 1, True)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"nth": 0}, "nth"),
        ({"nth": NTH_MAX + 1}, "nth"),
        ({"every": 0}, "every"),
        ({"times": -1}, "times"),
        ({"delay_ms": DELAY_MS_MAX + 1}, "delay_ms"),
        ({"probability": 0.0}, "probability"),
        ({"probability": 1.1}, "probability"),
        ({"bytes_per_s": -1}, "bytes_per_s"),
        ({"seed": -1}, "seed"),
        ({"kind": Kind.CUT, "after_bytes": -1}, "after_bytes"),
        ({"kind": Kind.CUT, "after_bytes": AFTER_BYTES_MAX + 1}, "after_bytes"),
        ({"kind": Kind.CUT, "after_bytes": 1, "clean": True}, "after_bytes"),
        ({"kind": Kind.CUT, "after_bytes": 1, "at_once": True}, "after_bytes"),
        ({"after_bytes": 1}, "after_bytes"),
        ({"device_name": "x" * 129}, "device_name"),
        ({"at_once": True}, "at_once"),
        ({"kind": Kind.CUT, "at_once": True, "action": "RRpc"}, "at_once"),
        ({"kind": Kind.REFUSE_CONNECT, "action": "RRpc"}, "refuse-connect"),
        ({"kind": Kind.UNKNOWN, "action": "Pub"}, "unknown"),
    ],
)
def test_what_no_rule_can_mean_is_refused_by_name(fields: dict[str, object], name: str) -> None:
    fault = Fault(**{"kind": Kind.DROP_ANSWER, **fields})  # type: ignore[arg-type]
    with pytest.raises(FaultError, match=name):
        RuleBook().add(ACCOUNT, fault)


def test_the_limits_themselves_are_taken() -> None:
    RuleBook().add(ACCOUNT, Fault(kind=Kind.DELAY_ANSWER, nth=NTH_MAX, delay_ms=DELAY_MS_MAX, device_name="x" * 128))
    RuleBook().add(ACCOUNT, Fault(kind=Kind.CUT, after_bytes=AFTER_BYTES_MAX))


def test_there_are_so_many_at_most_and_each_account_has_its_own() -> None:
    book = RuleBook()
    for _ in range(FAULTS_MAX):
        last = book.add(ACCOUNT, Fault(kind=Kind.CUT))
    with pytest.raises(FaultError, match="100"):
        book.add("1002", Fault(kind=Kind.CUT))
    assert len(book.list_of(ACCOUNT)) == FAULTS_MAX
    assert not book.list_of("1002")
    assert book.remove("1002", last.number) is None
    assert book.remove(ACCOUNT, last.number) is last
    assert book.add("1002", Fault(kind=Kind.CUT)).number == last.number + 1
