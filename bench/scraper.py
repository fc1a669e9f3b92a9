"""A scraper that reads /metrics once a second, as Prometheus would every fifteen.

It prints `ready` when it has read them once, goes on until a line comes on standard input, and prints one line of JSON.
"""

import base64
import http.client
import json
import select
import sys

from bench.seed import ACCESS_KEY_ID, ACCESS_KEY_SECRET

EVERY_S = 1.0


def scrape(connection: http.client.HTTPConnection) -> bytes:
    """Read the metrics once."""
    credentials = base64.b64encode(f"{ACCESS_KEY_ID}:{ACCESS_KEY_SECRET}".encode()).decode()
    connection.request("GET", "/metrics", headers={"Authorization": f"Basic {credentials}"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or b"linkstead_calls_total" not in body:
        raise SystemExit(f"there are no metrics: {answer.status}")
    return body


def main() -> None:
    """Run the command line: the port of HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    size_bytes, count = len(scrape(connection)), 1
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        size_bytes, count = len(scrape(connection)), count + 1
    print(json.dumps({"scrapes": count, "bytes": size_bytes}), flush=True)


if __name__ == "__main__":
    main()
