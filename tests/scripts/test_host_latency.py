"""What a script that takes all it may costs the messages of other products, measured."""

import asyncio
import time

import pytest

from linkstead.models import ScriptError
from linkstead.scripts.host import ScriptHost
from linkstead.server import SystemClock

pytestmark = [pytest.mark.asyncio, pytest.mark.long]

F = "rawDataToProtocol"
LOOPING = f"function {F}() {{ for (;;) {{}} }}"
PROMPT = f"function {F}(bytes) {{ return {{n: bytes.length}}; }}"
MESSAGES = 200
MEDIAN_S_MAX, WORST_S_MAX = 0.05, 0.4
"""A run of the looping script takes 0.5 s: nobody waited for one."""


async def test_messages_beside_a_looping_script_do_not_wait_for_it() -> None:
    host = ScriptHost(SystemClock())
    try:
        await asyncio.gather(*(host.run(name, PROMPT, F, b"[[1]]") for name in ("a1Good00001", "a1Bad000001")))
        looping = [asyncio.ensure_future(host.run("a1Bad000001", LOOPING, F, b"[[1]]")) for _ in range(8)]
        await asyncio.sleep(0)
        taken_s: list[float] = []
        for _ in range(MESSAGES):
            begun_s = time.perf_counter()
            await host.run("a1Good00001", PROMPT, F, b"[[1]]")
            taken_s.append(time.perf_counter() - begun_s)
        assert not all(each.done() for each in looping)
        ends = await asyncio.gather(*looping, return_exceptions=True)
        assert all(isinstance(end, ScriptError) for end in ends)
    finally:
        await host.close()
    taken_s.sort()
    print(f"median {taken_s[MESSAGES // 2] * 1e3:.2f} ms, worst {taken_s[-1] * 1e3:.2f} ms")  # noqa: T201
    assert taken_s[MESSAGES // 2] < MEDIAN_S_MAX
    assert taken_s[-1] < WORST_S_MAX
