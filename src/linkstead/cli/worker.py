"""A worker of `serve --workers`: a whole server that shares its ports with others of the same machine.

It is told its settings on stdin, so that no secret stands where other users see it, and says on stdout that it is
ready, and then once a second that it is there. Its supervisor holds stdin open: when that ends, so does the worker.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys

import click
import msgspec

from linkstead.cli.logs import set_up_logs
from linkstead.cli.process import (
    collect_garbage_rarely,
    favour_event_loop,
    make_loop,
    make_witness,
    raise_file_limit,
)
from linkstead.cli.supervisor import BEAT_S, Order, Ready
from linkstead.server import Server, StartError

log = logging.getLogger("linkstead.cli.worker")

STDIN, STDOUT = 0, 1
BEAT = b"."


def main() -> None:
    """Be a worker until the supervisor says that it is enough, or is gone."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    set_up_logs(order.settings.log_format)
    raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(_work(order))
    except StartError as error:
        click.echo(f"linkstead: {order.name}: {error}", err=True)
        sys.exit(1)


async def _work(order: Order) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def see_end() -> None:
        if os.read(STDIN, 1):
            return
        loop.remove_reader(STDIN)
        if stop.is_set():
            # The supervisor did not wait for the end of the calls under way; neither does this.
            os._exit(1)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(STDIN, see_end)
    server = Server(
        order.settings,
        is_production=True,
        witness=make_witness(order.settings),
        name=order.name,
        shares_ports=True,
        is_claimed=order.is_claimed,
        near=order.near,
    )
    await server.start()
    collect_garbage_rarely()
    favour_event_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, server.reload_certificate)
        click.echo(msgspec.json.encode(Ready(server.access_key_id)))
        beating = asyncio.create_task(_beat())
        log.info("worker ready", extra={"node": server.node})
        await stop.wait()
    finally:
        log.info("worker stopping: calls under way are finished", extra={"node": server.node})
        await server.stop()
    beating.cancel()


async def _beat() -> None:
    """Say again and again that the event loop turns. A supervisor that is gone or does not listen holds up nothing."""
    os.set_blocking(STDOUT, False)
    while True:
        with contextlib.suppress(OSError):
            os.write(STDOUT, BEAT)
        await asyncio.sleep(BEAT_S)


if __name__ == "__main__":
    main()
