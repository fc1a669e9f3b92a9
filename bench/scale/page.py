"""Writes the tables of docs/scale.md from what was measured and what the model makes of it.

Between `<!-- NAME -->` and `<!-- end -->` the page is written by this; all else by hand. What the plots show goes to
a file that `bench.scale.plots` draws from.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from bench.machine import BUILD, ROOT
from bench.results import write_table
from bench.scale.model import (
    CONSTANTS,
    FULL,
    Constants,
    Scenario,
    call_us,
    count_nodes,
    predict,
    read_constants,
    storm_s,
)

PAGE = ROOT / "docs" / "scale.md"
POINTS = BUILD / "scale-points.json"
BLOCK = re.compile(r"<!-- (\w+) -->\n.*?<!-- end -->\n", re.DOTALL)

WORDS: dict[str, tuple[str, str]] = {
    "node_base_bytes": ("a node without devices", "memory of a node"),
    "node_device_bytes": ("a connected device, its subscription and NATS's among it", "memory of a node"),
    "alone_device_bytes": ("the same on a single server", "memory of a node"),
    "kernel_device_bytes": ("a connection in the kernel, without what waits in it", "memory of a node"),
    "nonce_bytes": ("a nonce that is remembered", "memory of a node"),
    "node_batch_us": ("a transaction that it writes, 20 a second at most", "CPU of a node"),
    "node_call_us": ("an RRpc to a device of its own", "CPU of a node"),
    "node_asked_us": ("an RRpc to a device of another node", "CPU of a node"),
    "node_held_us": ("an RRpc of another node to a device of its own", "CPU of a node"),
    "node_shared_us": ("more of an RRpc to another node, where both share a core", "CPU of a node"),
    "node_service_us": ("a synchronous service of its own", "CPU of a node"),
    "node_accepted_us": ("an asynchronous service of its own", "CPU of a node"),
    "node_post_us": ("a property post", "CPU of a node"),
    "node_connect_us": ("a connection, from CONNECT to its end", "CPU of a node"),
    "node_ping_us": ("a ping", "CPU of a node"),
    "node_own_us": ("a connection elsewhere, heard of", "CPU of a node"),
    "node_change_us": ("a change of the registry elsewhere, heard of", "CPU of a node"),
    "node_nonce_us": ("a nonce used elsewhere, heard of", "CPU of a node"),
    "sqlite_call_us": ("an RRpc of a single server on SQLite", "CPU of a node"),
    "nats_base_bytes": ("a NATS server without devices", "memory of a NATS server"),
    "nats_device_bytes": ("a device whose node speaks to this server", "memory of a NATS server"),
    "nats_route_device_bytes": ("a device whose node speaks to another server", "memory of a NATS server"),
    "nats_call_us": ("an RRpc to another node", "CPU of a NATS server"),
    "nats_shared_us": ("more of it, where it shares a core with the nodes", "CPU of a NATS server"),
    "nats_connect_us": ("a connection", "CPU of a NATS server"),
    "nats_delivery_us": ("a delivery more of the same message", "CPU of a NATS server"),
    "nats_lease_us": ("an addition to a counter of quotas", "CPU of a NATS server"),
    "postgres_batch_us": ("a transaction that a node writes, 20 a second at most", "CPU of PostgreSQL"),
    "postgres_call_us": ("an RRpc or a synchronous service", "CPU of PostgreSQL"),
    "postgres_accepted_us": ("an asynchronous service", "CPU of PostgreSQL"),
    "postgres_post_us": ("a property post", "CPU of PostgreSQL"),
    "postgres_connect_us": ("a connection, its beginning and its end", "CPU of PostgreSQL"),
    "postgres_read_us": ("a device of many that are read at once", "CPU of PostgreSQL"),
    "postgres_statement_us": ("a device that is read by itself", "CPU of PostgreSQL"),
    "postgres_accepted_rows": ("an asynchronous service", "rows written"),
    "postgres_post_rows": ("a property post", "rows written"),
    "postgres_connect_rows": ("a connection", "rows written"),
    "postgres_call_wal_bytes": ("an RRpc or a synchronous service", "bytes of PostgreSQL's log"),
    "postgres_accepted_wal_bytes": ("an asynchronous service", "bytes of PostgreSQL's log"),
    "postgres_post_wal_bytes": ("a property post", "bytes of PostgreSQL's log"),
    "postgres_connect_wal_bytes": ("a connection", "bytes of PostgreSQL's log"),
    "postgres_device_bytes": ("a device, with its indexes", "bytes in PostgreSQL"),
    "postgres_call_bytes": ("a call", "bytes in PostgreSQL"),
    "postgres_value_bytes": ("a value of a property", "bytes in PostgreSQL"),
    "sqlite_device_bytes": ("a device, with its indexes", "bytes in SQLite"),
    "sqlite_call_bytes": ("a call", "bytes in SQLite"),
    "call_bytes": ("an RRpc of its own: HTTP, MQTT and the database", "bytes read and written by a node"),
    "remote_bytes": ("more of an RRpc to another node, at both", "bytes read and written by a node"),
    "post_bytes": ("a property post", "bytes read and written by a node"),
    "nats_call_bytes": ("an RRpc to another node", "bytes read and written by a NATS server"),
}
"""What each constant is of, and what it is."""

ALONE_DEVICES_MAX = 50_000
"""More than so many are not for one process: it would take too long to bring them back."""

NODES_MIN = 4
"""Three, and one that may be missing."""

SPARES = 1.5
"""More nodes than are just enough, so that the others bear what one bore that died."""

DEVICES_OF_A_NODE = 250_000
"""Where no number of nodes is enough, so many to a node show what ends it."""


def describe_scenario(devices: float, nodes: int = 1) -> Scenario:
    """Devices that all behave alike: see `HABITS`."""
    return Scenario(
        devices=devices,
        connected=devices,
        rrpc_s=devices / 2_000,
        services_s=devices / 2_000,
        posts_s=devices / 600,
        connects_s=devices / 86_400,
        changes_s=devices * 0.001 / 86_400,
        keep_alive_s=300,
        history_days=1,
        accounts=max(1.0, devices / 10_000),
        nodes=nodes,
    )


HABITS = (
    "every device is connected, for a day at a time, pings every 300 s, posts a property every 10 minutes and is "
    "called every 1,000 s, by RRpc and by a synchronous service in turn; one in a thousand is registered, disabled or "
    "deleted a day; an account has 10,000 devices; histories are to be kept for a day"
)
SIZES = (10_000, 1_000_000, 100_000_000)


def choose_nodes(constants: Constants, devices: float) -> int:
    """How many nodes such devices are given."""
    if devices <= ALONE_DEVICES_MAX:
        return 1
    enough = count_nodes(constants, describe_scenario(devices))
    return max(NODES_MIN, math.ceil(devices / DEVICES_OF_A_NODE if enough is None else enough * SPARES))


def show_bytes(count: float) -> str:
    """A size as people read it."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1_000:
            return f"{count:,.3g} {unit}"
        count /= 1_000
    return f"{count:,.3g} TB"


