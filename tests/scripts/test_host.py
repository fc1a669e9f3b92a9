"""Children that run scripts: what a script may do, and that it does it to nobody else."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.models import ScriptError
from linkstead.models.scripts import (
    FUNCTION_MISSING,
    RAW_BYTES_MAX,
    SCRIPT_BYTES_MAX,
    SCRIPT_FAILED,
    SCRIPT_THROTTLED,
    WRONG_TYPE,
    check_bytes,
    write_bytes,
)
from linkstead.scripts import host as host_module
from linkstead.scripts.host import (
    CHILDREN_MAX,
    RUN_BYTES_WAITING_MAX,
    RUN_WALL_TIME_S_MAX,
    RUNS_OF_A_PRODUCT_WAITING_MAX,
    RUNS_WAITING_MAX,
    ScriptHost,
)
from linkstead.testing.clock import ManualClock
from tests.wire import until

pytestmark = pytest.mark.asyncio

PARSER = (Path(__file__).parents[1] / "golden" / "tsl" / "raw-probe.parser.js").read_text(encoding="utf-8")
F = "rawDataToProtocol"
GOOD, BAD = "a1Good00001", "a1Bad000001"
ECHO = f"function {F}(bytes) {{ return {{sum: bytes.length}}; }}"
# One turn of the loop takes so long in the engine itself that the engine never gets to interrupt it in time.
STUBBORN = f"function {F}() {{ var a = []; for (var i = 0; i < 100000; i++) a.push(i); for (;;) a.sort(); }}"


@pytest_asyncio.fixture
async def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def host(clock: ManualClock, start_loop_watch: Callable[[], None]) -> AsyncIterator[ScriptHost]:
    start_loop_watch()
    host = ScriptHost(clock)
    yield host
    await host.close()


async def run(host: ScriptHost, script: str, payload: bytes = b"\x01", product_key: str = GOOD) -> bytes:
    return await host.run(product_key, script, F, b"[%b]" % write_bytes(payload))


async def failure(host: ScriptHost, script: str, product_key: str = BAD) -> ScriptError:
    with pytest.raises(ScriptError) as caught:
        await run(host, script, product_key=product_key)
    return caught.value


def environment_of(process_id: int) -> list[bytes]:
    """The names of a process's variables."""
    environment = Path(f"/proc/{process_id}/environ").read_bytes()
    return [entry.split(b"=")[0] for entry in environment.split(b"\0") if entry]


def body(text: str) -> str:
    """A script whose function does this."""
    return f"function {F}(bytes) {{ {text} }}"


async def test_the_sample_script_reads_and_writes_bytes(host: ScriptHost) -> None:
    raw = bytes.fromhex("00002233440fa001419c0000")
    assert json.loads(await run(host, PARSER, raw)) == {
        "method": "thing.event.property.post",
        "version": "1.0",
        "id": "2241348",
        "params": {"prop_int16": 4000, "prop_bool": 1, "prop_float": 19.5},
    }
    reply = await host.run(
        GOOD, PARSER, "protocolToRawData", b'[{"method":"thing.service.Calibrate","id":"7","params":{"offset":-10}}]'
    )
    assert check_bytes(reply) == bytes.fromhex("0400000007fff6")


@pytest.mark.parametrize(
    ("statement", "result"),
    [
        ("return null", b"null"),
        ("", b"null"),
        ("return 7", b"7"),
        ("return 'ä'", '"ä"'.encode()),
        ("return new Uint8Array([1, 255])", b"[1,255]"),
        ("return [1, , NaN]", b"[1,null,null]"),
        ("return function () {}", b""),
        ("return new Date(0)", b'"1970-01-01T00:00:00.000Z"'),
        (
            "return typeof require + typeof std + typeof os + typeof process + typeof fetch",
            b'"%b"' % (b"undefined" * 5),
        ),
    ],
)
async def test_what_a_function_returns_comes_as_json(host: ScriptHost, statement: str, result: bytes) -> None:
    assert await run(host, body(statement)) == result


async def test_functions_may_be_declared_in_any_way(host: ScriptHost) -> None:
    assert await run(host, f"const {F} = bytes => ({{n: bytes.length}})") == b'{"n":1}'
    assert (
        await run(host, f"this.{F} = function (bytes) {{ return this === undefined; }}; 'use strict' // end")
        == b"false"
    )


