"""Measures what the model needs, on real components: PostgreSQL, NATS servers, nodes as users start them.

Everything of the server runs on one core, the load on another. CPU is what the processes were charged, less what they
take when nothing happens; rows, bytes and messages are counted. It writes constants.json beside the model.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import re
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
import urllib.request
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count as count_up
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from bench.machine import (
    BUILD,
    PRIORITY,
    RIG_CORE,
    ROOT,
    SERVER_CORE,
    CannotMeasure,
    ask_version,
    build_programs,
    check_machine,
    describe_machine,
    list_tree,
    pin,
    take_ports,
)
from bench.results import spread
from bench.run import RIG_S_MAX
from bench.scale.model import CONSTANTS
from bench.scenarios import ACTIVE_DEVICES
from bench.seed import PRODUCT_KEY, name_device, seed
from bench.servers import Contender, Ground, Process, Stack, environment_of, find_nats_server, serve
from linkstead.api.nonces import NonceWindow
from linkstead.cluster import frames
from linkstead.cluster.frames import Changed
from linkstead.cluster.nats_bus import NatsBus
from linkstead.cluster.quotas import SharedQuotas
from linkstead.cluster.subjects import Subjects
from linkstead.invocation import Call, Diagnosis, Stage, Verdict
from linkstead.registry import DeviceKey
from linkstead.registry.registry import DEVICE
from linkstead.server import SystemClock
from linkstead.store.batches import BATCH_DELAY_S
from linkstead.store.postgres import PostgresStore
from tests.nats_server import NatsServer, running_nats, running_nats_cluster
from tests.postgres import PostgresServer

STORM_DEVICES = 4_000
ACTIVE = f"--devices {ACTIVE_DEVICES} --conns 64"
INTERESTS = 100_000
"""Devices that NATS servers are told of, to see what each takes."""

DELIVERIES, LISTENERS = 20_000, 8
CHANGES = 5_000
LEASES = 5_000
PINGING, PINGS = 100, 100
NONCES = 100_000
READS, ROWS_OF_A_READ = 40, 500
WRITES, ROWS_OF_A_WRITE = 200, 100
STATISTICS_S = 11.0
"""After so long every process of PostgreSQL has told its counts."""

IDLE_S = 3.0
POSTGRES = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}
CPU_TICKS_S = os.sysconf("SC_CLK_TCK")
KERNEL_OBJECTS = ("TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi")
"""What the kernel keeps for a connection. Source: /proc/slabinfo."""

Figures = dict[str, list[float]]


class Nodes(NamedTuple):
    """Nodes, a NATS server and PostgreSQL that run."""

    stack: Stack
    http: list[int]
    mqtt: list[int]
    pids: dict[str, int]
    nats_monitor: int
    database: str
    postgres: int


def tell(text: str) -> None:
    """Show progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def cpu_us(pid: int) -> float:
    """What the threads of a process were charged, to the nanosecond."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e3


def tree_cpu_us(pid: int) -> float:
    """What a process and its children were charged, those that have ended among them, to a hundredth of a second."""
    charged = 0
    for each in list_tree(pid):
        try:
            words = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        charged += sum(map(int, words[11:15]))
    return charged * 1e6 / CPU_TICKS_S


def memory_bytes(pid: int) -> float:
    """What a process has in memory."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024.0 if found else 0.0


def transferred_bytes(pid: int) -> float:
    """What a process has read and written, sockets included."""
    counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return float(counts["rchar"]) + float(counts["wchar"])


