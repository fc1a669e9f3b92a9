"""A simulated device without its connection: messages in, messages out.

It has the state of its properties, answers services and property sets as its thing model and behaviour say, and makes
its posts. What it draws depends on its seed and on how often it drew for the same thing before, on nothing else: the
third answer of a service is the same in every run.

Source: `device-protocol.md` 4 and 5, `real-clients.md` 2.3 to 2.5.
"""

import logging
import random
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from linkstead.alink import topics
from linkstead.alink.services import CODE_SUCCESS
from linkstead.mqtt.protocol import PAYLOAD_BYTES_MAX
from linkstead.registry import DeviceKey
from linkstead.simulator.behaviour import Answer, Behaviour, Refuse
from linkstead.tsl import (
    Fault,
    ModelChecker,
    Parameter,
    Property,
    ThingModel,
    ValidateType,
    join_identifier,
    make_sample_values,
    split_identifier,
)
from linkstead.tsl.document import shorten
from linkstead.tsl.limits import DEPTH_MAX, POST_PROPERTIES_MAX
from linkstead.tsl.literal import is_deeper

log = logging.getLogger(__name__)

# What a device says to a call it does not carry out. Source: `device-protocol.md` 5.7.
CODE_NOT_SERVED = 400
CODE_BAD_PARAMETER = 460
CODE_FAILED = 500

ENVELOPE_BYTES_MAX = 128
"""What stands around the properties in a post."""

PROPERTY_SET = "property/set"
METHOD_PREFIX = "thing.service."


class Outgoing(NamedTuple):
    """A message to be published: replies and events at QoS 0, posts of properties at QoS 1, as the vendor's SDKs do."""

    topic: str
    payload: bytes
    qos: int = 0


class _Result(NamedTuple):
    """How a call ended: what goes into the reply, and the properties to be posted then."""

    code: int = CODE_SUCCESS
    message: str = ""
    data: Mapping[str, Any] | None = None
    changed: tuple[str, ...] = ()


