"""What the machine offers a benchmark: two cores, a C compiler; and what to write down of it beside results."""

import os
import platform
import resource
import shutil
import socket
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "bench"
BUILD = ROOT / "build" / "bench"
"""Programs, results and data of runs; no part of the repository."""

SERVER_CORE, RIG_CORE = "0", "1"
"""All processes of the server under test on the one, the polling rig on the other."""

BOTH_CORES = "0,1"
"""Of a server whose processes are to have a core each, where there may be no more: the load, which does not poll, is on
one of them as well."""

SPREAD_CORES = "0,2,3"
"""Of a server of several processes, where its rate is what is measured: two workers and the NATS server."""

PRIORITY = "-10"
"""The niceness of what is measured, where root may give it, so that other programs disturb less."""

FLAGS = ["-O2", "-Wall", "-Wno-unused-function", "-Wno-misleading-indentation", "-Wno-format-truncation"]
TLS = ["-DTLS", "-lssl", "-lcrypto"]
PROGRAMS: dict[str, list[list[str]]] = {"rig": [TLS, []], "floor": [[]]}
"""What each is compiled with beside the flags: the first that works. Without OpenSSL's headers the rig has no TLS."""


class CannotMeasure(Exception):
    """The machine lacks what a benchmark needs; the text says what and how to get it."""


def check_machine() -> None:
    """Let every process have as many files as it may. Raises CannotMeasure where there are no two cores to pin to."""
    _, files_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    if shutil.which("taskset") is None:
        raise CannotMeasure("the benchmark needs taskset: apt-get install util-linux")
    if {0, 1} - os.sched_getaffinity(0):
        raise CannotMeasure("the benchmark needs cores 0 and 1: one for the server, one for the load")


def build_programs() -> None:
    """Compile the rig and the floor where their sources are newer.

    Raises:
        CannotMeasure: there is no C compiler, or a program does not compile.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise CannotMeasure(
            f"the benchmark needs a C compiler, and there is no {compiler}: apt-get install gcc, or CC=…"
        )
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, ways in PROGRAMS.items():
        source, program = SOURCES / f"{name}.c", BUILD / name
        newest = max(source.stat().st_mtime, (SOURCES / "common.h").stat().st_mtime)
        if program.exists() and program.stat().st_mtime > newest:
            continue
        for way in ways:
            command = [compiler, *FLAGS, "-o", str(program), str(source), *way, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            if way is not ways[-1]:
                print(f"{name} is built without TLS: apt-get install libssl-dev")
        else:
            raise CannotMeasure(f"{' '.join(command)}\n{done.stderr}")


def pin(core: str) -> list[str]:
    """What stands before a command that runs on one core only."""
    nice = ["nice", "-n", PRIORITY] if os.geteuid() == 0 else []
    return [*nice, "taskset", "-c", core]


def take_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def list_tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += list_tree(int(child))
    except OSError:
        pass
    return found


def read_resident_kib(pid: int) -> int:
    """What a process has resident; 0 where there is none."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * (os.sysconf("SC_PAGESIZE") // 1024)


def describe_machine() -> dict[str, str]:
    """The processor, the memory and the system, as they go beside results."""
    described = {"system": platform.platform(), "cores": str(os.cpu_count())}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            described["processor"] = line.partition(":")[2].strip()
            break
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            described["memory"] = f"{int(line.split()[1]) / 1024 / 1024:.0f} GiB"
    return described


def ask_version(command: list[str]) -> str:
    """The first line of what a program says of its version; empty where it says nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return next(iter((done.stdout + done.stderr).strip().splitlines()), "")
