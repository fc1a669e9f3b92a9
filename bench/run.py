"""Measures RRpc calls against `linkstead serve` and the C floor, interleaved, and prints the ratio of each round.

The server is pinned to one core and the polling rig to another. Only ratios of one round mean anything: the machine's
own speed moves by tens of per cent.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ACCESS_KEY = ("LTAIbenchKey0000", "benchAccessKeySecret0000000000")
PRODUCT_KEY = "a1benchPk01"
SERVER_CORE, RIG_CORE = "0", "1"


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seed(folder: Path, devices: int) -> None:
    """Make the account, the product and the devices that the rig expects."""
    linkstead = [sys.executable, "-m", "linkstead"]
    data = ["--data", str(folder / "data")]
    rows = folder / "devices.csv"
    with rows.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_key", "device_name", "device_secret"])
        for index in range(devices):
            name = f"dev{index:06d}"
            # The rig derives the same secret from the name; nothing is protected by it.
            digest = hashlib.sha1(f"secret:{name}".encode(), usedforsecurity=False).hexdigest()
            writer.writerow([PRODUCT_KEY, name, digest[:32]])
    key = ["--access-key-id", ACCESS_KEY[0], "--access-key-secret", ACCESS_KEY[1]]
    quiet = subprocess.DEVNULL
    subprocess.run([*linkstead, "account", "create", "bench", *key, *data], check=True, stdout=quiet)
    product = ["product", "create", "Bench", "--product-key", PRODUCT_KEY]
    subprocess.run([*linkstead, *product, *data], check=True, stdout=quiet)
    subprocess.run([*linkstead, "device", "create", "--csv", str(rows), *data], check=True, stdout=quiet)


def start_server(folder: Path, http: int, mqtt: int) -> subprocess.Popen[bytes]:
    """`linkstead serve`, pinned, with the quota lifted."""
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "linkstead", "serve", "--quota", "RRpc=0"]
    command += ["--http", f"127.0.0.1:{http}", "--mqtt", f"127.0.0.1:{mqtt}", "--data", str(folder / "data")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_floor(tools: Path, http: int, mqtt: int) -> subprocess.Popen[bytes]:
    """The same hop in C, with every check."""
    command = ["taskset", "-c", SERVER_CORE, str(tools / "floor"), "--mode", "sig2"]
    return subprocess.Popen([*command, "--http", str(http), "--mqtt", str(mqtt)], stdout=subprocess.DEVNULL)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once the port takes connections."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise SystemExit("the server under test ended before it listened")


def run_rig(tools: Path, http: int, mqtt: int, pid: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One measurement; every reply is checked by the rig."""
    command = ["taskset", "-c", RIG_CORE, str(tools / "rig"), "--spin", "1", "--pid", f"server={pid}"]
    command += ["--http", f"127.0.0.1:{http}", "--mqtt", f"127.0.0.1:{mqtt}"]
    command += ["--conns", str(arguments.conns), "--devices", str(arguments.devices), "--secs", str(arguments.secs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(name: str, tools: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Start one server, load it, stop it."""
    http, mqtt = free_port(), free_port()
    process = start_floor(tools, http, mqtt) if name == "floor" else start_server(folder, http, mqtt)
    try:
        wait_for(http, process)
        wait_for(mqtt, process)
        return run_rig(tools, http, mqtt, process.pid, arguments)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def main() -> None:
    """Run the rounds and print a line each, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--conns", type=int, default=64)
    parser.add_argument("--devices", type=int, default=256)
    parser.add_argument("--secs", type=float, default=3.0)
    arguments = parser.parse_args()
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        raise SystemExit("bench needs taskset (util-linux) and two cores")
    ratios = []
    print("round  server       calls/s  CPU us/call  p50 ms  p99 ms  RSS MiB  errors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seed(folder, arguments.devices)
        for turn in range(1, arguments.rounds + 1):
            cost = {}
            for server in ("floor", "linkstead"):
                result = measure(server, arguments.tools, folder, arguments)
                used, latency = result["procs"]["server"], result["lat_us"]
                cost[server] = used["cpu_us_op"]
                print(
                    f"{turn:5d}  {server:9s}  {result['rps']:9.0f}  {used['cpu_us_op']:11.1f}"
                    f"  {latency['p50'] / 1000:6.2f}  {latency['p99'] / 1000:6.2f}"
                    f"  {used['rss_kib'] / 1024:7.1f}  {result['errors']:6d}",
                    flush=True,
                )
            ratios.append(cost["linkstead"] / cost["floor"])
    rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"CPU per call, linkstead / floor: median {statistics.median(ratios):.2f} ({rounds})")


if __name__ == "__main__":
    main()