class SimulatedThing:
    """One device.

    Args:
        key: who it is.
        model: what it has and can do; None for a device that sends every RRPC back as it came and does nothing else.
        behaviour: what it does of its own.
        seed: the same seed, the same values.
        now_ms: UTC milliseconds, for dates; here and wherever values are drawn.

    Attributes:
        state: the value of each property by its name on the wire, plain JSON values. A behaviour may keep more in it.
    """

    def __init__(
        self, key: DeviceKey, model: ThingModel | None, behaviour: Behaviour, *, seed: str, now_ms: int
    ) -> None:
        self._key = key
        self._behaviour = behaviour
        self._seed = seed
        # As lenient as real devices are: a whole number does for a float.
        self._checker = ModelChecker(model, lenient_float=True) if model is not None else None
        self._properties = _list_properties(model)
        self._streams: dict[str, random.Random] = {}
        # What was drawn last for each property, as JSON.
        self._drawn: dict[str, bytes] = {}
        self._alink_id = 0
        self.state: dict[str, Any] = {}
        for name, found in self._properties.items():
            self._draw_property(name, found, now_ms)

    # --- posts ---

    def post_properties(self, now_ms: int) -> list[Outgoing]:
        """All properties that can be read, as a device posts them when it has connected and now and then after.

        Those that only the device changes have new values each time, until a behaviour gives one a value of its own.
        """
        for name, found in self._properties.items():
            is_drawn = name in self.state and msgspec.json.encode(self.state[name]) == self._drawn[name]
            if is_drawn and not found.is_writable:
                self._draw_property(name, found, now_ms)
        return self._post(self._properties)

    def post_event(self, identifier: str, now_ms: int) -> list[Outgoing]:
        """An event of the model by its name on the wire, its outputs drawn.

        Raises:
            KeyError: the model has no such event.
        """
        found = self._checker.find_event(identifier) if self._checker is not None else None
        if found is None:
            raise KeyError(identifier)
        output = self._draw(f"event {found.identifier}", found.event.output_data, now_ms)
        topic = self._topic(f"thing/event/{found.identifier}/post")
        request = self._request(f"thing.event.{found.identifier}.post", {"value": output})
        return self._send(topic, request)

    def _post(self, names: Iterable[str]) -> list[Outgoing]:
        """The values that these properties have, in as many messages as it takes; no property that cannot be read."""
        sent: list[Outgoing] = []
        params: dict[str, msgspec.Raw] = {}
        size_bytes = ENVELOPE_BYTES_MAX
        for name in names:
            if name not in self.state or "r" not in self._properties[name].access_mode:
                continue
            value = msgspec.json.encode(self.state[name])
            value_bytes = len(name) + len(value) + len('"":,')
            is_full = len(params) == POST_PROPERTIES_MAX or size_bytes + value_bytes > PAYLOAD_BYTES_MAX
            if params and is_full:
                sent += self._send_post(params)
                params, size_bytes = {}, ENVELOPE_BYTES_MAX
            params[name] = msgspec.Raw(value)
            size_bytes += value_bytes
        return sent + self._send_post(params) if params else sent

    def _send_post(self, params: Mapping[str, object]) -> list[Outgoing]:
        return self._send(
            self._topic("thing/event/property/post"), self._request("thing.event.property.post", params), qos=1
        )

    def _request(self, method: str, params: Mapping[str, object]) -> bytes:
        self._alink_id += 1
        return msgspec.json.encode({"id": str(self._alink_id), "version": "1.0", "params": params, "method": method})

    # --- what arrives ---

    def receive(self, topic: str, payload: bytes, now_ms: int) -> list[Outgoing]:
        """Take a message: at most one reply, and the properties that it changed.

        An RRPC that is no Alink request for a service goes back as it came.
        """
        own = self._topic("")
        if topic.startswith("/ext/rrpc/"):
            tail = "/" + topic.split("/", 4)[-1]
            prefix = topics.service(self._key, "")
            identifier = tail.removeprefix(prefix) if tail.startswith(prefix) else None
            return self._answer_rrpc(topic, payload, identifier, now_ms)
        if topic.startswith(own + "rrpc/request/"):
            return self._answer_rrpc(topic.replace("/rrpc/request/", "/rrpc/response/", 1), payload, None, now_ms)
        if self._checker is not None and topic.startswith(own + "thing/service/"):
            request = _read_request(payload)
            if request is not None:
                identifier = topic.removeprefix(own + "thing/service/")
                return self._answer(topic + "_reply", request, identifier, now_ms)
        elif topic.startswith(own) and topic.endswith("_reply"):
            self._take_reply(topic, payload)
            return []
        log.info("message not understood", extra=self._fields(topic=topic))
        return []

    def _answer_rrpc(self, topic: str, payload: bytes, identifier: str | None, now_ms: int) -> list[Outgoing]:
        """Answer on `topic`. The service is the one that the request's topic named, else the one its method names."""
        request = _read_request(payload) if self._checker is not None else None
        if request is None or (identifier is None and topic.startswith("/ext/")):
            return self._send(topic, payload)
        if identifier is None:
            identifier = request["method"].removeprefix(METHOD_PREFIX)
        return self._answer(topic, request, identifier, now_ms)

    def _answer(self, topic: str, request: Mapping[str, Any], identifier: str, now_ms: int) -> list[Outgoing]:
        params = request.get("params", {})
        if not isinstance(params, dict):
            result = _Result(CODE_BAD_PARAMETER, "params must be an object")
        elif identifier == PROPERTY_SET:
            result = self._set_properties(params)
        else:
            result = self._call_service(identifier, params, now_ms)
        reply = _write_reply(request, result)
        if len(reply) > PAYLOAD_BYTES_MAX:
            log.error("reply too large", extra=self._fields(service=identifier, bytes=len(reply)))
            rule = f"the reply is larger than {PAYLOAD_BYTES_MAX} bytes"
            result = result._replace(code=CODE_FAILED, message=rule, data=None)
            reply = _write_reply(request, result)
        log.info("answered", extra=self._fields(service=identifier, code=result.code))
        return self._send(topic, reply) + self._post(result.changed)

    def _take_reply(self, topic: str, payload: bytes) -> None:
        """Log what was refused; there is nothing to be done about it."""
        reply = _read_object(payload) or {}
        if reply.get("code") != CODE_SUCCESS:
            said = {name: shorten(str(reply.get(name))) for name in ("id", "code", "message")}
            log.warning(
                "post refused",
                extra=self._fields(topic=topic, id=said["id"], code=said["code"], reason=said["message"]),
            )

    # --- what is done ---

    def _call_service(self, identifier: str, params: dict[str, Any], now_ms: int) -> _Result:
        assert self._checker is not None
        found = self._checker.find_service(identifier)
        if found is None:
            return _Result(CODE_NOT_SERVED, f"the thing model has no service {shorten(identifier)}")
        fault = found.check_input(params)
        if fault is not None:
            return _Result(CODE_BAD_PARAMETER, fault.message)
        function = self._behaviour.answers.get(found.identifier)
        result = _Result()
        if function is not None:
            result = self._run(function, params, _Snapshot(self.state, self._properties))
        if result.code != CODE_SUCCESS:
            return result
        if result.data is None:
            drawn = self._draw(f"service {found.identifier}", found.service.output_data, now_ms)
            return result._replace(data=drawn)
        self._warn_of(f"service {found.identifier}", found.check_output(result.data, ValidateType.STRICT))
        return result

    def _set_properties(self, items: dict[str, Any]) -> _Result:
        assert self._checker is not None
        fault = self._checker.check_property_set(items)
        if fault is not None:
            return _Result(CODE_BAD_PARAMETER, fault.message)
        before = _Snapshot(self.state, self._properties)
        values = {_name_on_wire(name): value for name, value in items.items()}
        self.state.update(values)
        result = _Result()
        if self._behaviour.on_property_set is not None:
            result = self._run(self._behaviour.on_property_set, dict(values), before)
        if result.code != CODE_SUCCESS:
            return result
        return _Result(changed=tuple(dict.fromkeys((*values, *result.changed))))

    def _run(self, function: Answer, given: dict[str, Any], before: "_Snapshot") -> _Result:
        """Call a function of the user's. Whatever ends it but a good return leaves the state as it was before."""
        try:
            data = function(given, self.state)
            if not isinstance(data, dict | None):
                raise TypeError(f"the function must return a dict or nothing, not {type(data).__name__}")
            # Copies: the function may keep hold of what it hands out.
            data = _copy(data)
            changes = {name: _copy(self.state[name]) for name in before.find_changes(self.state)}
        except Refuse as refused:
            before.restore(self.state)
            return _Result(refused.code, refused.message)
        except (Exception, SystemExit) as error:
            log.exception("fault in the behaviour file", extra=self._fields())
            before.restore(self.state)
            return _Result(CODE_FAILED, f"{type(error).__name__} in the behaviour file")
        self.state.update(changes)
        assert self._checker is not None
        self._warn_of("state", self._checker.check_property_post(changes, ValidateType.STRICT))
        return _Result(data=data, changed=tuple(changes))

    def _warn_of(self, source: str, faults: Mapping[str, Fault]) -> None:
        for fault in faults.values():
            log.warning("behaviour does not fit the model", extra=self._fields(source=source, fault=fault.message))

    # --- drawing and sending ---

    def _draw_property(self, name: str, found: Property, now_ms: int) -> None:
        drawn = self._draw(f"property {name}", (found,), now_ms)[found.identifier]
        self.state[name] = _copy(drawn)
        self._drawn[name] = msgspec.json.encode(self.state[name])

    def _draw(self, purpose: str, parameters: Iterable[Parameter | Property], now_ms: int) -> dict[str, Any]:
        stream = self._streams.get(purpose)
        if stream is None:
            stream = self._streams[purpose] = random.Random(f"{self._seed} {purpose}")
        return dict(make_sample_values(parameters, stream, now_ms))

    def _topic(self, rest: str) -> str:
        return f"/sys/{self._key.product_key}/{self._key.device_name}/{rest}"

    def _send(self, topic: str, payload: bytes, qos: int = 0) -> list[Outgoing]:
        if len(payload) <= PAYLOAD_BYTES_MAX:
            return [Outgoing(topic, payload, qos)]
        log.warning("message too large, not sent", extra=self._fields(topic=topic, bytes=len(payload)))
        return []

    def _fields(self, **others: object) -> dict[str, object]:
        return {"device": str(self._key), **others}


