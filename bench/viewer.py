"""Somebody who has the console's list of calls open: logs in, follows it live, and counts what was shown.

It prints `ready` when the list is open, goes on until a line comes on standard input, and prints one line of JSON.
"""

import http.client
import json
import re
import select
import sys
import urllib.parse

from bench.seed import ACCESS_KEY_ID, ACCESS_KEY_SECRET

READ_BYTES_MAX = 1 << 20
_DROPPED = re.compile(rb"event: rows\ndata: ([0-9]+)\n")


def log_in(port: int) -> str:
    """The cookie of a session."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    form = urllib.parse.urlencode({"name": ACCESS_KEY_ID, "secret": ACCESS_KEY_SECRET})
    connection.request("POST", "/console/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    connection.close()
    if answer.status != 303 or not cookie:
        raise SystemExit(f"the console does not let the viewer in: {answer.status}")
    return cookie


def follow(port: int, cookie: str) -> dict[str, int]:
    """Read the live list until standard input says that it is enough."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/console/calls/live", headers={"Cookie": cookie, "Accept": "text/event-stream"})
    sock = connection.sock
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"the list of calls cannot be followed: {answer.status}")
    print("ready", flush=True)
    seen = b""
    shown = dropped = 0
    while True:
        ready, _, _ = select.select([sock, sys.stdin], [], [])
        if sys.stdin in ready:
            return {"shown": shown, "dropped": dropped}
        part = answer.read1(READ_BYTES_MAX)
        if not part:
            raise SystemExit("the server has ended the list")
        seen += part
        *events, seen = seen.split(b"\n\n")
        for event in events:
            shown += event.count(b'<tr id="call-')
            found = _DROPPED.search(event + b"\n")
            dropped += int(found[1]) if found else 0


def main() -> None:
    """Run the command line: the port of HTTP."""
    port = int(sys.argv[1])
    print(json.dumps(follow(port, log_in(port))), flush=True)


if __name__ == "__main__":
    main()