def show(count: float) -> str:
    """A number with three figures that count."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.3g}"


def write_constants(measured: dict[str, Any]) -> Iterator[str]:
    """What was measured."""
    rows = []
    for name, (of, what) in WORDS.items():
        found = measured["constants"][name]
        spread = f"{found['least']:,.4g}-{found['greatest']:,.4g}"
        unit = {"CPU": "µs", "rows": "rows"}.get(what.split()[0], "B")
        rows.append([what, of, f"{show(found['value'])} {unit}", spread if found["least"] < found["greatest"] else ""])
    yield from write_table(["what", "of", "median", "rounds"], rows)
    machine = {**measured["machine"], **measured["versions"]}
    yield f"Measured on {measured['date']}: {', '.join(f'{key} {text}' for key, text in machine.items())}."


def write_combined(measured: dict[str, Any], constants: Constants) -> Iterator[str]:
    """A load that no constant was taken from, beside what the model says of it."""
    predicted = call_us(constants, describe_combined(measured), on_one_core=True)
    rows = []
    for part, title in (("nodes", "all nodes"), ("nats", "NATS server"), ("postgres", "PostgreSQL")):
        found = measured["combined"][part]
        rows.append(
            [title, f"{found['value']:.0f}", f"{predicted[part]:.0f}", f"{predicted[part] / found['value']:.2f}"]
        )
    total = sum(measured["combined"][part]["value"] for part in predicted)
    rows.append(["all", f"{total:.0f}", f"{sum(predicted.values()):.0f}", f"{sum(predicted.values()) / total:.2f}"])
    yield from write_table(["CPU µs a call", "measured", "by the model", "ratio"], rows)


def describe_combined(measured: dict[str, Any]) -> Scenario:
    """Three nodes, each called and connected to; a third of the calls services."""
    calls_s = measured["combined"]["calls_s"]["value"]
    return Scenario(
        devices=256, connected=256, rrpc_s=calls_s * 0.67, services_s=calls_s * 0.33, nodes=3, nats_servers=1
    )


def write_sizes(constants: Constants) -> Iterator[str]:
    """What the model makes of three sizes."""
    columns = [describe_size(constants, devices) for devices in SIZES]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    yield from write_table(["", *(f"{devices:,} devices" for devices in SIZES)], rows)


def describe_size(constants: Constants, devices: float) -> dict[str, str]:
    """What so many devices need."""
    nodes = choose_nodes(constants, devices)
    scenario = describe_scenario(devices, nodes)
    found = predict(constants, scenario)
    node, postgres = found.part("node"), found.part("PostgreSQL")
    told = {
        "calls a second, all": show(scenario.calls_s),
        "nodes": f"{nodes:,}",
        "cores of a node": f"{node.cores:.2g}",
        "memory of a node": show_bytes(node.memory_bytes),
        "bytes a node reads and writes, a second": show_bytes(node.network_bytes_s),
        "cores of PostgreSQL": f"{postgres.cores:.2g}",
        "rows PostgreSQL writes, a second": show(postgres.rows_s),
        "log of PostgreSQL, a second": show_bytes(postgres.disk_bytes_s),
        "disk of PostgreSQL": show_bytes(postgres.disk_bytes),
        "cores of each of three NATS servers": "none",
        "memory of each": "none",
        "messages of each, a second": "none",
        "a node died: all its devices are back after": "none",
        "all connections broke: all devices are back after": show_s(storm_s(constants, scenario, 1.0)),
    }
    if scenario.is_cluster:
        nats = found.part("NATS server")
        told |= {
            "cores of each of three NATS servers": f"{nats.cores:.2g}",
            "memory of each": show_bytes(nats.memory_bytes),
            "messages of each, a second": show(nats.messages_s),
            "a node died: all its devices are back after": show_s(storm_s(constants, scenario, 1 / nodes)),
        }
    return told


def show_s(seconds: dict[str, float]) -> str:
    """How long the slowest part takes, and which that is."""
    part = max(seconds, key=lambda each: seconds[each])
    return f"{show(seconds[part])} s ({part})"


def write_workers(constants: Constants) -> Iterator[str]:
    """What two workers come to by the sum of their parts."""
    local = constants.node_call_us
    rows = [
        ["a call to a device of the same node", show(local), "1"],
        ["where the app called", show(constants.node_asked_us), ratio(constants.node_asked_us, local)],
        ["where the device is", show(constants.node_held_us), ratio(constants.node_held_us, local)],
        ["the NATS server", show(constants.nats_call_us), ratio(constants.nats_call_us, local)],
    ]
    crossing = constants.node_asked_us + constants.node_held_us + constants.nats_call_us
    rows.append(["a call to a device of another node", show(crossing), ratio(crossing, local)])
    both = (local + crossing) / 2 + constants.node_nonce_us
    rows.append(["two workers, half of the calls each way", show(both), ratio(both, local)])
    shared = both + (constants.node_shared_us + constants.nats_shared_us) / 2
    rows.append(["the same, as measured on one core", show(shared), ratio(shared, local)])
    yield from write_table(["", "CPU µs", "of a call to the same node"], rows)


def ratio(above: float, below: float) -> str:
    """A ratio with two digits."""
    return f"{above / below:.2f}"


def write_walls(constants: Constants) -> Iterator[str]:
    """How near each wall is at three sizes."""
    found = [predict(constants, describe_scenario(devices, choose_nodes(constants, devices))) for devices in SIZES]
    names = sorted({wall.name for each in found for wall in each.walls})
    rows = []
    for name in names:
        row = [name]
        for each in found:
            share = next((wall.share for wall in each.walls if wall.name == name), None)
            text = "" if share is None else f"{share:.0%}" if share < 10 else f"{share:,.0f} times"
            row.append(f"**{text}**" if share is not None and share >= 1 else text)
        rows.append(row)
    yield from write_table(["used of", *(f"{devices:,} devices" for devices in SIZES)], rows)
    firsts = [each.first_wall for each in found]
    told = ", ".join(
        f"{devices:,} devices: {wall.name if wall else 'none'}" for devices, wall in zip(SIZES, firsts, strict=True)
    )
    yield f"The first wall, by how far it is passed: {told}."


def write_page(text: str, measured: dict[str, Any], constants: Constants) -> str:
    """The page with its tables written anew."""
    blocks = {
        "constants": lambda: write_constants(measured),
        "combined": lambda: write_combined(measured, constants),
        "habits": lambda: iter([f"All of them are alike: {HABITS}."]),
        "sizes": lambda: write_sizes(constants),
        "walls": lambda: write_walls(constants),
        "workers": lambda: write_workers(constants),
    }

    def fill(match: re.Match[str]) -> str:
        lines = "\n".join(blocks[match[1]]()).strip()
        return f"<!-- {match[1]} -->\n{lines}\n<!-- end -->\n"

    return BLOCK.sub(fill, text)


def list_points(constants: Constants) -> dict[str, dict[str, list[list[float]]]]:
    """What the plots show: by plot and line, the two axes."""
    nodes = list(range(1, 33))
    steps = [10.0 ** (exponent / 4) for exponent in range(16, 33)]
    rates: list[float] = []
    costs: list[float] = []
    for count in nodes:
        scenario = Scenario(devices=1e5, connected=1e5, rrpc_s=1_000.0, nodes=count)
        node = predict(constants, scenario).part("node")
        idle = predict(constants, Scenario(devices=1e5, connected=1e5, nodes=count)).part("node")
        rates.append(1_000.0 * (FULL - idle.cores) / (node.cores - idle.cores))
        costs.append(sum(call_us(constants, scenario).values()))
    needed: dict[str, list[float]] = {name: [] for name in ("all nodes", "NATS servers", "PostgreSQL")}
    for devices in steps:
        chosen = max(2, choose_nodes(constants, devices))
        found = predict(constants, describe_scenario(devices, chosen))
        for line, name in (("all nodes", "node"), ("NATS servers", "NATS server"), ("PostgreSQL", "PostgreSQL")):
            part = found.part(name)
            needed[line].append(part.cores * part.processes)
    return {
        "rate-by-nodes": {"any node is called": [list(map(float, nodes)), rates]},
        "call-by-nodes": {"nodes, NATS server and PostgreSQL": [list(map(float, nodes)), costs]},
        "cores-by-devices": {line: [steps, each] for line, each in needed.items()},
    }


def main() -> None:
    """Write the tables, and the file of the plots."""
    measured, constants = json.loads(CONSTANTS.read_text()), read_constants()
    PAGE.write_text(write_page(PAGE.read_text(), measured, constants))
    POINTS.parent.mkdir(parents=True, exist_ok=True)
    POINTS.write_text(json.dumps(list_points(constants)))
    print(f"wrote {PAGE.relative_to(ROOT)} and {POINTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
