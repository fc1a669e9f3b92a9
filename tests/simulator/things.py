"""Simulated devices without a connection, and what goes to and fro."""

import json
from collections.abc import Mapping
from typing import Any

from linkstead.registry import DeviceKey
from linkstead.simulator import Behaviour, Outgoing, SimulatedThing, read_behaviour
from linkstead.tsl import ThingModel
from tests.tsl.documents import read_sample

KEY = DeviceKey("a1Lnk5tEad0", "lamp-01")
OWN = "/sys/a1Lnk5tEad0/lamp-01/"
MESSAGE_ID = "889455942124347392"
NOW_MS = 1_700_000_000_000
BLINK = {"Times": 3, "IntervalSec": 0.5}


def make_thing(
    model: ThingModel | str | None = "lamp", source: str = "", *, seed: str = "seed", key: DeviceKey = KEY
) -> SimulatedThing:
    """A device of a sample model or of another, with a behaviour file if there is to be one."""
    model = read_sample(model) if isinstance(model, str) else model
    behaviour = read_behaviour(source, "behaviour.py", model) if source and model else Behaviour()
    return SimulatedThing(key, model, behaviour, seed=seed, now_ms=NOW_MS)


def request(identifier: str, params: object, **members: object) -> bytes:
    """The message of a service call."""
    method = f"thing.service.{identifier}"
    return json.dumps({"id": "7", "version": "1.0", "method": method, "params": params, **members}).encode()


def call(
    thing: SimulatedThing, identifier: str, params: object, *, now_ms: int = NOW_MS
) -> tuple[dict[str, Any], list[Outgoing]]:
    """Call a service asynchronously: its reply, and what else the device sent then."""
    reply, *others = thing.receive(f"{OWN}thing/service/{identifier}", request(identifier, params), now_ms)
    assert (reply.topic, reply.qos) == (f"{OWN}thing/service/{identifier}_reply", 0)
    return read(reply), others


def set_properties(thing: SimulatedThing, items: Mapping[str, object]) -> tuple[dict[str, Any], list[Outgoing]]:
    """Set properties: the reply, and what the device posted then."""
    reply, *posts = thing.receive(f"{OWN}thing/service/property/set", request("property.set", items), NOW_MS)
    assert (reply.topic, reply.qos) == (f"{OWN}thing/service/property/set_reply", 0)
    return read(reply), posts


def read(message: Outgoing) -> dict[str, Any]:
    """The payload of a message."""
    payload: dict[str, Any] = json.loads(message.payload)
    return payload


def posted(messages: list[Outgoing]) -> dict[str, Any]:
    """The properties in some posts, all of them well-formed."""
    values: dict[str, Any] = {}
    for message in messages:
        assert (message.topic, message.qos) == (f"{OWN}thing/event/property/post", 1)
        payload = read(message)
        assert payload.keys() == {"id", "version", "params", "method"}
        assert (payload["version"], payload["method"]) == ("1.0", "thing.event.property.post")
        assert payload["id"].isdigit()
        values |= payload["params"]
    return values
