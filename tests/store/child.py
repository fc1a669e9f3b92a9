"""Programs that tests run in a process of its own: `python -m tests.store.child PROGRAM DATABASE [ARGUMENT]`.

Each says on standard output what it did, a line at a time.
"""

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, islice
from pathlib import Path

from sqlalchemy.exc import OperationalError

from linkstead.invocation import CallFilter
from linkstead.registry import AlreadyExists
from linkstead.store import SqliteStore
from linkstead.store.claim import FileClaim
from linkstead.subscription import Dispatcher, Letter
from linkstead.testing.clock import ManualClock
from tests.store.samples import (
    ACCOUNT_ID,
    DESTINATION,
    LAMP,
    PRODUCT_KEY,
    a_call,
    a_device,
    a_message,
    a_model_version,
    a_notice,
    a_point,
    a_product,
    a_session,
    an_account,
    an_open_call,
    until_written,
)

DEVICES_TOGETHER = 3
CALLERS = 8
CALLS_TOGETHER = 2
KEEPS_OF_A_CALLER = 25
LETTERS_TOGETHER = 10


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201


async def register_until_killed(path: Path, prefix: str) -> None:
    """Add a product, then `DEVICES_TOGETHER` devices to it, and so on; each is told of once it is kept."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    with suppress(AlreadyExists):
        await store.add_account(an_account())
    for number in count(1):
        product_key = f"{prefix}x{number}"
        await store.add_product(a_product(product_key))
        say("product", product_key)
        names = [f"lamp-{place}" for place in range(DEVICES_TOGETHER)]
        await store.add_devices([a_device(name, product_key=product_key) for name in names])
        say("devices", product_key)


async def publish_until_killed(path: Path, prefix: str) -> None:
    """Publish a version of a thing model, and another, and so on; each is told of once it is kept."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    for number in count(1):
        version = f"{prefix}.{number}"
        await store.publish_thing_model(a_model_version(version), 1_000_000)
        say("published", version)


async def keep_until_killed(path: Path, first: str) -> None:
    """Keep calls with their messages, `CALLERS` at once; each is told of once it is kept."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    store.record_session(a_session())
    numbers = count(int(first))
    await asyncio.gather(*(keep_calls(store, numbers) for _ in range(CALLERS)))


async def accept_until_killed(path: Path, first: str) -> None:
    """The same as the only server, so that calls are accepted before the history has them; now and then it has."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    await store.take_in_accepted(is_alone=True)
    store.record_session(a_session())
    numbers = count(int(first))

    async def write_history() -> None:
        while True:
            await store.flush()
            await asyncio.sleep(0)

    await asyncio.gather(*(keep_calls(store, numbers) for _ in range(CALLERS)), write_history())


async def keep_calls(store: SqliteStore, numbers: Iterator[int]) -> None:
    """Keep calls of these numbers, `CALLS_TOGETHER` all or none; the id of a message is said beside its call."""
    while together := list(islice(numbers, CALLS_TOGETHER)):
        calls = [an_open_call(number) for number in together]
        ids = await store.keep_calls(calls, [a_message(number) for number in together])
        for number, row_id in zip(together, ids, strict=True):
            say("kept", number, row_id)


