"""A device built with the vendor's Python Link SDK that registers; run by the interpreter that has that SDK.

The first argument is {"product_key", "device_name", "product_secret", "auth_type", "port", "ca": PEM text, "token":
null or what an earlier run was told}. Without a token it asks for its secret or for a token, by `auth_type`, and says
what it got; with one it connects, and answers every RRPC with the request behind `echo:`. It ends with its stdin.
"""

import json
import os
import sys
from typing import Any

from linkkit import linkkit


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def main() -> None:
    settings = json.loads(sys.argv[1])
    token = settings["token"]
    device = linkkit.LinkKit(
        host_name="127.0.0.1",
        product_key=settings["product_key"],
        device_name=settings["device_name"],
        device_secret="",
        product_secret=settings["product_secret"],
        auth_type=settings["auth_type"],
        **(token or {}),
    )
    device.config_mqtt(endpoint="127.0.0.1", port=settings["port"], cadata=settings["ca"])

    def take_secret(code: int, secret: str | None, _data: Any) -> None:
        say("secret", code=code, secret=secret)

    def take_token(code: int, client_id: str | None, username: str | None, password: str | None) -> None:
        say("token", code=code, token={"client_id": client_id, "username": username, "password": password})

    def note_connect(_session_present: int, code: int, _data: Any) -> None:
        say("connect", code=code)

    def note_disconnect(code: int, _data: Any) -> None:
        say("disconnect", code=code)

    def answer(topic: str, payload: bytes, _qos: int, _data: Any) -> None:
        device.publish_topic(topic.replace("request", "response"), b"echo:" + payload, 0)

    device.on_device_dynamic_register = take_secret
    device.on_device_dynamic_register_nwl_reply = take_token
    device.on_connect = note_connect
    device.on_disconnect = note_disconnect
    device.on_topic_message = answer
    device.connect_async()
    sys.stdin.read()
    # The SDK's own threads are waiting for their next round.
    os._exit(0)


main()
