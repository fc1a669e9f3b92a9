"""A consumer of server-side subscription that counts: which posts of the rig reached it, how late, how often.

It takes everything of the default group, prints `ready`, reads from standard input how many posts there were, waits
for the last of them, and prints one line of JSON. It speaks with Linkstead's own codec; the rig shares its core.
"""

import base64
import hashlib
import hmac
import json
import re
import select
import socket
import sys
import time
import urllib.parse
import urllib.request
import uuid

from bench.seed import ACCESS_KEY_ID, ACCESS_KEY_SECRET, PRODUCT_KEY
from linkstead.amqp.credentials import parse_user_name, sign_login
from linkstead.amqp.frames import (
    AMQP_HEADER,
    HEADER_BYTES,
    SASL_HEADER,
    Accepted,
    Attach,
    Begin,
    Disposition,
    Flow,
    Open,
    SaslInit,
    Source,
    Splitter,
    Target,
    Transfer,
    decode_frame,
    encode_frame,
)

CREDIT = 2_000
LATE_S_MAX = 20.0
"""How long after the last post a message may come."""

_LEVEL = re.compile(rb'"Level":\{[^}]*?"value":([0-9]+)')
_CREATED = re.compile(rb'"gmtCreate":([0-9]+)')


def subscribe(http: int) -> None:
    """Have the default group told what the devices report."""

    def escape(text: str) -> str:
        return urllib.parse.quote(text, safe="-_.~")

    parameters = {
        "AccessKeyId": ACCESS_KEY_ID,
        "Action": "CreateSubscribeRelation",
        "ConsumerGroupIds.1": "DEFAULT_GROUP",
        "DeviceDataFlag": "true",
        "Format": "JSON",
        "ProductKey": PRODUCT_KEY,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureNonce": str(uuid.uuid4()),
        "SignatureVersion": "1.0",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "Type": "AMQP",
        "Version": "2018-01-20",
    }
    query = "&".join(f"{escape(name)}={escape(text)}" for name, text in sorted(parameters.items()))
    signed = hmac.digest(f"{ACCESS_KEY_SECRET}&".encode(), f"GET&%2F&{escape(query)}".encode(), hashlib.sha1)
    query += f"&Signature={escape(base64.b64encode(signed).decode())}"
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/?{query}") as answer:
        said = json.load(answer)
    if said.get("Success") is not True:
        raise SystemExit(f"CreateSubscribeRelation: {said}")


def log_in(port: int) -> socket.socket:
    """A connection whose receiver has credit; what the server says meanwhile is read later."""
    user_name = f"bench|authMode=aksign,signMethod=hmacsha1,timestamp={int(time.time() * 1000)},authId={ACCESS_KEY_ID}|"
    password = sign_login(parse_user_name(user_name), ACCESS_KEY_SECRET)
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    login = SaslInit(mechanism="PLAIN", initial_response=f"\0{user_name}\0{password}".encode())
    attach = Attach(name="bench", handle=0, role=True, source=Source(), target=Target())
    connection.sendall(SASL_HEADER + encode_frame(login) + AMQP_HEADER)
    take(connection, HEADER_BYTES)
    for _ in ("mechanisms", "outcome"):
        take(connection, int.from_bytes(take(connection, 4)) - 4)
    take(connection, HEADER_BYTES)
    connection.sendall(encode_frame(Open(container_id="bench", idle_time_out=60_000)))
    connection.sendall(encode_frame(Begin(next_outgoing_id=0, incoming_window=CREDIT, outgoing_window=CREDIT)))
    connection.sendall(encode_frame(attach) + encode_flow(0, 0))
    return connection


def take(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes. Raises EOFError: there were fewer."""
    data = b""
    while len(data) < size:
        data += (more := connection.recv(size - len(data)))
        if not more:
            raise EOFError("the server closed the connection")
    return data


def encode_flow(seen: int, transfers: int) -> bytes:
    """Credit for CREDIT messages more."""
    return encode_frame(
        Flow(
            next_incoming_id=transfers,
            incoming_window=CREDIT,
            next_outgoing_id=0,
            outgoing_window=CREDIT,
            handle=0,
            delivery_count=seen,
            link_credit=CREDIT,
        )
    )


def consume(connection: socket.socket) -> dict[str, float | int]:
    """Take and accept until all has come, or LATE_S_MAX after standard input said how much that is."""
    splitter = Splitter(1_048_576)
    levels: set[bytes] = set()
    delays_ms: list[float] = []
    seen = transfers = flowed = 0
    expected, end, wire = None, float("inf"), b""
    while (expected is None or len(levels) < expected) and time.monotonic() < end:
        ready, _, _ = select.select([connection, *([] if expected is not None else [sys.stdin])], [], [], 1.0)
        if sys.stdin in ready:
            expected, end = int(sys.stdin.readline()), time.monotonic() + LATE_S_MAX
        if connection not in ready:
            continue
        data = connection.recv(1 << 20)
        if not data:
            raise SystemExit("the server closed the connection")
        splitter.feed(data)
        while (frame := splitter.take_frame()) is not None:
            performative, payload = decode_frame(frame)
            if not isinstance(performative, Transfer):
                continue
            transfers += 1
            wire += payload
            if performative.more:
                continue
            seen += 1
            if (level := _LEVEL.search(wire)) is not None:
                levels.add(level[1])
            if (created := _CREATED.search(wire)) is not None:
                delays_ms.append(time.time() * 1000 - int(created[1]))
            wire = b""
        if seen > flowed:
            connection.sendall(
                encode_frame(Disposition(role=True, first=flowed, last=seen - 1, settled=True, state=Accepted()))
                + encode_flow(seen, transfers)
            )
            flowed = seen
    delays_ms.sort()
    count = len(delays_ms)
    delays = {f"p{part}_ms": delays_ms[count * part // 100] for part in (50, 99)} if count else {}
    return {"received": seen, "unique": len(levels), "missing": (expected or 0) - len(levels), **delays}


def main() -> None:
    """Usage: consumer.py HTTP_PORT AMQP_PORT."""
    http, amqp = int(sys.argv[1]), int(sys.argv[2])
    subscribe(http)
    connection = log_in(amqp)
    print("ready", flush=True)
    print(json.dumps(consume(connection)), flush=True)


if __name__ == "__main__":
    main()
