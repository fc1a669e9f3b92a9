"""The subjects that nodes speak on. Source: `dependencies.md`, "How a call finds its device"."""

from functools import lru_cache
from urllib.parse import quote, unquote

from linkstead.registry import DeviceKey

PREFIX = "ls"
SAFE = "-_@:~!$&'()+,;="
"""Characters of a name that stand for themselves, besides letters and digits. A dot would end the word."""

NODES_MAX = 1_024
"""Nodes of which it is remembered how their names stand in subjects: some do in those of every call."""


class Subjects:
    """The subjects of one cluster.

    Args:
        cluster: its name; clusters of different names may share NATS servers.
    """

    def __init__(self, cluster: str) -> None:
        start = f"{PREFIX}.{_encode(cluster)}."
        self._device = f"{start}d."
        self._own = f"{start}own."
        self._node = f"{start}n."
        self._reply = f"{start}r."
        self._invalid = f"{start}inv."
        self._quota = f"{start}quota."
        self._lease = f"{start}lease."
        self._letters = f"{start}sub."
        self.every_own = f"{self._own}>"
        self.owns = f"{start}owns"
        """Where nodes say what they have said last of devices that they hold; every node listens."""
        self.every_invalid = f"{self._invalid}>"
        self.everybody = f"{start}all"
        self.desks = f"{start}desks"
        self.watches = f"{start}watch"
        """Where it is said what somebody looks at; every node listens."""
        self.invalid_all = f"{self._invalid}all"
        self.every_quota = f"{self._quota}>"
        self.quota_stream = f"LINKSTEAD_{_encode(cluster)}_QUOTA"
        """The stream that the counters of quotas are in. Its name is free of dots, as subjects' words are."""
        self.nonces = f"{start}nonces"
        """Where nodes say which nonces were used; every node listens."""
        self.missed_nonces = f"{start}missed"
        """Where a node asks which nonces were used while it could not hear; every node listens."""

    def device(self, key: DeviceKey) -> str:
        """Where questions for a device go; the node that holds it listens."""
        return f"{self._device}{_encode(key.product_key)}.{_encode(key.device_name)}"

    def own(self, key: DeviceKey) -> str:
        """Where it is said who holds a device from now on; every node listens."""
        return f"{self._own}{_encode(key.product_key)}.{_encode(key.device_name)}"

    def node(self, node: str, what: str) -> str:
        """Where one node is told something; `*` for all that it is told."""
        return f"{self._node}{_encode_node(node)}.{what}"

    def replies(self, node: str) -> str:
        """Where replies to the questions of a node go."""
        return f"{self._reply}{_encode(node)}.*"

    def reply(self, node: str, number: int) -> str:
        """Where the replies to one question go."""
        return f"{self._reply}{_encode_node(node)}.{number}"

    def quota(self, account_id: str, action: str, second: int) -> str:
        """The counter of an account's calls of an action in a second since 1970."""
        return f"{self._quota}{_encode(account_id)}.{_encode(action)}.{second}"

    def leases(self, node: str) -> str:
        """Where replies about counters come to a node."""
        return f"{self._lease}{_encode(node)}.*"

    def lease(self, node: str, what: int | str) -> str:
        """Where one of these comes to."""
        return f"{self._lease}{_encode(node)}.{what}"

    def nonces_for(self, node: str) -> str:
        """Where a node is told which nonces were used while it could not hear."""
        return f"{self.nonces}.{_encode(node)}"

    def invalid(self, kind: str, *names: str) -> str:
        """Where it is said that what is remembered of something is no longer true; every node listens."""
        return ".".join([f"{self._invalid}{kind}", *map(_encode, names)])

    def letters(self, destination: str) -> str:
        """Where it is said that letters wait for a destination; the nodes that hand some out listen."""
        return f"{self._letters}{_encode(destination)}"

    def read_invalid(self, subject: str) -> tuple[str, tuple[str, ...]]:
        """The kind and the names in a subject made by `invalid`."""
        kind, *names = subject.removeprefix(self._invalid).split(".")
        return kind, tuple(map(unquote, names))


def read_key(subject: str) -> DeviceKey:
    """The device that a subject of `device` or `own` names."""
    _, product_key, device_name = subject.rsplit(".", 2)
    return DeviceKey(unquote(product_key), unquote(device_name))


def read_number(subject: str) -> int:
    """The number in a subject made by `reply`."""
    return int(subject.rpartition(".")[2])


def _encode(name: str) -> str:
    return quote(name, safe=SAFE).replace(".", "%2E")


_encode_node = lru_cache(NODES_MAX)(_encode)
