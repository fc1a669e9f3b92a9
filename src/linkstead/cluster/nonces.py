"""Nonces that are used up on all nodes."""

import logging
import struct
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b

from linkstead.api.nonces import NonceWindow
from linkstead.clock import Clock
from linkstead.cluster import frames
from linkstead.cluster.bus import Bus, BusAway
from linkstead.cluster.frames import MissedNonces, NotUnderstood, UsedNonces
from linkstead.cluster.subjects import Subjects

log = logging.getLogger(__name__)

BATCH_S = 0.05
"""After the first nonce that was not told yet all are."""

BATCH_NONCES_MAX = 500
"""So many are told at once."""

LATEST_NONCES_MAX = 50_000
"""The nonces used last here are kept, to be told to nodes that could not hear."""

DIGEST_BYTES = 8
"""What is told of a nonce, however long it is."""


class SharedNonces:
    """The nonces used here, and those that other nodes say were used there.

    Args:
        node: this node's name.
        window: remembers them.
        bus, subjects: the way to the other nodes.
        clock: when a batch is told.
    """

    def __init__(self, *, node: str, window: NonceWindow, bus: Bus, subjects: Subjects, clock: Clock) -> None:
        self._node = node
        self._window = window
        self._bus = bus
        self._subjects = subjects
        self._clock = clock
        self._untold: list[int] = []
        self._latest: deque[int] = deque(maxlen=LATEST_NONCES_MAX)
        self._is_waiting = False
        self._decode = frames.Decoder(UsedNonces).decode
        self._decode_missed = frames.Decoder(MissedNonces).decode
        self.replayed = 0
        """Nonces that were taken here as well as on another node, before either knew."""

    def listen(self) -> None:
        """Take notice of what is used on other nodes from now on, and of what was used lately."""
        self._bus.subscribe(self._subjects.nonces, self._take)
        self._bus.subscribe(self._subjects.nonces_for(self._node), self._take)
        self._bus.subscribe(self._subjects.missed_nonces, self._take_missed)
        self._ask_missed()

    def take_up(self) -> None:
        """The connection is there again: tell and ask what could not be told."""
        # Even what was told just before may have got lost with the connection.
        self._tell_latest(self._subjects.nonces)
        self._ask_missed()

    def use(self, access_key_id: str, nonce: str, now_s: float) -> bool:
        """See `Nonces.use`."""
        used = f"{access_key_id}\0{nonce}".encode(errors="surrogatepass")
        digest = int.from_bytes(blake2b(used, digest_size=DIGEST_BYTES).digest(), "little")
        if not self._window.use_digest(digest, now_s):
            return False
        self._untold.append(digest)
        self._latest.append(digest)
        if not self._is_waiting:
            self._is_waiting = True
            self._clock.call_later(BATCH_S, self._tell_batch)
        if len(self._untold) >= BATCH_NONCES_MAX:
            self.tell()
        return True

    def _tell_batch(self) -> None:
        self._is_waiting = False
        self.tell()

    def tell(self) -> None:
        """Tell the other nodes what was used here and is not told yet; while they cannot be reached, `take_up` will."""
        untold, self._untold = self._untold, []
        if untold:
            try:
                self._bus.publish(
                    self._subjects.nonces, frames.encode(UsedNonces(node=self._node, digests=_pack(untold)))
                )
            except BusAway:
                return

    def _ask_missed(self) -> None:
        try:
            self._bus.publish(
                self._subjects.missed_nonces,
                frames.encode(MissedNonces(node=self._node)),
                self._subjects.nonces_for(self._node),
            )
        except BusAway:
            log.info("the other nodes were not asked for nonces: that is made up for when there is a connection")

    def _take_missed(self, _subject: str, reply: str, data: bytes, _is_nobody: bool) -> None:
        try:
            if self._decode_missed(data).node == self._node:
                return
        except NotUnderstood as error:
            log.error("another node asked for nonces and was not understood: %s", error)
            return
        self._tell_latest(reply)

    def _tell_latest(self, subject: str) -> None:
        # What is told for the first time afterwards would look as if it had been used twice.
        self.tell()
        latest = list(self._latest)
        try:
            for start in range(0, len(latest), BATCH_NONCES_MAX):
                digests = _pack(latest[start : start + BATCH_NONCES_MAX])
                self._bus.publish(subject, frames.encode(UsedNonces(node=self._node, digests=digests, again=True)))
        except BusAway:
            log.info("the other nodes were not told of nonces: that is made up for when there is a connection")

    def _take(self, _subject: str, _reply: str, data: bytes, is_nobody: bool) -> None:
        if is_nobody:
            return
        try:
            used = self._decode(data)
        except NotUnderstood as error:
            log.error("nonces used on another node were not understood: %s", error)
            return
        if used.node == self._node:
            return
        if len(used.digests) % DIGEST_BYTES:
            log.error("nonces used on another node were not understood: %d bytes", len(used.digests))
            return
        replayed = self._window.use_digests(_unpack(used.digests), self._clock.monotonic_s())
        if replayed and not used.again:
            self.replayed += replayed
            log.warning("signed requests were taken here as well as on node %s", used.node, extra={"count": replayed})


def _pack(digests: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(digests)}Q", *digests)


def _unpack(digests: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(digests) // DIGEST_BYTES}Q", digests)
