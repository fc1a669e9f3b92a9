"""The server as an operator starts it: `python -m linkstead serve`, in its own process, with the system's clock."""

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.sdk.child import Child, read_object
from tests.sdk.identity import Key

COMMAND = (sys.executable, "-m", "linkstead")
KEY = Key("LTAIsdktests", "Zk3vT9qYw2LmXc7RbN5sHd8JfG4p")
HTTP_WAIT_S = 10.0


class Installation:
    """A running server with an empty store and one access key.

    Args:
        folder: of its database; made where it is missing.
        options: of `serve`, besides the endpoints: free ports of 127.0.0.1.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        ready_file = folder / "ready.json"
        endpoints = ("--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        places = ("--data", str(self.data), "--ready-file", str(ready_file), "--log-format", "json")
        environment = {
            **os.environ,
            "LINKSTEAD_ACCESS_KEY_ID": KEY.access_key_id,
            "LINKSTEAD_ACCESS_KEY_SECRET": KEY.access_key_secret,
        }
        command = (*COMMAND, "serve", *endpoints, *places, *options)
        self._child = Child(command, missing="make venv", environment=environment, reads_errors=True)
        while read_object(self._child.line()).get("message") != "ready":
            pass
        ready = json.loads(ready_file.read_bytes())
        self.http: str = ready["http"]
        self.https: str | None = ready["https"]
        ports = {name: int(ready[name].rpartition(":")[2]) for name in ("mqtt", "amqp", "amqps") if ready[name]}
        self.mqtt_port = ports["mqtt"]
        self.amqp_port, self.amqps_port = ports.get("amqp"), ports.get("amqps")

    def stop(self) -> None:
        """Stop the server; it has to end well, and to have logged no error in its life, and no secret."""
        assert self._child.stop() == 0
        logged = self._child.rest()
        assert [line for line in logged if read_object(line).get("level") not in ("INFO", "WARNING")] == []
        assert not any(KEY.access_key_secret in line for line in logged)

    def find_call(self, call_id: object) -> dict[str, Any]:
        """The record of a call, by its message id or the request id of its answer: what the inspection API shows."""
        request = urllib.request.Request(f"http://{self.http}/_linkstead/calls/{call_id}")
        credentials = base64.b64encode(":".join(KEY).encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
        with urllib.request.urlopen(request, timeout=HTTP_WAIT_S) as response:
            record: dict[str, Any] = json.load(response)
        return record
