"""What is measured: suites of loads that are compared with each other, and the targets that their ratios meet."""

from collections.abc import Sequence
from typing import NamedTuple

IDLE_DEVICES = (0, 1_000, 15_000)
ACTIVE_DEVICES = 256
QUOTA_DEVICES = 10_000
STORM_DEVICES = 15_000
VIEWED_RATE = 1_000


class Load(NamedTuple):
    """One measurement: what the rig is told beside ports, processes and seconds."""

    name: str
    rig: tuple[str, ...]
    contenders: tuple[str, ...]
    short: bool = False
    """Part of the short run."""
    spin: bool = True
    consumer: bool = False
    """A consumer of the server-side subscription runs beside the rig."""
    viewer: bool = False
    """Somebody has the console's list of calls open."""
    scraper: bool = False
    """Somebody reads the metrics, once a second."""

    @property
    def tls(self) -> bool:
        """Whether both sides speak TLS."""
        return "--tls" in self.rig

    @property
    def devices(self) -> int:
        """How many devices are connected."""
        return int(self.rig[self.rig.index("--devices") + 1])


class Suite(NamedTuple):
    """Loads that one start of a server bears one after the other; servers take turns."""

    name: str
    title: str
    loads: tuple[Load, ...]


def load(
    name: str,
    rig: str,
    contenders: str,
    *,
    short: bool = False,
    spin: bool = True,
    consumer: bool = False,
    viewer: bool = False,
    scraper: bool = False,
) -> Load:
    """A load from texts with blanks in between; 256 devices unless the text says otherwise."""
    devices = "" if "--devices" in rig else f"--devices {ACTIVE_DEVICES} "
    return Load(name, tuple((devices + rig).split()), tuple(contenders.split()), short, spin, consumer, viewer, scraper)


ALL = "floor linkstead node aedes gmqtt diy"


def idle_load(count: int) -> Load:
    """Calls beside so many devices that say nothing."""
    devices = f"--devices {ACTIVE_DEVICES + count} --active {ACTIVE_DEVICES}"
    return load(f"idle-{count}", f"--conns 64 {devices}", "floor linkstead", short=count in {0, 15_000})


def memory_suite(count: int) -> Suite:
    """Devices that connect in one storm and stay; a start of its own, as memory that was used once stays taken."""
    rig = f"--devices {count} --idle 2"
    return Suite(
        f"memory-{count}",
        f"{count:,} devices connect and stay",
        (load(f"memory-{count}", rig, "linkstead mosquitto node aedes", short=count == STORM_DEVICES),),
    )


SUITES: tuple[Suite, ...] = (
    Suite(
        "rrpc",
        "RRpc with 1, 64 and 256 connections",
        (
            load("rrpc-64", "--conns 64", ALL, short=True),
            load("rrpc-1", "--conns 1", ALL, short=True),
            load("rrpc-256", "--conns 256", ALL),
        ),
    ),
    Suite(
        "services",
        "InvokeThingService beside RRpc",
        (
            load("services-rrpc", "--conns 64", "linkstead", short=True),
            load("services-sync", "--conns 64 --call sync", "linkstead", short=True),
            load("services-async", "--conns 64 --call async", "linkstead", short=True),
        ),
    ),
    Suite(
        "signatures",
        "Signature V1 and V3, GET, POST and form",
        (
            load("v1-get", "--conns 64 --method get", "linkstead", short=True),
            load("v3-get", "--conns 64 --method get --signature v3", "linkstead", short=True),
            load("v1-post", "--conns 64 --method post", "linkstead"),
            load("v3-post", "--conns 64 --method post --signature v3", "linkstead"),
            load("v1-form", "--conns 64 --method form", "linkstead"),
            load("v3-form", "--conns 64 --method form --signature v3", "linkstead"),
        ),
    ),
    Suite(
        "payloads",
        "Payloads of 16 B, 1 KB and 100 KB, as forms",
        tuple(
            load(f"payload-{size}", f"--conns 64 --method form --payload {size}", "floor linkstead")
            for size in (16, 1_024, 102_400)
        ),
    ),
    Suite("idle", "RRpc beside idle devices", tuple(idle_load(count) for count in IDLE_DEVICES)),
    Suite(
        "tls",
        "TLS on both sides",
        (
            load("tls-off", "--conns 64", "linkstead"),
            load("tls-on", "--conns 64 --tls 1", "linkstead"),
            load("tls-on-1", "--conns 1 --tls 1", "linkstead"),
        ),
    ),
    *(memory_suite(count) for count in (1_000, 5_000, STORM_DEVICES)),
    Suite("posts", "Devices post properties", (load("posts-64", "--conns 64 --call post", "linkstead"),)),
    Suite(
        "delivery",
        "Devices post properties, a consumer takes them over AMQP",
        (load("delivery-16", "--conns 16 --call post", "linkstead", spin=False, consumer=True),),
    ),
    Suite(
        "cluster",
        "One process; two nodes, the app at one and the devices at the other; two workers",
        (
            load("cluster-64", "--conns 64", "linkstead remote workers", short=True),
            load("workers-64", "--conns 64", "broad broad-workers", short=True, spin=False),
            load("cores-64", "--conns 64", "linkstead spread"),
        ),
    ),
    Suite(
        "console",
        f"{VIEWED_RATE:,} RRpc a second, and the same while the console's list of calls is open",
        (
            load("console-calls", f"--conns 64 --rate {VIEWED_RATE}", "linkstead", short=True, spin=False),
            load(
                "console-viewer", f"--conns 64 --rate {VIEWED_RATE}", "linkstead", short=True, spin=False, viewer=True
            ),
        ),
    ),
    Suite(
        "metrics",
        "RRpc, and the same while the metrics are read once a second",
        (
            load("metrics-calls", "--conns 64", "linkstead"),
            load("metrics-read", "--conns 64", "linkstead", scraper=True),
        ),
    ),
    Suite(
        "quotas",
        f"1,000 RRpc and 500 services a second, {QUOTA_DEVICES:,} devices; the floor has 1,500 RRpc",
        (
            load("quotas-rrpc", f"--conns 256 --devices {QUOTA_DEVICES} --rate 1500", "floor", short=True),
            load("quotas", f"--conns 256 --devices {QUOTA_DEVICES} --rate 1500 --mix 33", "linkstead", short=True),
        ),
    ),
)


