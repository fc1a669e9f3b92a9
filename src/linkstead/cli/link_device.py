"""A device built with the vendor's Python Link SDK, for `demo`: a lamp that answers every call.

Usage: `python -m linkstead.cli.link_device HOST PORT PRODUCT_KEY DEVICE_NAME TOPIC`, the secret in the environment.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from linkkit import linkkit

from linkstead.cli.demo_data import MODEL_PATH
from linkstead.cli.device import DEVICE_SECRET_VARIABLE

FINISHED_AT_MS = "1700000003000"
OUTPUTS: dict[str, Callable[[Any], dict[str, object]]] = {
    "Blink": lambda inputs: {"Executed": inputs["Times"], "FinishedAt": FINISHED_AT_MS},
    "RunScene": lambda inputs: {"Accepted": 1, "Duration": 0.5 * len(inputs["Steps"])},
}
"""What the lamp gives back for a service's inputs."""


def answer(payload: bytes) -> bytes:
    """What the device says to a payload."""
    return b"lamp heard: " + payload


def main() -> None:
    """Connect, take calls on the system topic and on TOPIC, until killed."""
    host, port, product_key, device_name, topic = sys.argv[1:]
    device = linkkit.LinkKit(
        host_name="127.0.0.1",
        product_key=product_key,
        device_name=device_name,
        device_secret=os.environ[DEVICE_SECRET_VARIABLE],
    )
    device.config_mqtt(endpoint=host, port=int(port), secure="")

    # The SDK's callbacks have fixed places, whatever of them is of use.
    def take_connection(_session_flag: int, return_code: int, _user_data: object) -> None:
        if return_code == 0:
            device.subscribe_rrpc_topic(topic)

    def take_message(request_topic: str, payload: bytes, _qos: int, _user_data: object) -> None:
        if "/rrpc/request/" in request_topic:
            device.publish_topic(request_topic.replace("/rrpc/request/", "/rrpc/response/", 1), answer(payload), 0)

    def take_service(identifier: str, request_id: str, inputs: object, _user_data: object) -> None:
        # A synchronous call brings its inputs as an object, an asynchronous one may bring them as text.
        given = json.loads(inputs) if isinstance(inputs, str) else inputs
        answered = OUTPUTS.get(identifier)
        device.thing_answer_service(identifier, request_id, 200, answered(given) if answered else {})

    def take_custom(rrpc_id: str, _topic: str, payload: bytes, _qos: int, _user_data: object) -> None:
        device.thing_answer_rrpc(rrpc_id, answer(payload))

    device.on_connect = take_connection
    device.on_topic_message = take_message
    device.on_topic_rrpc_message = take_custom
    device.on_thing_call_service = take_service
    device.thing_setup(str(MODEL_PATH))
    device.connect_async()
    threading.Event().wait()


if __name__ == "__main__":
    main()
