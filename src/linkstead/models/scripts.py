"""The data-parsing scripts of products, and calling their functions. Source: `device-protocol.md` 7.

A script turns what a device of a binary product sends into Alink, and Alink into what it understands.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import msgspec

SCRIPT_BYTES_MAX = 128 * 1024
"""Of a script. Source: `device-protocol.md` 7, the later of two bounds."""

RAW_BYTES_MAX = 256 * 1024
"""Of what a script may make: no larger message can be sent to a device, or is taken from one."""

SCRIPTS_CACHED_MAX = 200
"""Scripts at hand; the one unused for longest goes first."""

RAW_TO_PROTOCOL = "rawDataToProtocol"
PROTOCOL_TO_RAW = "protocolToRawData"
TRANSFORM_PAYLOAD = "transformPayload"

# Numbers of the vendor's log. Source: `device-protocol.md` 5.7.
NO_SCRIPT = 6200
NOTHING_RETURNED = 6201
SCRIPT_EMPTY = 26001
SCRIPT_FAILED = 26002
FUNCTION_MISSING = 26006
WRONG_TYPE = 26007
SCRIPT_THROTTLED = 26010

_NOTHING = (b"", b"null", b"{}", b"[]")


class ScriptError(Exception):
    """A script did not do its work: `code` is the vendor's number, `text` says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Script:
    """The script of a product. `script_type` is the vendor's word for its language."""

    product_key: str
    script_type: str
    script: str
    modified_ms: int


class ScriptStore(Protocol):
    """Durable storage of scripts. A method that returns has written."""

    async def add_thing_script(self, script: Script) -> None:
        """Keep the first script of a product. Raises AlreadyExists("product_key"), ProductGone."""

    async def update_thing_script(self, script: Script) -> bool:
        """Keep a script in place of the one before. False when there is none."""

    async def find_thing_script(self, product_key: str) -> Script | None:
        """The script of a product, or None."""


class ScriptEngine(Protocol):
    """Runs scripts where they can do no harm."""

    async def run(self, product_key: str, script: str, function: str, arguments: bytes) -> bytes:
        """Call a function of a script.

        Args:
            product_key: whose script; those of different products do not wait for each other's runs.
            script: its source.
            function: the name of a function.
            arguments: a JSON list.

        Returns:
            What the function returned, as JSON; empty for what has none.

        Raises:
            ScriptError: 26002, 26006, 26007 or 26010.
        """


class ScriptShelf:
    """The scripts of all products, those that are used at hand."""

    def __init__(self, store: ScriptStore) -> None:
        self._store = store
        self._scripts: OrderedDict[str, Script | None] = OrderedDict()
        self._epoch = 0

    def forget_all(self) -> None:
        """Drop what is kept at hand: a script may have been changed by another process."""
        self._epoch += 1
        self._scripts.clear()

    async def find(self, product_key: str) -> Script | None:
        """The script of a product, or None."""
        if product_key in self._scripts:
            self._scripts.move_to_end(product_key)
            return self._scripts[product_key]
        epoch = self._epoch
        script = await self._store.find_thing_script(product_key)
        if epoch == self._epoch:
            self._scripts[product_key] = script
            if len(self._scripts) > SCRIPTS_CACHED_MAX:
                self._scripts.popitem(last=False)
        return script

    async def add(self, script: Script) -> None:
        """Keep the first script of a product. Raises AlreadyExists("product_key"), ProductGone."""
        try:
            await self._store.add_thing_script(script)
        finally:
            self._forget(script.product_key)

    async def update(self, script: Script) -> bool:
        """Keep a script in place of the one before. False when there is none."""
        try:
            return await self._store.update_thing_script(script)
        finally:
            self._forget(script.product_key)

    def _forget(self, product_key: str) -> None:
        self._epoch += 1
        self._scripts.pop(product_key, None)


class ScriptRunner:
    """Calls the three functions of products' scripts.

    Args:
        shelf: the scripts; of use to those who change them.
        engine: runs them.
    """

    def __init__(self, shelf: ScriptShelf, engine: ScriptEngine) -> None:
        self.shelf = shelf
        self._engine = engine

    async def raw_to_protocol(self, product_key: str, payload: bytes) -> bytes:
        """Make Alink of what a device sent: a JSON object that is not empty, a request or a reply.

        Raises:
            ScriptError: 6200, 6201, 26001, 26002, 26006, 26007 or 26010.
        """
        return check_object(await self._run(product_key, RAW_TO_PROTOCOL, b"[%b]" % write_bytes(payload)))

    async def protocol_to_raw(self, product_key: str, message: bytes) -> bytes:
        """Make of an Alink message, a JSON object, what the device understands: 1 to RAW_BYTES_MAX bytes.

        Raises:
            ScriptError: as `raw_to_protocol`.
        """
        return check_bytes(await self._run(product_key, PROTOCOL_TO_RAW, b"[%b]" % message))

    async def transform_payload(self, product_key: str, topic: str, payload: bytes) -> bytes:
        """Make a JSON object that is not empty of what a device published on a custom topic with `?_sn=default`.

        Raises:
            ScriptError: as `raw_to_protocol`.
        """
        arguments = b"[%b,%b]" % (msgspec.json.encode(topic), write_bytes(payload))
        return check_object(await self._run(product_key, TRANSFORM_PAYLOAD, arguments))

    async def try_out(self, product_key: str, script: str, function: str, arguments: bytes) -> bytes:
        """Run a function of a script that is not the product's yet; see `ScriptEngine.run`."""
        return await self._engine.run(product_key, script, function, arguments)

    async def _run(self, product_key: str, function: str, arguments: bytes) -> bytes:
        found = await self.shelf.find(product_key)
        if found is None:
            raise ScriptError(NO_SCRIPT, "the product has no script")
        if not found.script.strip():
            raise ScriptError(SCRIPT_EMPTY, "the script is empty")
        result = await self._engine.run(product_key, found.script, function, arguments)
        if result in _NOTHING:
            raise ScriptError(NOTHING_RETURNED, f"{function} returned nothing")
        return result


def write_bytes(payload: bytes) -> bytes:
    """Bytes as scripts take them: a JSON list of numbers from 0 to 255."""
    return str([*payload]).encode()


def check_object(result: bytes) -> bytes:
    """A result that has to be a JSON object of RAW_BYTES_MAX bytes at most. Raises ScriptError(26007)."""
    if not result.startswith(b"{"):
        raise ScriptError(WRONG_TYPE, "what the script returned is not an object")
    if len(result) > RAW_BYTES_MAX:
        raise ScriptError(WRONG_TYPE, f"what the script returned has {len(result)} B as JSON, over {RAW_BYTES_MAX} B")
    return result


def check_bytes(result: bytes) -> bytes:
    """A result that has to be a JSON list of up to RAW_BYTES_MAX whole numbers from -128 to 255.

    Scripts that work with signed bytes return -1 for 255. Raises ScriptError(26007).
    """
    try:
        numbers = msgspec.json.decode(result, type=list[int])
    except msgspec.DecodeError:
        raise ScriptError(WRONG_TYPE, "what the script returned is not a list of whole numbers") from None
    if len(numbers) > RAW_BYTES_MAX:
        raise ScriptError(WRONG_TYPE, f"what the script returned has {len(numbers)} bytes, over {RAW_BYTES_MAX}")
    if not all(-128 <= number <= 255 for number in numbers):
        raise ScriptError(WRONG_TYPE, "what the script returned has a number that is not from -128 to 255")
    return bytes(number & 0xFF for number in numbers)