class Target(NamedTuple):
    """A ratio of two figures of one round, and what it has to be."""

    title: str
    above: tuple[str, str]  # load, contender
    below: tuple[str, str]
    metric: str
    must: float
    stretch: float
    at_most: bool


def target(
    title: str, above: str, below: str, metric: str, *, must: float, stretch: float, at_most: bool = False
) -> Target:
    """A target from texts `load contender`; of Linkstead where no contender is named."""

    def place(text: str) -> tuple[str, str]:
        name, _, contender = text.partition(" ")
        return name, contender or "linkstead"

    return Target(title, place(above), place(below), metric, must, stretch, at_most)


STORM = f"memory-{STORM_DEVICES}"
TARGETS: tuple[Target, ...] = (
    target("CPU per RRpc ÷ floor", "rrpc-64", "rrpc-64 floor", "cpu_us_op", must=3.5, stretch=2.6, at_most=True),
    target("calls/s ÷ usual do-it-yourself", "rrpc-64", "rrpc-64 diy", "rps", must=15, stretch=22),
    target("calls/s ÷ hand-written Node.js", "rrpc-64", "rrpc-64 node", "rps", must=1.5, stretch=2.2),
    target("calls/s ÷ aedes + fastify", "rrpc-64", "rrpc-64 aedes", "rps", must=2.5, stretch=3.5),
    target("p50 at one connection ÷ floor", "rrpc-1", "rrpc-1 floor", "p50_us", must=1.7, stretch=1.4, at_most=True),
    target(
        "bytes of an idle device ÷ mosquitto",
        STORM,
        f"{STORM} mosquitto",
        "bytes_per_device",
        must=0.75,
        stretch=0.5,
        at_most=True,
    ),
    target("CPU per CONNECT ÷ mosquitto", STORM, f"{STORM} mosquitto", "cpu_us_op", must=2, stretch=1.3, at_most=True),
    target("synchronous service ÷ RRpc, calls/s", "services-sync", "services-rrpc", "rps", must=0.7, stretch=0.85),
    target("asynchronous service ÷ RRpc, calls/s", "services-async", "services-rrpc", "rps", must=0.5, stretch=0.7),
    target("signature V3 ÷ V1, calls/s", "v3-get", "v1-get", "rps", must=0.8, stretch=0.95),
    target("calls/s with 15,000 idle devices ÷ none", "idle-15000", "idle-0", "rps", must=0.9, stretch=0.97),
    target(
        "CPU per call to another node ÷ one process",
        "cluster-64 remote",
        "cluster-64",
        "cpu_us_op",
        must=2.4,
        stretch=1.8,
        at_most=True,
    ),
    target(
        "CPU per call of two workers ÷ one process",
        "workers-64 broad-workers",
        "workers-64 broad",
        "cpu_us_op",
        must=1.2,
        stretch=1.1,
        at_most=True,
    ),
    target(
        "the same, all of them on one core",
        "cluster-64 workers",
        "cluster-64",
        "cpu_us_op",
        must=1.2,
        stretch=1.1,
        at_most=True,
    ),
    target("calls/s of two workers ÷ one process", "cores-64 spread", "cores-64", "rps", must=1.7, stretch=1.9),
    target(
        "CPU per RRpc, console open ÷ closed",
        "console-viewer",
        "console-calls",
        "cpu_us_op",
        must=1.05,
        stretch=1.03,
        at_most=True,
    ),
    target(
        "CPU per RRpc, metrics read once a second ÷ not",
        "metrics-read",
        "metrics-calls",
        "cpu_us_op",
        must=1.05,
        stretch=1.02,
        at_most=True,
    ),
    target("p99 at the quotas ÷ floor", "quotas", "quotas-rrpc floor", "p99_us", must=2, stretch=1.3, at_most=True),
)


def choose(only: Sequence[str], contenders: Sequence[str], *, short: bool) -> list[Suite]:
    """The suites named, or all; in the short run only the loads that belong to it. Loads may be named as well."""
    chosen = []
    for suite in SUITES:
        kept = []
        for each in suite.loads:
            if only and suite.name not in only and each.name not in only:
                continue
            if short and not each.short and each.name not in only:
                continue
            names = tuple(name for name in each.contenders if not contenders or name in contenders)
            if names:
                kept.append(each._replace(contenders=names))
        if kept:
            chosen.append(suite._replace(loads=tuple(kept)))
    return chosen
