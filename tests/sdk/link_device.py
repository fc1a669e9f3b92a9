"""A device built with the vendor's Python Link SDK, behind lines of JSON; run by the interpreter that has that SDK.

The first argument is {"identity": {…}, "port", "topics": […], "ca": PEM text or null, "tsl": file or null, "services":
{identifier: {"data": {…}, "held": bool}}}. It answers every RRPC with the request behind `echo:`, and each service with
its data, one that is held only on a line {"release": [indices]}; it says what happens to it. On a line {"publish":
topic, "payload", "qos"} it publishes, on {"post": {…}} it posts properties, on {"gateway": function, "devices": [[…]]}
it is a gateway: see `GATEWAY_FUNCTIONS`. It ends with its stdin.
"""

import json
import logging
import os
import sys
import threading
from typing import Any

from linkkit import linkkit

TOPIC_LOGGED = "__on_internal_async_message topic:"
"""What the SDK's log has before the topic of every message, in quotes."""

GATEWAY_FUNCTIONS = ("add_subdev_topo", "delete_subdev_topo", "login_subdev", "logout_subdev", "register_subdev")
"""What a gateway can ask; each is told of on its own event."""

said = threading.Lock()


def say(event: str, **fields: object) -> None:
    with said:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


class TopicLog(logging.Handler):
    """Says the topic of what came: the SDK tells its handlers the name of a service alone."""

    def emit(self, record: logging.LogRecord) -> None:
        _, logged, topic = record.getMessage().partition(TOPIC_LOGGED)
        if logged:
            say("topic", topic=topic.strip("'"))


def main() -> None:
    settings = json.loads(sys.argv[1])
    identity = settings["identity"]
    key, name = identity["product_key"], identity["device_name"]
    device = linkkit.LinkKit(
        host_name="127.0.0.1", product_key=key, device_name=name, device_secret=identity["device_secret"]
    )
    secured = settings["ca"] is not None
    device.config_mqtt(
        endpoint="127.0.0.1", port=settings["port"], secure="TLS" if secured else "", cadata=settings["ca"]
    )

    def note_connect(session_present: int, code: int, _data: Any) -> None:
        say("connect", session_present=session_present, code=code)
        if code == 0:
            for topic in settings["topics"]:
                say("rrpc topic", topic=topic, code=device.subscribe_rrpc_topic(topic)[0])
            device.subscribe_topic(f"/ext/ntp/{key}/{name}/response", 0)

    def note_disconnect(code: int, _data: Any) -> None:
        say("disconnect", code=code)

    def note_grants(_packet_id: int, granted: Any, _data: Any) -> None:
        say("granted", qos=list(granted))

    def answer_custom(call_id: str, topic: str, payload: bytes, _qos: int, _data: Any) -> None:
        say("request", topic=topic, payload=payload.decode())
        device.thing_answer_rrpc(call_id, b"echo:" + payload)

    def take_message(topic: str, payload: bytes, _qos: int, _data: Any) -> None:
        if "/rrpc/request/" in topic:
            say("request", topic=topic, payload=payload.decode())
            device.publish_topic(topic.replace("request", "response"), b"echo:" + payload, 0)
        else:
            say("message", topic=topic, payload=payload.decode())

    services = settings["services"]
    held: list[tuple[str, str]] = []

    def answer_service(identifier: str, request_id: str, params: Any, _data: Any) -> None:
        is_held = services[identifier].get("held", False)
        if is_held:
            held.append((identifier, request_id))
        say("service", identifier=identifier, id=request_id, params=params)
        if not is_held:
            device.thing_answer_service(identifier, request_id, 200, services[identifier]["data"])

    def note_set(params: Any, _data: Any) -> None:
        say("set", params=params)

    def note_post(_request_id: str, code: int, _reply: Any, _message: str, _data: Any) -> None:
        say("posted", code=code)

    if settings["tsl"] is not None:
        logging.getLogger("linkkit").addHandler(TopicLog())
        device.enable_logger(logging.DEBUG)
        say("thing", code=device.thing_setup(settings["tsl"]))
    device.on_thing_call_service = answer_service
    device.on_thing_prop_changed = note_set
    device.on_thing_prop_post = note_post

    def note_reply(function: str) -> None:
        def note(_request_id: str, code: int, data: Any, message: str, _data: Any) -> None:
            say(function, code=code, data=data, message=message)

        setattr(device, f"on_gateway_{function}_reply", note)

    def note_change(_request_id: str, params: Any, _data: Any) -> None:
        say("topo change", params=params)

    for function in GATEWAY_FUNCTIONS:
        note_reply(function)
    device.on_gateway_topo_change = note_change
    device.on_connect = note_connect
    device.on_disconnect = note_disconnect
    device.on_subscribe_topic = note_grants
    device.on_topic_rrpc_message = answer_custom
    device.on_topic_message = take_message
    device.connect_async()
    for line in sys.stdin:
        match json.loads(line):
            case {"publish": topic, "payload": payload, "qos": qos}:
                device.publish_topic(topic, payload, qos)
            case {"post": properties}:
                device.thing_post_property(properties)
            case {"release": indices}:
                for identifier, request_id in map(held.__getitem__, indices):
                    device.thing_answer_service(identifier, request_id, 200, services[identifier]["data"])
            case {"gateway": function, "devices": devices}:
                getattr(device, f"gateway_{function}")(devices)
    device.disconnect()
    say("left")
    # The SDK's own threads are waiting for their next round.
    os._exit(0)


main()
