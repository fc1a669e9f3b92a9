"""What a node is told of others, and where it begins to tell them; what goes between is in `test_nodes`."""

import pytest

from linkstead.console.elsewhere import (
    OVERLAP_CALLS_MAX,
    WAITING_BYTES_MAX,
    Elsewhere,
    PulseAsked,
    count_before,
    open_view,
)
from linkstead.invocation import CallJournal
from tests.console.records import START_S, make_call
from tests.fakes import RecordingSink
from tests.rig import ACCOUNT_ID, Rig


def test_the_overlap_is_bounded() -> None:
    journal = CallJournal(RecordingSink())
    for number in range(OVERLAP_CALLS_MAX + 1):
        journal.close(make_call(number))
    assert count_before(journal, START_S - 1) == 1
    assert count_before(journal, START_S + 3600) == OVERLAP_CALLS_MAX + 1


@pytest.mark.asyncio
async def test_what_waits_for_a_page_that_is_not_read_is_bounded(rig: Rig) -> None:
    with Elsewhere(rig.server.desk, PulseAsked(ACCOUNT_ID, "", False), str) as others:
        data = b"\xdb" + (WAITING_BYTES_MAX // 4 - 5).to_bytes(4, "big") + bytes(WAITING_BYTES_MAX // 4 - 5)
        for _ in range(4):
            others._add(data)
        assert len(others.take()) == 4
        for _ in range(5):
            others._add(data)
        assert len(others.take()) == 4
        assert others.take() == []


@pytest.mark.asyncio
async def test_what_a_later_version_asks_for_is_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="weather"):
        await open_view(rig.server.desk, b"\x91\xa7weather", True)