async def test_nothing_is_left_for_the_next_message(host: ScriptHost) -> None:
    script = f"var count = 0; {body('count++; Array.prototype.seen = 1; JSON.parse = null; return [count, [].seen];')}"
    assert [await run(host, script) for _ in range(3)] == [b"[1,1]"] * 3
    assert await run(host, body("return [typeof count, typeof [].seen]")) == b'["undefined","undefined"]'


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        (body("while (true) {}"), SCRIPT_FAILED, "longer than 500 ms"),
        (body("for (;;) { try { for (;;) {} } catch (e) {} }"), SCRIPT_FAILED, "longer than 500 ms"),
        (body("return /^(a+)+$/.test('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab')"), SCRIPT_FAILED, "longer than 500 ms"),
        ("for (;;) {}", SCRIPT_FAILED, "longer than 500 ms (line 1)"),
        (STUBBORN, SCRIPT_FAILED, "process ended"),
        (body("var a = []; while (true) a.push(new Array(100000).fill(1.5))"), SCRIPT_FAILED, "memory (line 1)"),
        (body("var a = []; while (true) a.push(new ArrayBuffer(5000000))"), SCRIPT_FAILED, "memory"),
        (body("return 'x'.repeat(1e9)"), SCRIPT_FAILED, "memory"),
        ("(function f() { f(); })()", SCRIPT_FAILED, "call stack"),
        ("\n" + body("\n throw new Error('no such command')"), SCRIPT_FAILED, "Error: no such command (line 3)"),
        (body("\nbytes.x.y"), SCRIPT_FAILED, "TypeError: cannot read property 'y' of undefined (line 2)"),
        ("function (", SCRIPT_FAILED, "SyntaxError"),
        (body("throw {toString: function () { throw 1; }}"), SCRIPT_FAILED, ""),
        (body("return '\\ud800'"), SCRIPT_FAILED, "no Unicode"),
        ("/* never closed", SCRIPT_FAILED, "SyntaxError"),
        ("// nothing", FUNCTION_MISSING, f"no function {F}"),
        (f"var {F} = 7", FUNCTION_MISSING, f"no function {F}"),
        (body("var a = {}; a.a = a; return a"), WRONG_TYPE, "circular"),
        (body("return {toJSON: function () { throw new Error('x'); }}"), WRONG_TYPE, "Error: x"),
        (body("return 'x'.repeat(1600000)"), WRONG_TYPE, "over 1572864 B"),
        (body("return 'ä'.repeat(800000)"), WRONG_TYPE, "over 1572864 B"),
    ],
)
async def test_a_script_at_fault_fails_alone(host: ScriptHost, script: str, code: int, said: str) -> None:
    error = await failure(host, script)
    assert (error.code, "\n" in error.text) == (code, False)
    assert said in error.text
    assert await run(host, ECHO) == b'{"sum":1}'
    assert await run(host, ECHO, product_key=BAD) == b'{"sum":1}'


async def test_the_largest_message_fits_and_the_largest_result_comes_back(host: ScriptHost) -> None:
    payload = bytes([255]) * RAW_BYTES_MAX
    script = body("return bytes") + "//" + " " * (SCRIPT_BYTES_MAX - 100)
    assert check_bytes(await run(host, script, payload)) == payload


