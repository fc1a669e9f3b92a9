"""A device built with the vendor's Python Link SDK, behind lines of JSON; run by the interpreter that has that SDK.

The first argument is {"identity": {…}, "port", "topics": […], "ca": PEM text or null}. It answers every RRPC with the
request behind `echo:`, and says what happens to it; on a line {"publish": topic, "payload", "qos"} it publishes. It
ends with its stdin.
"""

import json
import os
import sys
import threading
from typing import Any

from linkkit import linkkit

said = threading.Lock()


def say(event: str, **fields: object) -> None:
    with said:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()


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

    device.on_connect = note_connect
    device.on_disconnect = note_disconnect
    device.on_subscribe_topic = note_grants
    device.on_topic_rrpc_message = answer_custom
    device.on_topic_message = take_message
    device.connect_async()
    for line in sys.stdin:
        told = json.loads(line)
        device.publish_topic(told["publish"], told["payload"], told["qos"])
    device.disconnect()
    say("left")
    # The SDK's own threads are waiting for their next round.
    os._exit(0)


main()
