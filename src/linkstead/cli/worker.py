"""A worker of `serve --workers`: a whole server that shares its ports with others of the same machine.

It is told its settings on stdin, so that no secret stands where other users see it, and says on stdout that it is
ready. Its supervisor holds stdin open: when that ends, so does the worker.
"""

import asyncio
import logging
import os
import signal
import sys

import click
import msgspec

from linkstead.cli.logs import set_up_logs
from linkstead.cli.process import collect_garbage_rarely, make_loop, make_witness, raise_file_limit
from linkstead.cli.supervisor import Order, Ready
from linkstead.server import Server, StartError

log = logging.getLogger("linkstead.cli.worker")

STDIN = 0


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
    )
    await server.start()
    collect_garbage_rarely()
    try:
        loop.add_signal_handler(signal.SIGHUP, server.reload_certificate)
        click.echo(msgspec.json.encode(Ready(server.access_key_id)))
        log.info("worker ready", extra={"node": server.node})
        await stop.wait()
    finally:
        log.info("worker stopping: calls under way are finished", extra={"node": server.node})
        await server.stop()


if __name__ == "__main__":
    main()
