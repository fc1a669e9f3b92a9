"""How much of what a Linkstead of any size needs, from what was measured on a small one; pure arithmetic.

Everything is a sum of what each device, call, connection and second costs, times how many there are. What does not grow
that way, a bound of the product or of a part, is a wall: the model says how near it is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from linkstead.api.nonces import NONCE_SPAN_S, NONCES_MAX
from linkstead.cluster.nodes import BEAT_S
from linkstead.cluster.nonces import BATCH_NONCES_MAX, BATCH_S
from linkstead.cluster.quotas import LEASE_CALLS_MAX
from linkstead.registry.registry import DEVICES_CACHED_MAX
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.store.postgres import BACKGROUND_CONNECTIONS_MAX, READ_CONNECTIONS_MAX, WRITE_CONNECTIONS_MAX
from linkstead.store.retention import CALL_HISTORY_ROWS_MAX, TELEMETRY_ROWS_MAX

CONSTANTS = Path(__file__).parent / "constants.json"

CORE_US = 1_000_000.0
"""Microseconds of CPU that a core has in a second."""

FULL = 0.7
"""Beyond this share of a core latencies rise steeply, so a part is full then."""

LEASED_FROM_S = 10.0
"""Below so many calls a second of an account on a node each is counted by itself, above it some at a time."""

DAY_S = 86_400.0
REVIEW_S = 300.0
"""Every node reads the rows of its connected devices this often. Source: server.py, HOUSEKEEPING_S."""

POLLS_A_SECOND = 3.0
"""Small statements of a node beside its heartbeat: the registry's version, and what waits for consumers or webhooks."""

CONNECTIONS_OF_A_NODE = READ_CONNECTIONS_MAX + WRITE_CONNECTIONS_MAX + BACKGROUND_CONNECTIONS_MAX
GIB = 1024.0**3


@dataclass(frozen=True)
class Constants:
    """What was measured. CPU in microseconds, of all threads of a process; memory and disk in bytes.

    `node_…` is of a node, `nats_…` of a NATS server, `postgres_…` and `sqlite_…` of a database.
    """

    node_base_bytes: float
    node_device_bytes: float
    alone_device_bytes: float
    kernel_device_bytes: float
    nonce_bytes: float
    node_batch_us: float
    node_call_us: float
    node_asked_us: float
    node_held_us: float
    node_shared_us: float
    node_service_us: float
    node_accepted_us: float
    node_post_us: float
    node_connect_us: float
    node_ping_us: float
    node_own_us: float
    node_change_us: float
    node_nonce_us: float
    nats_base_bytes: float
    nats_device_bytes: float
    nats_route_device_bytes: float
    nats_call_us: float
    nats_shared_us: float
    nats_connect_us: float
    nats_delivery_us: float
    nats_lease_us: float
    nats_call_bytes: float
    call_bytes: float
    remote_bytes: float
    post_bytes: float
    postgres_batch_us: float
    postgres_call_us: float
    postgres_accepted_us: float
    postgres_post_us: float
    postgres_connect_us: float
    postgres_read_us: float
    postgres_statement_us: float
    postgres_accepted_rows: float
    postgres_post_rows: float
    postgres_connect_rows: float
    postgres_call_wal_bytes: float
    postgres_accepted_wal_bytes: float
    postgres_post_wal_bytes: float
    postgres_connect_wal_bytes: float
    postgres_device_bytes: float
    postgres_call_bytes: float
    postgres_value_bytes: float
    sqlite_device_bytes: float
    sqlite_call_bytes: float
    sqlite_call_us: float


def read_constants(path: Path = CONSTANTS) -> Constants:
    """The medians of a file that `bench.scale.measure` wrote."""
    measured: Mapping[str, Mapping[str, float]] = json.loads(path.read_text())["constants"]
    return Constants(**{each.name: float(measured[each.name]["value"]) for each in fields(Constants)})


