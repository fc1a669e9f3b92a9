"""What is used of nats-py that it does not promise: a later version that has none of it has to be seen here first."""

import ast
import asyncio
import inspect
import re
from importlib.metadata import version

import pytest
from nats.aio.client import Client
from nats.protocol.parser import Parser

from linkstead.cluster import nats_bus
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.nats_parser import Listening, MessageParser
from tests.nats_server import NatsServer

ADVICE = (
    f"nats-py {version('nats-py')} is not what linkstead.cluster.nats_bus was written for: go through what it uses of "
    "the client, then change this table and the bounds in pyproject.toml"
)

OF_CLIENT = {
    "_flush_queue": asyncio.Queue,
    "_pending": list,
    "_pending_data_size": int,
    "_ps": MessageParser,
    "_sid": int,
    "_subs": dict,
    "_transport": object,
}
"""Attributes of a client that is connected, with what they are."""

METHODS_OF_CLIENT = {"_remove_sub": ["self", "sid", "max_msgs"]}

OF_SUBSCRIPTION = {
    "_attempt_reconnect": {"_max_msgs", "_queue", "_received", "_subject"},
    "_close": {"_message_iterator", "_pending_next_msgs_calls", "_wait_for_msgs_task"},
}
"""What the client asks of the subscriptions that it knows of, where it is not this code which puts them there."""

NOT_ASKED = {"_received"}
"""Asked for only where a number of messages ends a subscription."""


def list_used() -> set[str]:
    """The private attributes of the client that the bus names."""
    used = set()
    for node in ast.walk(ast.parse(inspect.getsource(nats_bus))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = ast.unparse(node.value)
            if owner in ("client", "self._client"):
                used.add(node.attr)
    return used


def test_all_that_is_used_of_the_client_is_in_the_table() -> None:
    assert list_used() == OF_CLIENT.keys() | METHODS_OF_CLIENT.keys()


@pytest.mark.asyncio
async def test_the_client_has_all_that_is_used_of_it(nats_server: NatsServer) -> None:
    fresh = Client()
    assert isinstance(getattr(fresh, "_ps", None), Parser), ADVICE
    bus = NatsBus([nats_server.url], "private", lambda: None)
    await bus.connect()
    found = {name: getattr(bus._client, name, None) for name in OF_CLIENT}
    await bus.close()
    assert all(isinstance(found[name], kind) for name, kind in OF_CLIENT.items()), f"{ADVICE}: {found}"
    writer = getattr(found["_transport"], "_io_writer", None)
    assert isinstance(writer, asyncio.StreamWriter), ADVICE
    for name, parameters in METHODS_OF_CLIENT.items():
        assert list(inspect.signature(getattr(Client, name)).parameters) == parameters, ADVICE


def test_the_client_asks_of_its_subscriptions_what_those_of_the_bus_have() -> None:
    for name, asked in OF_SUBSCRIPTION.items():
        source = inspect.getsource(getattr(Client, name))
        assert set(re.findall(r"\bsub\.(_\w+)", source)) == asked, ADVICE
    names = set().union(*OF_SUBSCRIPTION.values()) - NOT_ASKED
    listening = Listening("subject", "group", lambda *_: None)
    assert all(hasattr(listening, name) for name in names), ADVICE
