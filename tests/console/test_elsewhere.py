"""What a node is told by others; what goes between is in `test_nodes`."""

import pytest

from linkstead.console.elsewhere import WAITING_BYTES_MAX, Elsewhere, PulseAsked, open_view
from tests.rig import ACCOUNT_ID, Rig


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