class _Snapshot:
    """A state as it was: properties to the last member, what a behaviour keeps beside them as it is."""

    def __init__(self, state: Mapping[str, Any], properties: Iterable[str]) -> None:
        self._others = dict(state)
        self._properties = tuple(properties)
        self._written = self._write(state)

    def restore(self, state: dict[str, Any]) -> None:
        """Make it so again."""
        state.clear()
        state.update(self._others)
        state.update({name: msgspec.json.decode(value) for name, value in self._written.items()})

    def find_changes(self, state: Mapping[str, Any]) -> list[str]:
        """The properties that have other values now. Raises whatever a value raises that does not go into JSON."""
        return [name for name, value in self._write(state).items() if value != self._written.get(name)]

    def _write(self, state: Mapping[str, Any]) -> dict[str, bytes]:
        return {name: msgspec.json.encode(state[name]) for name in self._properties if name in state}


def _list_properties(model: ThingModel | None) -> dict[str, Property]:
    """All properties by their names on the wire."""
    modules = model.modules if model is not None else ()
    return {
        join_identifier(module.module_id, found.identifier): found for module in modules for found in module.properties
    }


def _name_on_wire(name: str) -> str:
    """`default:Brightness` is `Brightness`."""
    parts = split_identifier(name)
    assert parts is not None  # a property was found by it
    return join_identifier(*parts)


def _read_object(payload: bytes) -> dict[str, Any] | None:
    """A JSON object of a depth that can be dealt with; None for anything else."""
    try:
        found = msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and not is_deeper(found, DEPTH_MAX) else None


def _read_request(payload: bytes) -> dict[str, Any] | None:
    """An Alink request for a service; None for anything else."""
    request = _read_object(payload)
    method = request.get("method") if request is not None else None
    return request if isinstance(method, str) and method.startswith(METHOD_PREFIX) else None


def _copy(value: object) -> Any:
    """The value as it comes out of JSON. Raises whatever a value raises that does not go in."""
    copy = msgspec.json.decode(msgspec.json.encode(value))
    if is_deeper(copy, DEPTH_MAX):
        raise ValueError(f"values are at most {DEPTH_MAX} dicts and lists deep")
    return copy


def _write_reply(request: Mapping[str, Any], result: _Result) -> bytes:
    """The id goes back as it came; `message` is there only when there is something to say, as with the SDKs."""
    alink_id = request.get("id")
    reply = {
        "id": alink_id if isinstance(alink_id, str | int | float) else "",
        "code": result.code,
        "data": {} if result.data is None else result.data,
    }
    return msgspec.json.encode(reply | {"message": result.message} if result.message else reply)
