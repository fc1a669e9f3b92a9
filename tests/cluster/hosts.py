"""Hosts of their own for nodes: network namespaces, each with one link that can be cut and one that cannot. Needs root.

The link `back` leads to the NATS servers and the database, `front` to apps and devices.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

FRONT_NET, BACK_NET = "10.231.1", "10.231.2"
THIS_HOST = 254


def run_ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@dataclass(frozen=True)
class Host:
    """One of them; its address ends in `number`."""

    number: int

    @property
    def namespace(self) -> str:
        return f"linkstead-{self.number}"

    @property
    def front(self) -> str:
        return f"{FRONT_NET}.{self.number}"

    @property
    def prefix(self) -> list[str]:
        """What runs a program there."""
        return ["ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        """Have nothing pass to the servers behind, and nobody told."""
        run_ip("link", "set", f"lsb{self.number}", "nomaster")

    def heal(self) -> None:
        """Have it pass again."""
        run_ip("link", "set", f"lsb{self.number}", "master", "lsb")


@contextlib.contextmanager
def made_hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts, and this one at `THIS_HOST` of both nets."""
    with contextlib.ExitStack() as stack:
        for bridge, net in (("lsf", FRONT_NET), ("lsb", BACK_NET)):
            run_ip("link", "add", bridge, "type", "bridge")
            stack.callback(run_ip, "link", "del", bridge)
            run_ip("addr", "add", f"{net}.{THIS_HOST}/24", "dev", bridge)
            run_ip("link", "set", bridge, "up")
        hosts = [Host(number) for number in range(1, count + 1)]
        for host in hosts:
            run_ip("netns", "add", host.namespace)
            stack.callback(run_ip, "netns", "del", host.namespace)
            run_ip("-n", host.namespace, "link", "set", "lo", "up")
            for bridge, net, name in (("lsf", FRONT_NET, "front"), ("lsb", BACK_NET, "back")):
                here = f"{bridge}{host.number}"
                run_ip("link", "add", here, "type", "veth", "peer", "name", name, "netns", host.namespace)
                # The host goes in its own time, and its ends of the links only then.
                stack.callback(run_ip, "link", "del", here)
                run_ip("link", "set", here, "master", bridge, "up")
                run_ip("-n", host.namespace, "addr", "add", f"{net}.{host.number}/24", "dev", name)
                run_ip("-n", host.namespace, "link", "set", name, "up")
        yield hosts