async def keep_some(path: Path, first: str) -> None:
    """Once a line comes in, keep calls, `CALLERS` at once, while others do so too."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    say("ready")
    sys.stdin.readline()
    numbers = iter(range(int(first), int(first) + CALLERS * CALLS_TOGETHER * KEEPS_OF_A_CALLER))
    await asyncio.gather(*(keep_calls(store, numbers) for _ in range(CALLERS)))
    await store.close()


async def hand_out_until_killed(path: Path, first: str) -> None:
    """Record notices, hand them out, settle every second one: each is told of once it is on the disk, or settled."""
    clock = ManualClock()
    store = SqliteStore(path, clock)
    await store.open()
    await store.take_over([], int(clock.time_s() * 1000))
    dispatcher = Dispatcher(store, clock)

    class Taker:
        client_id, peer = "client-1", "192.0.2.1:40000"

        def take(self, letters: Sequence[Letter]) -> None:
            for letter in letters:
                if letter.message_id % 2:
                    attachment.accept(letter)

        def dismiss(self) -> None:
            raise AssertionError("nobody deletes the group")

    attachment = dispatcher.attach(DESTINATION, Taker())
    for number in count(int(first)):
        attachment.grant(LETTERS_TOGETHER)
        for place in range(LETTERS_TOGETHER):
            store.record_notice([DESTINATION], a_notice(number * LETTERS_TOGETHER + place))
        await store.flush()
        for place in range(LETTERS_TOGETHER):
            say("recorded", number * LETTERS_TOGETHER + place)


async def add_names(path: Path, prefix: str) -> None:
    """Once a line comes in, try to add devices that others try to add too, and devices of its own."""
    store = SqliteStore(path, ManualClock())
    await store.open()
    say("ready")
    sys.stdin.readline()
    for number in range(100):
        try:
            await store.add_devices([a_device(f"lamp-{number}")])
            say("added", f"lamp-{number}")
        except AlreadyExists as taken:
            say("taken", taken.args[0])
        await store.add_devices([a_device(f"lamp-{prefix}-{number}")])
    await store.close()


async def open_new_files(path: Path, files: str) -> None:
    """Each time a line comes in, open a file that is not there yet, or was not a moment ago."""
    for number in range(int(files)):
        store = SqliteStore(path.with_name(f"{number}.db"), ManualClock())
        sys.stdin.readline()
        await store.open()
        say(await store.registry_version())
        await store.close()


async def fill_the_disk(path: Path, _argument: str) -> None:
    """Record calls while no file may grow, then once it may again."""
    clock = ManualClock()
    store = SqliteStore(path, clock)
    await store.open()
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices([a_device()])
    store.record_call(a_call(1))
    say("before", await store.flush(), store.history_waiting)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(os.stat(file).st_size for file in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    for number in range(2, 1_000):
        store.record_call(a_call(number, request_payload=bytes(1_000)))
        store.record_properties([a_point(str(number))])
    say("full", await store.flush(), store.history_waiting > 0)
    try:
        await store.keep_calls([an_open_call(1_000)], [a_message(payload=bytes(100_000))])
    except OperationalError as refused:
        say("refused", refused.orig)
    say("read", (await store.find_product(PRODUCT_KEY)) == a_product())
    say("listed", len(await store.list_calls(CallFilter(ACCOUNT_ID))) > 0)

    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    clock.advance(60.0)
    await until_written(store)
    await store.keep_calls([an_open_call(1_000)], [a_message()])
    say("after", len(await store.list_calls(CallFilter(ACCOUNT_ID, limit=1_000))), store.history_dropped)
    say("present", [point.value for point in await store.list_present_properties(LAMP)], store.reports_dropped)
    await store.close()


async def claim_until_killed(path: Path, how: str) -> None:
    """Claim the database file: `alone` or `shared`; `inherited`: alone, with a child that has the claim too.

    The child says its pid, and both end with their standard input.
    """
    claim = FileClaim(path, ManualClock())
    assert await claim.take(is_alone=how != "shared")
    assert claim.descriptor is not None
    if how == "inherited":
        program = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
        subprocess.run([sys.executable, "-c", program], pass_fds=[claim.descriptor], check=True)  # noqa: ASYNC221
    else:
        say(os.getpid())
        sys.stdin.read()


PROGRAMS = {
    program.__name__: program
    for program in (
        register_until_killed,
        publish_until_killed,
        keep_until_killed,
        accept_until_killed,
        keep_some,
        hand_out_until_killed,
        add_names,
        open_new_files,
        fill_the_disk,
        claim_until_killed,
    )
}

if __name__ == "__main__":
    name, database, argument = sys.argv[1:]
    asyncio.run(PROGRAMS[name](Path(database), argument))
