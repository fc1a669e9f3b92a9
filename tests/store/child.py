"""Programs that tests run in a process of its own: `python -m tests.store.child PROGRAM DATABASE [ARGUMENT]`.

Each says on standard output what it did, a line at a time.
"""

import asyncio
import os
import resource
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

from linkstead.invocation import CallFilter
from linkstead.registry import AlreadyExists
from linkstead.store import SqliteStore
from linkstead.testing.clock import ManualClock
from tests.store.samples import ACCOUNT_ID, PRODUCT_KEY, a_call, a_device, a_product, an_account, until_written

DEVICES_TOGETHER = 3


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
    store.record_call(a_call(1))
    say("before", await store.flush(), store.history_waiting)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(os.stat(file).st_size for file in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    for number in range(2, 1_000):
        store.record_call(a_call(number, request_payload=bytes(1_000)))
    say("full", await store.flush(), store.history_waiting > 0)
    say("read", (await store.find_product(PRODUCT_KEY)) == a_product())
    say("listed", len(await store.list_calls(CallFilter(ACCOUNT_ID))) > 0)

    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    clock.advance(60.0)
    await until_written(store)
    await store.add_devices([a_device()])
    say("after", len(await store.list_calls(CallFilter(ACCOUNT_ID, limit=1_000))), store.history_dropped)
    await store.close()


PROGRAMS = {program.__name__: program for program in (register_until_killed, add_names, open_new_files, fill_the_disk)}

if __name__ == "__main__":
    name, database, argument = sys.argv[1:]
    asyncio.run(PROGRAMS[name](Path(database), argument))