@contextmanager
def running_nodes(count: int, postgres: PostgresServer, database: str) -> Iterator[Nodes]:
    """So many nodes of a cluster."""
    *ports, monitor = take_ports(2 * count + 1)
    http, mqtt = ports[:count], ports[count:]

    def start(ground: Ground) -> list[Process]:
        nats = [find_nats_server() or "nats-server", "-a", "127.0.0.1", "-p", str(ground.https), "-m", str(monitor)]
        nats += ["-js", "-sd", str(ground.folder / "jetstream")]
        processes = [Process("nats", nats, ground.https)]
        for place in range(count):
            where = ("--http", f"127.0.0.1:{http[place]}", "--mqtt", f"127.0.0.1:{mqtt[place]}")
            nodes = ("--nats", f"nats://127.0.0.1:{ground.https}", "--database", postgres.url(database))
            command = serve(ground, ground.folder / "data", *nodes, *where)
            processes.append(Process(f"node{place}", command, http[place], environment_of(ground)))
        return processes

    with Stack("nodes", contender=Contender("nodes", start)) as stack:
        pids = dict(stack.list_processes())
        yield Nodes(stack, http, mqtt, pids, monitor, postgres.url(database), postgres.pid)


def run_rig(rig: str, http: list[int], mqtt: list[int], pids: dict[str, int], secs: float) -> dict[str, Any]:
    """One load. Raises CannotMeasure: the rig gave no result, or a reply was wrong."""
    command = [*pin(RIG_CORE), str(BUILD / "rig"), "--spin", "1", "--secs", str(secs), "--warmup", "1", *rig.split()]
    command += ["--http", f"127.0.0.1:{','.join(map(str, http))}", "--mqtt", f"127.0.0.1:{','.join(map(str, mqtt))}"]
    for name, pid in pids.items():
        command += ["--pid", f"{name}={pid}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RIG_S_MAX)
    if done.returncode or not done.stdout:
        raise CannotMeasure(f"rig {rig}: {done.stdout[-400:]} {done.stderr[-400:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def ask_nats(port: int) -> dict[str, int]:
    """What a NATS server says of itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/varz", timeout=10) as answer:
        said: dict[str, int] = json.load(answer)
    return said


def query(url: str, *statements: str) -> list[float]:
    """The one figure that each statement gives."""

    async def run() -> list[float]:
        connection = await asyncpg.connect(url)
        try:
            return [float(await connection.fetchval(statement)) for statement in statements]
        finally:
            await connection.close()

    return asyncio.run(run())


CALLS = "SELECT (SELECT COUNT(*) FROM call_history) + (SELECT COALESCE(SUM(call_count), 0) FROM call_segment)"
"""How many calls are kept, in rows and in segments."""

COUNTS = (
    "SELECT COALESCE(SUM(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables",
    "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')",
    CALLS,
    "SELECT COUNT(*) FROM property_history",
    "SELECT pg_total_relation_size('call_history') + pg_total_relation_size('call_segment')",
    "SELECT pg_total_relation_size('property_history')",
)


class Count(NamedTuple):
    """What was charged and counted between two moments."""

    seconds: float
    cpu_us: dict[str, float]
    transferred_bytes: dict[str, float]
    rows: float
    wal_bytes: float
    calls: float
    values: float
    call_table_bytes: float
    value_table_bytes: float


def count(nodes: Nodes, work: Callable[[], Any]) -> Count:
    """What work comes to, in every process of the server."""

    def look() -> tuple[float, dict[str, float], dict[str, float], list[float]]:
        charged = {name: cpu_us(pid) for name, pid in nodes.pids.items()}
        charged["postgres"] = tree_cpu_us(nodes.postgres)
        transferred = {name: transferred_bytes(pid) for name, pid in nodes.pids.items()}
        return time.monotonic(), charged, transferred, query(nodes.database, *COUNTS)

    began_s, charged, transferred, counted = look()
    work()
    time.sleep(STATISTICS_S)
    ended_s, charged_then, transferred_then, counted_then = look()
    return Count(
        ended_s - began_s,
        {name: charged_then[name] - charged[name] for name in charged},
        {name: transferred_then[name] - transferred[name] for name in transferred},
        *(later - earlier for later, earlier in zip(counted_then, counted, strict=True)),
    )


def measure_nodes(nodes: Nodes, secs: float, batch_us: float) -> dict[str, float]:
    """Two nodes: apps at the first, devices at the second; and all at the second."""
    found: dict[str, float] = {}
    home = nodes.pids["node1"]
    idle = count(nodes, lambda: time.sleep(IDLE_S))

    def less_idle(counted: Count, name: str) -> float:
        return counted.cpu_us[name] - idle.cpu_us[name] / idle.seconds * counted.seconds

    def rows_less_idle(counted: Count) -> float:
        return counted.rows - idle.rows / idle.seconds * counted.seconds

    def wal_less_idle(counted: Count) -> float:
        return counted.wal_bytes - idle.wal_bytes / idle.seconds * counted.seconds

    first, second = slice(0, 1), slice(1, 2)

    def load(rig: str, apps: slice, devices: slice) -> tuple[Count, dict[str, Any]]:
        http, mqtt = nodes.http[apps], nodes.mqtt[devices]
        results: list[dict[str, Any]] = []
        counted = count(nodes, lambda: results.append(run_rig(rig, http, mqtt, nodes.pids, secs)))
        return counted, results[0]

    found["node_base_bytes"] = memory_bytes(home)
    tell(f"{STORM_DEVICES:,} devices connect and go")
    storm, result = load(f"--devices {STORM_DEVICES} --idle 1", second, second)
    found["node_device_bytes"] = result["procs"]["node1"]["rss_delta_kib"] * 1024 / STORM_DEVICES
    found["node_connect_us"] = less_idle(storm, "node1") / STORM_DEVICES
    found["node_own_us"] = max(0.0, less_idle(storm, "node0") / STORM_DEVICES)
    found["nats_connect_us"] = less_idle(storm, "nats") / STORM_DEVICES
    found["postgres_connect_us"] = less_idle(storm, "postgres") / STORM_DEVICES
    found["postgres_connect_rows"] = rows_less_idle(storm) / STORM_DEVICES
    found["postgres_connect_wal_bytes"] = wal_less_idle(storm) / STORM_DEVICES
    connecting_us = found["postgres_connect_us"] * ACTIVE_DEVICES
    connecting_rows = found["postgres_connect_rows"] * ACTIVE_DEVICES

    def charge(result: dict[str, Any], name: str) -> float:
        each_us = float(result["procs"][name]["cpu_us_op"])
        return each_us - idle.cpu_us[name] / idle.seconds / float(result["rps"])

    tell("calls on one node")
    local, result = load(ACTIVE, second, second)

    def less_batches(result: dict[str, Any], name: str) -> float:
        return charge(result, name) - batch_us / BATCH_DELAY_S / float(result["rps"])

    found["node_call_us"] = less_batches(result, "node1")
    found["node_nonce_us"] = max(0.0, charge(result, "node0"))
    quiet_nats_us = max(0.0, charge(result, "nats"))
    found["postgres_call_wal_bytes"] = wal_less_idle(local) / local.calls
    found["postgres_call_bytes"] = local.call_table_bytes / local.calls
    found["call_bytes"] = local.transferred_bytes["node1"] / local.calls

    tell("calls to the other node")
    before = ask_nats(nodes.nats_monitor)
    remote, result = load(ACTIVE, first, second)
    after = ask_nats(nodes.nats_monitor)
    found["node_asked_us"] = less_batches(result, "node0")
    found["node_held_us"] = charge(result, "node1")
    found["nats_call_us"] = charge(result, "nats") - quiet_nats_us
    found["nats_call_messages"] = (after["in_msgs"] - before["in_msgs"]) / remote.calls
    found["nats_call_bytes"] = sum(after[name] - before[name] for name in ("in_bytes", "out_bytes")) / remote.calls
    transferred = remote.transferred_bytes["node0"] + remote.transferred_bytes["node1"]
    found["remote_bytes"] = transferred / remote.calls - found["call_bytes"]

    tell("two nodes, each called and connected to")
    result = run_rig(ACTIVE, nodes.http, nodes.mqtt, nodes.pids, secs)
    half = (found["node_call_us"] + found["node_asked_us"] + found["node_held_us"]) / 2 + found["node_nonce_us"]
    crossing = (less_batches(result, "node0") + less_batches(result, "node1") - half) / 0.5
    found["node_shared_us"] = max(0.0, crossing)
    found["nats_shared_us"] = max(0.0, charge(result, "nats") / 0.5 - found["nats_call_us"])

    tell("services and posts on one node")
    found["node_service_us"] = less_batches(
        run_rig(f"{ACTIVE} --call sync", nodes.http[second], nodes.mqtt[second], nodes.pids, secs), "node1"
    )
    accepted, result = load(f"{ACTIVE} --call async", second, second)
    found["node_accepted_us"] = less_batches(result, "node1")
    found["postgres_accepted_us"] = (less_idle(accepted, "postgres") - connecting_us) / accepted.calls
    found["postgres_accepted_rows"] = (rows_less_idle(accepted) - connecting_rows) / accepted.calls
    found["postgres_accepted_wal_bytes"] = wal_less_idle(accepted) / accepted.calls
    posted, result = load(f"{ACTIVE} --call post", second, second)
    found["node_post_us"] = less_batches(result, "node1")
    found["postgres_post_us"] = (less_idle(posted, "postgres") - connecting_us) / posted.values
    found["postgres_post_rows"] = (rows_less_idle(posted) - connecting_rows) / posted.values
    found["postgres_post_wal_bytes"] = wal_less_idle(posted) / posted.values
    found["postgres_value_bytes"] = posted.value_table_bytes / posted.values
    found["post_bytes"] = posted.transferred_bytes["node1"] / posted.values

    tell("pings, and changes of the registry")
    pinged = count(nodes, lambda: ping(nodes.mqtt[1]))
    found["node_ping_us"] = max(0.0, less_idle(pinged, "node1") / (PINGING * PINGS))
    port = nodes.stack.ground.https
    changed = count(nodes, lambda: asyncio.run(tell_changes(f"nats://127.0.0.1:{port}")))
    found["node_change_us"] = max(0.0, less_idle(changed, "node0") / CHANGES)
    return found


def ping(port: int) -> None:
    """Connect some devices that ping, each again when it is answered."""
    opened = []
    for index in range(PINGING):
        name, secret = name_device(index)
        signed = f"clientIdscaledeviceName{name}productKey{PRODUCT_KEY}"
        password = hmac.new(secret.encode(), signed.encode(), hashlib.sha1).hexdigest()
        texts = ("scale|securemode=3,signmethod=hmacsha1|", f"{name}&{PRODUCT_KEY}", password)
        body = b"\0\4MQTT\4\xc2" + struct.pack(">H", 300)
        body += b"".join(struct.pack(">H", len(text)) + text.encode() for text in texts)
        length = bytes(_encode_length(len(body)))
        opened.append(socket.create_connection(("127.0.0.1", port), timeout=30))
        opened[-1].sendall(b"\x10" + length + body)
    for connection in opened:
        if connection.recv(4, socket.MSG_WAITALL) != b"\x20\2\0\0":
            raise CannotMeasure("a device was not let in")
    for _ in range(PINGS):
        for connection in opened:
            connection.sendall(b"\xc0\0")
        for connection in opened:
            connection.recv(2, socket.MSG_WAITALL)
    for connection in opened:
        connection.sendall(b"\xe0\0")
        connection.close()


def _encode_length(length: int) -> Iterator[int]:
    while length > 127:
        yield length % 128 | 128
        length //= 128
    yield length


async def tell_changes(url: str) -> None:
    """Tell nodes of devices that were changed."""
    bus, subjects = NatsBus([url], "scale", lambda: None), Subjects("linkstead")
    await bus.connect()
    for number in range(CHANGES):
        bus.publish(subjects.invalid(DEVICE, PRODUCT_KEY, f"other{number}"), frames.encode(Changed(node="scale")))
    await bus.flush()
    await bus.close()


async def tell_of_devices(servers: list[NatsServer]) -> tuple[float, float, float]:
    """Bytes of a NATS server, of a device whose node speaks to it, and of one whose node speaks to another server."""
    pids = [server.process.pid for server in servers if server.process is not None]
    empty = [memory_bytes(pid) for pid in pids]
    bus, subjects = NatsBus([servers[0].url], "scale", lambda: None), Subjects("scale")
    await bus.connect()
    for number in range(INTERESTS):
        bus.subscribe(subjects.device(DeviceKey(PRODUCT_KEY, name_device(number)[0])), lambda *_: None, "h")
        if number % 1_000 == 0:
            await bus.flush()
    await bus.flush()
    await asyncio.sleep(5.0)  # what the other servers are told comes a moment later
    full = [memory_bytes(pid) for pid in pids]
    own, *others = [(after - before) / INTERESTS for before, after in zip(empty, full, strict=True)]
    await bus.close()
    return empty[0], own, statistics.mean(others)


async def deliver(server: NatsServer) -> float:
    """CPU of a NATS server for one delivery more of the same message."""
    process = server.process
    assert process is not None, "it was started"
    charged = []
    for listeners in (1, LISTENERS):
        buses = [NatsBus([server.url], f"scale-{number}", lambda: None) for number in range(listeners + 1)]
        for bus in buses:
            await bus.connect()
        for bus in buses[1:]:
            bus.subscribe("scale", lambda *_: None)
            await bus.flush()
        before = cpu_us(process.pid)
        for number in range(DELIVERIES):
            buses[0].publish("scale", b"x" * 64)
            if number % 16 == 0:
                await asyncio.sleep(0)
        for bus in buses:
            await bus.flush()
        charged.append(cpu_us(process.pid) - before)
        for bus in buses:
            await bus.close()
    return float(charged[1] - charged[0]) / DELIVERIES / (LISTENERS - 1)


async def lease(server: NatsServer) -> float:
    """CPU of a NATS server for an addition to a counter of quotas."""
    process = server.process
    assert process is not None, "it was started"
    bus, subjects = NatsBus([server.url], "scale", lambda: None), Subjects("scale")
    await bus.connect()
    quotas = SharedQuotas(
        node="scale", limits={"RRpc": 1}, bus=bus, subjects=subjects, clock=SystemClock(), count_nodes=lambda: 1
    )
    await quotas.start()
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    bus.subscribe("scale.*", lambda _subject, _reply, data, _is_nobody: replies.put_nowait(data))
    before = cpu_us(process.pid)
    for number in range(LEASES):
        bus.count(subjects.quota("account", "RRpc", number // 50), 1, f"scale.{number}")
        if number % 16 == 0:
            await asyncio.sleep(0)
    for _ in range(LEASES):
        await asyncio.wait_for(replies.get(), 30)
    charged = cpu_us(process.pid) - before
    await bus.close()
    return charged / LEASES


async def measure_store(url: str, pid: int) -> dict[str, float]:
    """What is read and written of one device or call, and of many at once, by a node's own store."""
    store = PostgresStore(url, SystemClock())
    await store.open()
    keys = [DeviceKey(PRODUCT_KEY, name_device(index)[0]) for index in range(ROWS_OF_A_READ)]
    calls = (describe_call(number, keys[number % len(keys)]) for number in count_up(1))

    async def charge(work: Callable[[], Awaitable[object]], times: int) -> tuple[float, float]:
        """CPU of PostgreSQL and of this process, each time."""
        await work()
        before = tree_cpu_us(pid), time.process_time()
        for _ in range(times):
            await work()
        after = tree_cpu_us(pid), time.process_time()
        return (after[0] - before[0]) / times, (after[1] - before[1]) * 1e6 / times

    async def write(rows: int) -> None:
        for _ in range(rows):
            store.record_call(next(calls))
        await store.flush()

    try:
        read_us, _ = await charge(lambda: store.find_devices(keys), READS)
        one_us, _ = await charge(lambda: store.find_device(keys[0]), READS * 50)
        few_us, few_here_us = await charge(lambda: write(1), WRITES)
        many_us, many_here_us = await charge(lambda: write(ROWS_OF_A_WRITE), WRITES)
    finally:
        await store.close()
    row_us, row_here_us = ((many_us - few_us) / (ROWS_OF_A_WRITE - 1), (many_here_us - few_here_us) / ROWS_OF_A_WRITE)
    return {
        "postgres_read_us": read_us / len(keys),
        "postgres_statement_us": one_us,
        "postgres_call_us": row_us,
        "postgres_batch_us": few_us - row_us,
        "node_batch_us": few_here_us - row_here_us,
    }


def describe_call(number: int, key: DeviceKey) -> Call:
    """A call that has ended, as the rig's are."""
    call = Call(
        request_id=f"SCALE-{os.getpid()}-{number}",
        node="scale-node",
        action="RRpc",
        account_id="100000000000",
        message_id=2**40 + number,
        key=key,
        timeout_ms=5_000,
    )
    for stage in Stage:
        call.mark(stage, time.time(), time.monotonic())
    call.set_answer(b"x" * 64)
    call.end(Verdict.SUCCESS, Diagnosis.ANSWERED)
    return call


def measure_nonces() -> float:
    """Memory of a nonce that is remembered."""
    window = NonceWindow()
    tracemalloc.start()
    for number in range(NONCES):
        window.use("key", str(number), number / 1_000)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / NONCES


def measure_kernel() -> float:
    """What the kernel keeps for a connection that is idle; 0 where it does not say."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = {words[0]: int(words[3]) for line in lines[2:] if (words := line.split())}
    return float(sum(sizes.get(name, 0) for name in KERNEL_OBJECTS))


def measure_alone(data: Path, secs: float) -> dict[str, float]:
    """A single server on SQLite: memory of a device, a call, what is on the disk of it."""
    found = {}
    tell("a single server on SQLite")
    with Stack("linkstead", data=data) as stack:
        pids = dict(stack.list_processes())
        where = [stack.ground.http], [stack.ground.mqtt], pids, secs
        storm = run_rig(f"--devices {STORM_DEVICES} --idle 1", *where)
        found["alone_device_bytes"] = storm["procs"]["server"]["rss_delta_kib"] * 1024 / STORM_DEVICES
        database = stack.ground.folder / "data" / "linkstead.db"
        time.sleep(1.0)
        before = look_at_sqlite(database)
        found["sqlite_call_us"] = run_rig(ACTIVE, *where)["procs"]["server"]["cpu_us_op"]
        time.sleep(1.0)
        after = look_at_sqlite(database)
        found["sqlite_call_bytes"] = (after[0] - before[0]) / (after[1] - before[1])
    return found


def look_at_sqlite(path: Path) -> tuple[int, int]:
    """Bytes of the database, and the calls in it."""
    connection = sqlite3.connect(path)
    try:
        pages, free, size, calls = (
            connection.execute(statement).fetchone()[0]
            for statement in (
                "PRAGMA page_count",
                "PRAGMA freelist_count",
                "PRAGMA page_size",
                CALLS,
            )
        )
    finally:
        connection.close()
    return (pages - free) * size, calls


def measure_combined(nodes: Nodes, secs: float, connect_us: float) -> dict[str, float]:
    """Three nodes, all of them called and connected to, a third of the calls services: CPU of a call, by part."""
    tell("three nodes under a mixed load")
    idle = count(nodes, lambda: time.sleep(IDLE_S))
    results: list[dict[str, Any]] = []
    counted = count(
        nodes,
        lambda: results.append(run_rig(f"{ACTIVE} --mix 33", nodes.http, nodes.mqtt, nodes.pids, secs)),
    )
    calls_s = float(results[0]["rps"])
    charged = {
        name: float(process["cpu_us_op"]) - idle.cpu_us[name] / idle.seconds / calls_s
        for name, process in results[0]["procs"].items()
    }
    of_postgres = counted.cpu_us["postgres"] - idle.cpu_us["postgres"] / idle.seconds * counted.seconds
    rows = counted.rows - idle.rows / idle.seconds * counted.seconds
    return {
        "nodes": sum(each for name, each in charged.items() if name.startswith("node")),
        "nats": charged["nats"],
        "postgres": (of_postgres - ACTIVE_DEVICES * connect_us) / counted.calls,
        "calls_s": calls_s,
        "rows": (rows - 2 * ACTIVE_DEVICES) / counted.calls,
    }


def pin_tree(pid: int) -> None:
    """Have a process that runs, and all below it, on the core of the server."""
    for each in list_tree(pid):
        try:
            os.sched_setaffinity(each, {int(SERVER_CORE)})
            if os.geteuid() == 0:
                os.setpriority(os.PRIO_PROCESS, each, int(PRIORITY))
        except ProcessLookupError:
            continue


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Everything, round by round; it is written after each, so that a run that is cut keeps what it has."""
    figures: Figures = defaultdict(list)
    combined: Figures = defaultdict(list)

    def keep(found: dict[str, float], into: Figures = figures) -> None:
        for name, figure in found.items():
            into[name].append(figure)

    devices = STORM_DEVICES + 1_000
    tell(f"{devices:,} devices in SQLite and in PostgreSQL")
    (folder / "few").mkdir()
    few = look_at_sqlite(seed(sys.executable, ROOT, folder / "few", 1) / "linkstead.db")[0]
    data = seed(sys.executable, ROOT, folder, devices)
    keep({"sqlite_device_bytes": (look_at_sqlite(data / "linkstead.db")[0] - few) / devices})
    postgres = PostgresServer(POSTGRES)
    try:
        postgres.start()
        pin_tree(postgres.pid)
        database = asyncio.run(postgres.make_database())
        url = postgres.url(database)
        (folder / "postgres").mkdir()
        seed(sys.executable, ROOT, folder / "postgres", devices, url)
        keep({"postgres_device_bytes": query(url, "SELECT pg_total_relation_size('device')")[0] / devices})
        keep({"nonce_bytes": measure_nonces(), "kernel_device_bytes": measure_kernel()})
        tell(f"{INTERESTS:,} devices on three NATS servers")
        with running_nats_cluster(folder) as servers:
            base, own, route = asyncio.run(tell_of_devices(servers))
        keep({"nats_base_bytes": base, "nats_device_bytes": own, "nats_route_device_bytes": route})
        for turn in range(arguments.rounds):
            tell(f"round {turn + 1} of {arguments.rounds}")
            with running_nats(folder) as server:
                keep({"nats_delivery_us": asyncio.run(deliver(server)), "nats_lease_us": asyncio.run(lease(server))})
            keep(asyncio.run(measure_store(url, postgres.pid)))
            keep(measure_alone(data, arguments.secs))
            with running_nodes(2, postgres, database) as nodes:
                keep(measure_nodes(nodes, arguments.secs, figures["node_batch_us"][-1]))
            with running_nodes(3, postgres, database) as nodes:
                connect_us = figures["postgres_connect_us"][-1]
                keep(measure_combined(nodes, arguments.secs, connect_us), combined)
            write(arguments, turn + 1, postgres.version, figures, combined)
    finally:
        postgres.close()


def write(arguments: argparse.Namespace, rounds: int, postgres: str, figures: Figures, combined: Figures) -> None:
    """Write what there is."""
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "versions": {
            "Python": ask_version([sys.executable, "--version"]),
            "PostgreSQL": postgres,
            "NATS": ask_version([find_nats_server() or "nats-server", "--version"]),
            "commit": ask_version(["git", "-C", str(ROOT), "describe", "--always"]),
        },
        "rounds": rounds,
        "secs": arguments.secs,
        "constants": {name: describe(each) for name, each in sorted(figures.items())},
        "combined": {name: describe(each) for name, each in sorted(combined.items())},
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    tell(f"wrote {arguments.out}")


def describe(figures: list[float]) -> dict[str, float]:
    """The median of some rounds, the least and the greatest."""
    found = spread(figures)
    return {"value": round(found.median, 3), "least": round(found.least, 3), "greatest": round(found.greatest, 3)}


def main() -> int:
    """Measure and write; the exit code is 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--secs", type=float, default=3.0, help="of each load, after one second of warming up")
    parser.add_argument("--out", type=Path, default=CONSTANTS)
    arguments = parser.parse_args()
    try:
        check_machine()
        build_programs()
        with tempfile.TemporaryDirectory(prefix="linkstead-scale-") as place:
            measure(arguments, Path(place))
    except CannotMeasure as error:
        print(f"bench-scale: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
