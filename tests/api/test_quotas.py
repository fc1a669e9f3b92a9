import csv
from pathlib import Path

import pytest

import linkstead.api.quotas
from linkstead.api.quotas import LIMITS, Quotas

NOW_S = 1_704_067_200.0


def test_call_past_the_limit_is_refused_until_the_next_second() -> None:
    quotas = Quotas({"RRpc": 3}, {}, enabled=True)
    assert [quotas.take("account", "RRpc", NOW_S + tick / 10) for tick in range(5)] == [True] * 3 + [False] * 2
    assert [quotas.take("account", "RRpc", NOW_S + 1) for _ in range(4)] == [True] * 3 + [False]


def test_window_is_the_second_of_wall_time() -> None:
    quotas = Quotas({"RRpc": 1}, {}, enabled=True)
    assert quotas.take("account", "RRpc", NOW_S + 0.999)
    assert quotas.take("account", "RRpc", NOW_S + 1.0)
    assert not quotas.take("account", "RRpc", NOW_S + 1.999)


def test_accounts_and_actions_are_counted_apart() -> None:
    quotas = Quotas({"RRpc": 1, "Pub": 1}, {}, enabled=True)
    assert quotas.take("a", "RRpc", NOW_S)
    assert quotas.take("b", "RRpc", NOW_S)
    assert quotas.take("a", "Pub", NOW_S)
    assert not quotas.take("a", "RRpc", NOW_S)
    assert not quotas.take("b", "RRpc", NOW_S)


def test_action_without_a_limit_is_never_refused_nor_counted() -> None:
    quotas = Quotas({"RRpc": 1}, {}, enabled=True)
    assert all(quotas.take("account", "Other", NOW_S) for _ in range(10))
    assert len(quotas) == 0


def test_override_takes_the_place_of_the_limit_and_zero_lifts_it() -> None:
    quotas = Quotas({"RRpc": 1, "Pub": 1}, {"RRpc": 2, "Pub": 0, "Other": 1}, enabled=True)
    assert [quotas.take("account", "RRpc", NOW_S) for _ in range(3)] == [True, True, False]
    assert all(quotas.take("account", "Pub", NOW_S) for _ in range(10))
    assert [quotas.take("account", "Other", NOW_S) for _ in range(2)] == [True, False]


def test_negative_override_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="RRpc=-1"):
        Quotas(LIMITS, {"RRpc": -1}, enabled=True)


def test_nothing_is_limited_when_quotas_are_off() -> None:
    quotas = Quotas({"RRpc": 1}, {"Pub": 1}, enabled=False)
    assert all(quotas.take("account", action, NOW_S) for action in ("RRpc", "Pub") for _ in range(10))


def test_only_the_present_second_is_in_memory() -> None:
    quotas = Quotas(LIMITS, {}, enabled=True)
    for second in range(100):
        for account in range(10):
            for action in ("RRpc", "Pub"):
                assert quotas.take(f"account {account}", action, NOW_S + second)
        assert len(quotas) == 20


def test_clock_set_back_opens_a_new_window() -> None:
    quotas = Quotas({"RRpc": 1}, {}, enabled=True)
    assert quotas.take("account", "RRpc", NOW_S)
    assert quotas.take("account", "RRpc", NOW_S - 10)
    assert not quotas.take("account", "RRpc", NOW_S - 10)


@pytest.mark.parametrize(
    ("action", "limit"),
    [
        ("RRpc", 1000),
        ("InvokeThingService", 500),
        ("InvokeThingsService", 10),
        ("Pub", 1600),
        ("SetDeviceProperty", 500),
    ],
)
def test_documented_limits_hold(action: str, limit: int) -> None:
    quotas = Quotas(LIMITS, {}, enabled=True)
    assert all(quotas.take("account", action, NOW_S) for _ in range(limit))
    assert not quotas.take("account", action, NOW_S)


def test_every_limit_is_positive_and_has_one_row_and_a_source() -> None:
    text = Path(linkstead.api.quotas.__file__).with_name("quotas.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(LIMITS) == 226
    assert all(int(row["qps"]) > 0 and row["source"] for row in rows)
    assert [row["action"] for row in rows] == sorted(LIMITS)
