"""Ids for a server that runs."""

import re

from linkstead.ids import HEX_DIGITS
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from linkstead.testing.clock import ManualClock


def test_message_ids_rise_whatever_the_clock_does() -> None:
    clock = ManualClock()
    ids = SystemIds(clock)
    drawn = [ids.message_id() for _ in range(1_000)]
    clock.jump(-3600.0)
    drawn += [ids.message_id() for _ in range(1_000)]
    clock.jump(7200.0)
    drawn += [ids.message_id() for _ in range(1_000)]
    assert drawn == sorted(set(drawn))
    assert all(18 <= len(str(message_id)) <= 19 for message_id in drawn)
    assert drawn[-1] < 2**63


def test_message_ids_fit_until_the_century_is_nearly_over() -> None:
    assert SystemIds(ManualClock(3_700_000_000.0)).message_id() < 2**63


def test_two_starts_at_the_same_moment_draw_other_ids() -> None:
    clock = ManualClock()
    assert len({SystemIds(clock).message_id() for _ in range(20)}) == 20
    assert len({SystemIds(clock).request_id() for _ in range(20)}) == 20


def test_request_ids_are_upper_case_uuids() -> None:
    ids = SystemIds(SystemClock())
    drawn = {ids.request_id() for _ in range(1_000)}
    assert len(drawn) == 1_000
    assert all(re.fullmatch("[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", text) for text in drawn)


def test_tokens_are_drawn_from_their_alphabet() -> None:
    ids = SystemIds(SystemClock())
    drawn = {ids.token(HEX_DIGITS, 32) for _ in range(100)}
    assert len(drawn) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", text) for text in drawn)
