"""What is measured: suites of loads that are compared with each other, and the targets that their ratios meet."""

from collections.abc import Sequence
from typing import NamedTuple

IDLE_DEVICES = (0, 1_000, 15_000)
CONNECTIONS = (1, 64, 256)
ACTIVE_DEVICES = 256
QUOTA_DEVICES = 10_000


class Load(NamedTuple):
    """One measurement: what the rig is told beside ports, processes and seconds."""

    name: str
    rig: tuple[str, ...]
    contenders: tuple[str, ...]
    short: bool = False  # part of the short run
    spin: bool = True


class Suite(NamedTuple):
    """Loads that one start of a server bears one after the other; servers take turns."""

    name: str
    title: str
    loads: tuple[Load, ...]


def load(name: str, rig: str, contenders: str, *, short: bool = False, spin: bool = True) -> Load:
    """A load from texts with blanks in between; 256 devices unless the text says otherwise."""
    devices = "" if "--devices" in rig else f"--devices {ACTIVE_DEVICES} "
    return Load(name, tuple((devices + rig).split()), tuple(contenders.split()), short, spin)


SUITES: tuple[Suite, ...] = (
    Suite(
        "rrpc",
        "RRpc",
        (
            load("rrpc-64", "--conns 64", "floor linkstead node aedes gmqtt diy", short=True),
            load("rrpc-1", "--conns 1", "floor linkstead node aedes gmqtt diy", short=True),
            load("rrpc-256", "--conns 256", "floor linkstead node aedes gmqtt diy"),
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


TARGETS: tuple[Target, ...] = (
    Target("CPU per RRpc ÷ floor", ("rrpc-64", "linkstead"), ("rrpc-64", "floor"), "cpu_us_op", 3.5, 2.6, True),
    Target("calls/s ÷ usual do-it-yourself", ("rrpc-64", "linkstead"), ("rrpc-64", "diy"), "rps", 15, 22, False),
    Target("calls/s ÷ hand-written Node.js", ("rrpc-64", "linkstead"), ("rrpc-64", "node"), "rps", 1.5, 2.2, False),
    Target("calls/s ÷ aedes + fastify", ("rrpc-64", "linkstead"), ("rrpc-64", "aedes"), "rps", 2.5, 3.5, False),
    Target("p50 at one connection ÷ floor", ("rrpc-1", "linkstead"), ("rrpc-1", "floor"), "p50_us", 1.7, 1.4, True),
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
