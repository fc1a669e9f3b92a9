import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.models import Script, ScriptError, ScriptRunner, ScriptShelf
from linkstead.models.scripts import (
    NO_SCRIPT,
    NOTHING_RETURNED,
    RAW_BYTES_MAX,
    SCRIPT_EMPTY,
    SCRIPTS_CACHED_MAX,
    WRONG_TYPE,
    check_bytes,
    check_object,
    write_bytes,
)

pytestmark = pytest.mark.asyncio

KEY = "a1RawProbe0"


class Shelf:
    """Implements `ScriptStore` in memory, and counts how often it is asked. `gate` holds answers back."""

    def __init__(self, **scripts: str) -> None:
        self.scripts = {key: Script(key, "JavaScript", text, 1) for key, text in scripts.items()}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def add_thing_script(self, script: Script) -> None:
        self.scripts[script.product_key] = script

    async def update_thing_script(self, script: Script) -> bool:
        is_there = script.product_key in self.scripts
        if is_there:
            self.scripts[script.product_key] = script
        return is_there

    async def find_thing_script(self, product_key: str) -> Script | None:
        self.asked += 1
        found = self.scripts.get(product_key)
        await self.gate.wait()
        return found


class Engine:
    """Implements `ScriptEngine`: returns what it is told to, and remembers what was asked."""

    def __init__(self, result: bytes = b"null") -> None:
        self.result = result
        self.runs: list[tuple[str, str, str, object]] = []

    async def run(self, product_key: str, script: str, function: str, arguments: bytes) -> bytes:
        self.runs.append((product_key, script, function, json.loads(arguments)))
        return self.result


async def test_each_function_gets_its_arguments() -> None:
    engine = Engine(b'{"id":"7"}')
    runner = ScriptRunner(ScriptShelf(Shelf(a1RawProbe0="// script")), engine)
    assert await runner.raw_to_protocol(KEY, b"\x00\xff") == b'{"id":"7"}'
    assert await runner.transform_payload(KEY, '/"a"', b"") == b'{"id":"7"}'
    engine.result = b"[1,-1,255]"
    assert await runner.protocol_to_raw(KEY, b'{"id":"7"}') == b"\x01\xff\xff"
    assert engine.runs == [
        (KEY, "// script", "rawDataToProtocol", [[0, 255]]),
        (KEY, "// script", "transformPayload", ['/"a"', []]),
        (KEY, "// script", "protocolToRawData", [{"id": "7"}]),
    ]


@pytest.mark.parametrize(
    ("scripts", "code"), [({}, NO_SCRIPT), ({KEY: ""}, SCRIPT_EMPTY), ({KEY: " \n\t"}, SCRIPT_EMPTY)]
)
async def test_without_a_script_nothing_runs(scripts: dict[str, str], code: int) -> None:
    engine = Engine()
    runner = ScriptRunner(ScriptShelf(Shelf(**scripts)), engine)
    with pytest.raises(ScriptError) as caught:
        await runner.raw_to_protocol(KEY, b"")
    assert caught.value.code == code
    assert str(caught.value) == f"{caught.value.text} ({code})"
    assert engine.runs == []


@pytest.mark.parametrize("result", [b"", b"null", b"{}", b"[]"])
async def test_nothing_returned_is_said_so(result: bytes) -> None:
    runner = ScriptRunner(ScriptShelf(Shelf(a1RawProbe0="// script")), Engine(result))
    for run in (runner.raw_to_protocol(KEY, b""), runner.protocol_to_raw(KEY, b"{}")):
        with pytest.raises(ScriptError) as caught:
            await run
        assert caught.value.code == NOTHING_RETURNED


@pytest.mark.parametrize("result", [b"7", b'"{}"', b"true", b"[{}]"])
async def test_what_is_no_object_is_refused(result: bytes) -> None:
    with pytest.raises(ScriptError, match="not an object") as caught:
        check_object(result)
    assert caught.value.code == WRONG_TYPE


async def test_an_object_has_256_kb_at_most() -> None:
    largest = b'{"a":"%b"}' % (b"x" * (RAW_BYTES_MAX - 8))
    assert check_object(largest) == largest
    with pytest.raises(ScriptError, match="over 262144 B"):
        check_object(largest + b" ")


@pytest.mark.parametrize("result", [b"7", b'"x"', b"{}", b"[1.5]", b"[null]", b"[true]", b'["1"]', b"[[1]]", b"[1e3]"])
async def test_what_is_no_list_of_whole_numbers_is_refused(result: bytes) -> None:
    with pytest.raises(ScriptError) as caught:
        check_bytes(result)
    assert caught.value.code == WRONG_TYPE


async def test_bytes_may_be_signed_and_no_other_number_is_one() -> None:
    assert check_bytes(b"[-128,-1,0,127,128,255]") == bytes([128, 255, 0, 127, 128, 255])
    for result in (b"[-129]", b"[256]"):
        with pytest.raises(ScriptError, match="from -128 to 255"):
            check_bytes(result)


async def test_256_kb_of_bytes_may_be_made_and_no_more() -> None:
    assert len(check_bytes(write_bytes(bytes(RAW_BYTES_MAX)))) == RAW_BYTES_MAX
    with pytest.raises(ScriptError, match="over 262144"):
        check_bytes(write_bytes(bytes(RAW_BYTES_MAX + 1)))


@given(st.binary())
async def test_bytes_come_back_as_they_were_written(payload: bytes) -> None:
    assert check_bytes(write_bytes(payload)) == payload


async def test_a_script_is_read_once_and_forgotten_when_it_changes() -> None:
    store = Shelf()
    shelf = ScriptShelf(store)
    for _ in range(3):
        assert await shelf.find(KEY) is None
    assert store.asked == 1
    first, second = Script(KEY, "JavaScript", "1", 1), Script(KEY, "JavaScript", "2", 2)
    assert not await shelf.update(first)
    await shelf.add(first)
    for _ in range(3):
        assert await shelf.find(KEY) == first
    assert await shelf.update(second)
    assert await shelf.find(KEY) == second
    store.scripts.clear()
    assert await shelf.find(KEY) == second
    shelf.forget_all()
    assert await shelf.find(KEY) is None


async def test_what_was_read_while_it_changed_is_not_kept() -> None:
    store = Shelf(a1RawProbe0="1")
    shelf = ScriptShelf(store)
    store.gate.clear()
    reading = asyncio.ensure_future(shelf.find(KEY))
    await asyncio.sleep(0)
    await shelf.update(Script(KEY, "JavaScript", "2", 2))
    store.gate.set()
    old = await reading
    assert old is not None
    assert old.script == "1"
    now = await shelf.find(KEY)
    assert now is not None
    assert now.script == "2"


async def test_the_script_unused_for_longest_goes_first() -> None:
    store = Shelf()
    shelf = ScriptShelf(store)
    for number in range(SCRIPTS_CACHED_MAX):
        await shelf.find(str(number))
    await shelf.find("0")
    await shelf.find("one more")
    store.asked = 0
    await shelf.find("0")
    assert store.asked == 0
    await shelf.find("1")
    assert store.asked == 1