@dataclass(frozen=True)
class Scenario:
    """What a Linkstead has to bear, and what it has to do it with.

    Args:
        devices: registered.
        connected: at a time.
        rrpc_s, services_s, accepted_s: RRpc, synchronous and asynchronous services a second, all apps together.
        posts_s: property posts a second, all devices together.
        connects_s: connections that begin a second.
        changes_s: changes of the registry a second: devices registered, disabled, deleted.
        keep_alive_s: a device that has nothing to say pings once in this time.
        history_days: how long calls and values are to be kept.
        accounts: whose calls these are, each as many.
        remote: the share of calls that come to another node than their device; None where any node is called.
        nodes, nats_servers: how many there are.
        files_max, postgres_connections_max, postgres_cores, node_memory_bytes, disk_bytes: what a machine gives.
    """

    devices: float
    connected: float
    rrpc_s: float = 0.0
    services_s: float = 0.0
    accepted_s: float = 0.0
    posts_s: float = 0.0
    connects_s: float = 0.0
    changes_s: float = 0.0
    keep_alive_s: float = 300.0
    history_days: float = 30.0
    accounts: float = 1
    remote: float | None = None
    nodes: int = 1
    nats_servers: int = 3
    files_max: float = 1_048_576
    postgres_connections_max: float = 500
    postgres_cores: float = 32
    node_memory_bytes: float = 16 * GIB
    nats_memory_bytes: float = 64 * GIB
    disk_bytes: float = 4_096 * GIB

    @property
    def is_cluster(self) -> bool:
        """Several nodes, with NATS between them; else one process."""
        return self.nodes > 1

    @property
    def others(self) -> int:
        """The nodes that each node speaks to."""
        return self.nodes - 1

    @property
    def remote_share(self) -> float:
        """The share of calls that cross nodes."""
        return self.others / self.nodes if self.remote is None else self.remote if self.is_cluster else 0.0

    @property
    def calls_s(self) -> float:
        """Signed requests a second."""
        return self.rrpc_s + self.services_s + self.accepted_s

    @property
    def records_s(self) -> float:
        """What nodes write in batches a second."""
        return self.calls_s + self.posts_s + self.connects_s

    @property
    def leases_s(self) -> float:
        """Additions to the counters of quotas a second, by all nodes. Source: docs/adr/0026."""
        of_account_and_node = self.calls_s / self.accounts / self.nodes
        return self.calls_s / min(LEASE_CALLS_MAX, max(1.0, of_account_and_node / LEASED_FROM_S))


class Part(NamedTuple):
    """What one process of a kind needs: cores, bytes of memory, messages and rows a second, bytes a second, disk."""

    name: str
    processes: int
    cores: float
    memory_bytes: float
    network_bytes_s: float = 0.0
    messages_s: float = 0.0
    rows_s: float = 0.0
    disk_bytes: float = 0.0
    disk_bytes_s: float = 0.0


class Wall(NamedTuple):
    """A limit: what is used of it, and what it is, in one unit."""

    name: str
    used: float
    limit: float
    unit: str

    @property
    def share(self) -> float:
        """How much of it is used; 1 and more: it is hit."""
        return self.used / self.limit


class Prediction(NamedTuple):
    """What a scenario needs, and its walls, the nearest first."""

    parts: tuple[Part, ...]
    walls: tuple[Wall, ...]

    @property
    def first_wall(self) -> Wall | None:
        """The wall that is hit hardest; None where all holds."""
        return self.walls[0] if self.walls[0].share >= 1 else None

    def part(self, name: str) -> Part:
        """The part of this name. Raises KeyError."""
        return {each.name: each for each in self.parts}[name]


def predict(constants: Constants, scenario: Scenario) -> Prediction:
    """What a scenario needs, part by part, and which wall it hits first."""
    parts = [_node(constants, scenario), _postgres(constants, scenario)]
    if scenario.is_cluster:
        parts.append(_nats(constants, scenario))
    walls = sorted(_walls(constants, scenario, parts), key=lambda wall: -wall.share)
    return Prediction(tuple(parts), tuple(walls))


def count_nodes(constants: Constants, scenario: Scenario, nodes_max: int = 10_000) -> int | None:
    """The least number of nodes none of which is full; None where more nodes do not help."""
    bounds = ("one core of a node", "files of a node", "memory of a node")
    for nodes in _count_up(nodes_max):
        tried = Scenario(**{**vars(scenario), "nodes": nodes})
        walls = {wall.name: wall for wall in predict(constants, tried).walls}
        if all(walls[name].share <= 1 for name in bounds):
            return nodes
    return None