async def test_a_child_sees_nothing_of_the_servers_environment(
    host: ScriptHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINKSTEAD_ACCESS_KEY_SECRET", "a secret")
    await run(host, ECHO)
    (process_id,) = host.process_ids
    assert environment_of(process_id) == [b"PYTHONPATH"]


async def test_a_child_keeps_open_nothing_but_its_pipes(host: ScriptHost) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        await run(host, ECHO)
        (process_id,) = host.process_ids
        assert sorted(os.listdir(f"/proc/{process_id}/fd"), key=int) == ["0", "1", "2"]
    finally:
        os.close(reading)
        os.close(writing)


async def test_children_are_started_when_needed_and_kept(host: ScriptHost) -> None:
    assert host.process_ids == []
    for _ in range(3):
        await run(host, ECHO)
    assert len(host.process_ids) == 1
    await asyncio.gather(*(run(host, ECHO, product_key=f"a1Product{number}") for number in range(9)))
    assert len(host.process_ids) == CHILDREN_MAX


async def test_a_killed_child_costs_its_message_and_the_next_one_works(host: ScriptHost) -> None:
    await run(host, ECHO)
    (process_id,) = host.process_ids
    failing = asyncio.ensure_future(failure(host, STUBBORN))
    await asyncio.sleep(0)
    os.kill(process_id, signal.SIGKILL)
    error = await failing
    assert (error.code, "killed" in error.text) == (SCRIPT_FAILED, True)
    assert await run(host, ECHO, product_key=BAD) == b'{"sum":1}'
    assert process_id not in host.process_ids


async def test_a_child_that_does_not_answer_is_killed_when_its_time_is_over(
    host: ScriptHost, clock: ManualClock
) -> None:
    await run(host, ECHO)
    (process_id,) = host.process_ids
    os.kill(process_id, signal.SIGSTOP)
    failing = asyncio.ensure_future(failure(host, ECHO))
    await until(lambda: clock.timer_count)
    clock.advance(RUN_WALL_TIME_S_MAX - 0.001)
    await asyncio.sleep(0)
    assert not failing.done()
    clock.advance(0.001)
    assert "longer than 2 s" in (await failing).text
    assert clock.timer_count == 0
    assert await run(host, ECHO) == b'{"sum":1}'


async def test_a_looping_script_does_not_stop_other_products(host: ScriptHost) -> None:
    order: list[str] = []

    async def note(name: str, work: "asyncio.Task[ScriptError] | asyncio.Task[bytes]") -> None:
        await work
        order.append(name)

    await asyncio.gather(run(host, ECHO), run(host, ECHO, product_key=BAD))
    looping = [asyncio.ensure_future(failure(host, body("for (;;) {}"))) for _ in range(3)]
    fine = [asyncio.ensure_future(run(host, ECHO)) for _ in range(50)]
    await asyncio.gather(
        *(note("loop", each) for each in looping),
        *(note("fine", each) for each in fine),
    )
    assert order[-2:] == ["loop"] * 2
    assert order.count("fine") == 50


async def test_products_take_turns(host: ScriptHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "CHILDREN_MAX", 1)
    order: list[str] = []

    async def serve(name: str) -> None:
        await run(host, ECHO, product_key=name)
        order.append(name)

    await asyncio.gather(*(serve(name) for name in ["many"] * 20 + ["two"] * 2))
    # The first found nobody else waiting.
    assert order == ["many"] + ["many", "two"] * 2 + ["many"] * 17


async def test_of_a_product_one_message_runs_at_a_time_in_order(host: ScriptHost) -> None:
    slow, order = body("var until = Date.now() + bytes[0]; while (Date.now() < until) {} return 1"), list[int]()

    async def serve(milliseconds: int) -> None:
        await run(host, slow, bytes([milliseconds]))
        order.append(milliseconds)

    await asyncio.gather(*(serve(each) for each in (60, 1, 30, 2)))
    assert order == [60, 1, 30, 2]
    assert len(host.process_ids) == 1


async def test_past_each_bound_messages_are_throttled(host: ScriptHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "CHILDREN_MAX", 0)
    one_product = [asyncio.ensure_future(run(host, ECHO)) for _ in range(RUNS_OF_A_PRODUCT_WAITING_MAX)]
    await asyncio.sleep(0)
    assert (await failure(host, ECHO, GOOD)).code == SCRIPT_THROTTLED
    others = [
        asyncio.ensure_future(run(host, ECHO, product_key=f"a1{number}"))
        for number in range(RUNS_WAITING_MAX - RUNS_OF_A_PRODUCT_WAITING_MAX)
    ]
    await asyncio.sleep(0)
    assert host.waiting_count == RUNS_WAITING_MAX
    assert (await failure(host, ECHO)).code == SCRIPT_THROTTLED
    await host.close()
    assert (host.waiting_count, host.waiting_bytes) == (0, 0)
    ends = await asyncio.gather(*one_product, *others, return_exceptions=True)
    assert {type(end) for end in ends} == {ScriptError}


async def test_past_the_bound_of_bytes_messages_are_throttled(
    host: ScriptHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "CHILDREN_MAX", 0)
    large = b"[" + b" " * (RUN_BYTES_WAITING_MAX // 64 - 2) + b"]"
    fitting = [asyncio.ensure_future(host.run(GOOD, ECHO, F, large)) for _ in range(64)]
    await asyncio.sleep(0)
    assert host.waiting_bytes == RUN_BYTES_WAITING_MAX
    assert (await failure(host, ECHO)).code == SCRIPT_THROTTLED
    await host.close()
    await asyncio.gather(*fitting, return_exceptions=True)


async def test_who_stops_waiting_costs_nobody_anything(host: ScriptHost) -> None:
    waiting = [asyncio.ensure_future(run(host, ECHO)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    assert await waiting[2] == b'{"sum":1}'
