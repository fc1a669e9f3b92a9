"""A child whose server is gone: it goes too, whatever its script does."""

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.asyncio

POLL_S, WAIT_S = 0.02, 60.0
SERVER = """
import asyncio, sys
from linkstead.scripts.host import ScriptHost
from linkstead.server import SystemClock

async def main():
    host = ScriptHost(SystemClock())
    await host.run("a1Probe", "function f() { return 1; }", "f", b"[]")
    print(*host.process_ids, flush=True)
    await host.run("a1Probe", sys.argv[1], "f", b"[]")
    await asyncio.Event().wait()

asyncio.run(main())
"""


def is_running(process_id: int) -> bool:
    """False for a process that has ended, though nobody may have asked how."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        return state != "Z"
    return False


@pytest.mark.parametrize(
    "body", ["return 1;", "var a = []; for (var i = 0; i < 100000; i++) a.push(i); for (;;) a.sort();"]
)
async def test_a_child_ends_with_its_server(body: str) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, f"function f() {{ {body} }}", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    process_id = int(await server.stdout.readline())
    assert is_running(process_id)
    server.kill()
    await server.wait()
    async with asyncio.timeout(WAIT_S):
        while is_running(process_id):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