def _count_up(most: int) -> Iterator[int]:
    number = 1
    while number <= most:
        yield number
        number = max(number + 1, number * 21 // 20)


def call_us(constants: Constants, scenario: Scenario, *, on_one_core: bool = False) -> dict[str, float]:
    """CPU of an average synchronous call in all nodes, the NATS server and PostgreSQL, in microseconds.

    Where all of them share one core, as in the measurements, each turns to a message or two at a time, with caches that
    the others have filled: `node_shared_us` and `nats_shared_us` are what that adds to a call that crosses.
    """
    calls_s = scenario.rrpc_s + scenario.services_s
    remote = scenario.remote_share
    services = scenario.services_s / calls_s * (constants.node_service_us - constants.node_call_us)
    at_home = constants.node_call_us * (1 - remote) + constants.node_asked_us * remote
    nonces = constants.node_nonce_us * scenario.others
    batches = batches_s(scenario, calls_s) / calls_s
    return {
        "nodes": at_home
        + services
        + (constants.node_held_us + on_one_core * constants.node_shared_us) * remote
        + nonces
        + batches * constants.node_batch_us,
        "nats": (constants.nats_call_us + on_one_core * constants.nats_shared_us) * remote,
        "postgres": constants.postgres_call_us + batches * constants.postgres_batch_us,
    }


def batches_s(scenario: Scenario, records_s: float) -> float:
    """Transactions in which all nodes write what they record, a second."""
    return scenario.nodes * min(1 / BATCH_DELAY_S, records_s / scenario.nodes)


def storm_s(constants: Constants, scenario: Scenario, share: float) -> dict[str, float]:
    """Seconds that each part works until a share of the devices, which lost their connections at once, are back.

    One part waits for the other, so the slowest says when all are back. A share below one is that of nodes which died.
    """
    devices = scenario.connected * share
    survivors = scenario.nodes if share >= 1 else max(1, round(scenario.nodes * (1 - share)))
    told_us = constants.node_own_us * scenario.others / scenario.nodes
    seconds = {
        "node": devices * (constants.node_connect_us / survivors + told_us) / CORE_US,
        "PostgreSQL": devices * (constants.postgres_connect_us + constants.postgres_statement_us) / CORE_US,
    }
    seconds["PostgreSQL"] /= scenario.postgres_cores
    if scenario.is_cluster:
        deliveries_us = constants.nats_delivery_us * scenario.others
        seconds["NATS server"] = devices * (constants.nats_connect_us + deliveries_us) / CORE_US / scenario.nats_servers
    return seconds


def _node(constants: Constants, scenario: Scenario) -> Part:
    """One node of all: the calls, devices and connections are spread evenly over them."""
    nodes, remote = scenario.nodes, scenario.remote_share
    further_us = constants.node_asked_us - constants.node_call_us + constants.node_held_us
    here_us = (
        scenario.rrpc_s * constants.node_call_us
        + scenario.services_s * constants.node_service_us
        + scenario.accepted_s * constants.node_accepted_us
        + scenario.calls_s * remote * further_us
        + scenario.posts_s * constants.node_post_us
        + scenario.connects_s * constants.node_connect_us
        + scenario.connected / scenario.keep_alive_s * constants.node_ping_us
        + batches_s(scenario, scenario.records_s) * constants.node_batch_us
    ) / nodes
    told_us = _told_us(constants, scenario)
    of_device = constants.node_device_bytes if scenario.is_cluster else constants.alone_device_bytes
    nonces = min(NONCES_MAX, scenario.calls_s * NONCE_SPAN_S)
    memory = (
        constants.node_base_bytes
        + scenario.connected / nodes * (of_device + constants.kernel_device_bytes)
        + nonces * constants.nonce_bytes
    )
    network = (
        scenario.calls_s * (constants.call_bytes + remote * constants.remote_bytes)
        + scenario.posts_s * constants.post_bytes
    ) / nodes
    return Part("node", nodes, (here_us + told_us) / CORE_US, memory, network_bytes_s=network)


def _told_us(constants: Constants, scenario: Scenario) -> float:
    """What all nodes say to all, as each node hears it in a second."""
    return (scenario.others / scenario.nodes) * (
        scenario.connects_s * constants.node_own_us
        + scenario.changes_s * constants.node_change_us
        + scenario.calls_s * constants.node_nonce_us
    )


def _nats(constants: Constants, scenario: Scenario) -> Part:
    """One NATS server of all. What is said on one and heard on another passes both."""
    servers, nodes, others = scenario.nats_servers, scenario.nodes, scenario.others
    batches_s = min(scenario.calls_s / BATCH_NONCES_MAX + nodes / BATCH_S, scenario.calls_s)
    further_deliveries_s = (scenario.connects_s + scenario.changes_s + batches_s) * others
    passes = 1 + (servers - 1) / servers
    cpu_us = passes * (
        scenario.calls_s * scenario.remote_share * constants.nats_call_us
        + scenario.connects_s * constants.nats_connect_us
        + further_deliveries_s * constants.nats_delivery_us
        + scenario.leases_s * constants.nats_lease_us
    )
    interest = constants.nats_device_bytes / servers + constants.nats_route_device_bytes * (servers - 1) / servers
    messages_s = 2 * scenario.calls_s * scenario.remote_share + further_deliveries_s + 2 * scenario.leases_s
    network = scenario.calls_s * scenario.remote_share * constants.nats_call_bytes * passes / servers
    return Part(
        "NATS server",
        servers,
        cpu_us / servers / CORE_US,
        constants.nats_base_bytes + scenario.connected * interest,
        network_bytes_s=network,
        messages_s=messages_s * passes / servers,
    )


def _kept_calls(scenario: Scenario) -> float:
    return (scenario.rrpc_s + scenario.services_s + scenario.accepted_s) * scenario.history_days * DAY_S


def _postgres(constants: Constants, scenario: Scenario) -> Part:
    """The database that all nodes share."""
    synchronous_s = scenario.rrpc_s + scenario.services_s
    read_rows_s = scenario.connected / REVIEW_S if scenario.is_cluster else 0.0
    beat_rows_s = scenario.nodes**2 / BEAT_S if scenario.is_cluster else 0.0
    statements_s = scenario.nodes * (POLLS_A_SECOND + 2 / BEAT_S)
    # A change of the registry has every node read anew what it needs, once a second at most.
    forgotten_s = min(scenario.changes_s, 1.0) * min(
        scenario.nodes * DEVICES_CACHED_MAX, scenario.calls_s + scenario.posts_s + scenario.connects_s
    )
    cpu_us = (
        batches_s(scenario, scenario.records_s) * constants.postgres_batch_us
        + synchronous_s * constants.postgres_call_us
        + scenario.accepted_s * constants.postgres_accepted_us
        + scenario.posts_s * constants.postgres_post_us
        + (scenario.connects_s + scenario.changes_s) * constants.postgres_connect_us
        + (read_rows_s + beat_rows_s) * constants.postgres_read_us
        + (statements_s + forgotten_s) * constants.postgres_statement_us
    )
    rows_s = (
        # Calls that have ended go many to a row: one for each transaction.
        batches_s(scenario, synchronous_s)
        + scenario.accepted_s * constants.postgres_accepted_rows
        + scenario.posts_s * constants.postgres_post_rows
        + scenario.connects_s * constants.postgres_connect_rows
        + scenario.changes_s
        + (scenario.nodes / BEAT_S if scenario.is_cluster else 0.0)
    )
    wal_s = (
        synchronous_s * constants.postgres_call_wal_bytes
        + scenario.accepted_s * constants.postgres_accepted_wal_bytes
        + scenario.posts_s * constants.postgres_post_wal_bytes
        + scenario.connects_s * constants.postgres_connect_wal_bytes
    )
    calls = min(_kept_calls(scenario), CALL_HISTORY_ROWS_MAX)
    values = min(scenario.posts_s * scenario.history_days * DAY_S, TELEMETRY_ROWS_MAX)
    disk = (
        scenario.devices * constants.postgres_device_bytes
        + calls * constants.postgres_call_bytes
        + values * constants.postgres_value_bytes
    )
    return Part(
        "PostgreSQL",
        1,
        cpu_us / CORE_US,
        # What is read at random should fit: the rows of devices.
        scenario.devices * constants.postgres_device_bytes,
        network_bytes_s=wal_s,
        rows_s=rows_s,
        disk_bytes=disk,
        disk_bytes_s=wal_s,
    )


def _walls(constants: Constants, scenario: Scenario, parts: list[Part]) -> Iterator[Wall]:
    by_name = {part.name: part for part in parts}
    node, postgres = by_name["node"], by_name["PostgreSQL"]
    yield Wall("one core of a node", node.cores, FULL, "cores")
    yield Wall("files of a node", scenario.connected / scenario.nodes, scenario.files_max, "devices")
    yield Wall("memory of a node", node.memory_bytes, scenario.node_memory_bytes, "bytes")
    yield Wall("cores of PostgreSQL", postgres.cores, scenario.postgres_cores * FULL, "cores")
    yield Wall("disk of PostgreSQL", postgres.disk_bytes, scenario.disk_bytes, "bytes")
    yield Wall("calls kept", _kept_calls(scenario), CALL_HISTORY_ROWS_MAX, "calls")
    yield Wall("values kept", scenario.posts_s * scenario.history_days * DAY_S, TELEMETRY_ROWS_MAX, "values")
    yield Wall("nonces remembered", scenario.calls_s * NONCE_SPAN_S, NONCES_MAX, "nonces")
    commit_us = constants.postgres_connect_us
    yield Wall("one row that all changes raise", scenario.changes_s * commit_us / CORE_US, FULL, "of its time")
    if not scenario.is_cluster:
        return
    nats = by_name["NATS server"]
    connections = scenario.nodes * CONNECTIONS_OF_A_NODE
    yield Wall("connections of PostgreSQL", connections, scenario.postgres_connections_max, "connections")
    yield Wall("memory of a NATS server", nats.memory_bytes, scenario.nats_memory_bytes, "bytes")
    yield Wall("cores of a NATS server", nats.cores, 16 * FULL, "cores")
    leased_us = scenario.leases_s * constants.nats_lease_us
    yield Wall("the stream of the counters of quotas", leased_us / CORE_US, FULL, "cores")
    yield Wall("what every node is told", _told_us(constants, scenario) / CORE_US, FULL, "cores")
