"""What nodes say to each other, as MessagePack.

Nodes of different versions work together while one after the other is replaced: a field may be added at the end with a
default, and is passed over by who does not know it. Whatever else changes raises `FORMAT`; a frame of another format is
not understood.
"""

from types import UnionType
from typing import Final, Generic, TypeVar

import msgspec

from linkstead.invocation import Call, Diagnosis, Evidence, Moment, Stage, Verdict
from linkstead.subscription import DeskStatus

FORMAT: Final = 1

FRAME_BYTES_MAX = 786_432
"""One frame: a message of 256 KiB, as much again for an answer, and what is kept as evidence. A NATS server takes
1 MiB unless it is told otherwise."""


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False, tag=lambda name: f"{name}/{FORMAT}"):
    """Every frame begins with its name and format, and the node that says it."""

    node: str


class Question(Frame, frozen=True):
    """A call, asked of whoever holds the device. For the fields see `Call` and `Message`.

    `needs_reply`: only an Alink reply is an answer. `timeout_ms` is what is left of the call's time.
    """

    message_id: int
    request_id: str
    account_id: str
    product_key: str
    device_name: str
    action: str
    target: str
    alink_id: int
    timeout_ms: int
    topic: str
    answer_topic: str
    ext_topic: str
    needs_ext: bool
    needs_reply: bool
    payload: bytes


class Send(Frame, frozen=True):
    """A message for a device, at QoS 0, that nobody asks after."""

    product_key: str
    device_name: str
    topic: str
    payload: bytes


class Post(Frame, frozen=True):
    """A call that is to be accepted by whoever holds the device, and is its own from then on. See `Delivery.post`.

    `said_s` is when it is said, on the clock that the call's timeline was made with.
    """

    call: Call
    topic: str
    payload: bytes
    qos: int
    needs_subscription: bool
    said_s: float


class Returned(Frame, frozen=True):
    """The app has been told that its call was accepted. `at_s` and `said_s` are of one clock, as in `Post`."""

    product_key: str
    device_name: str
    account_id: str
    request_id: str
    time_ms: int
    at_s: float
    said_s: float


class Wake(Frame, frozen=True):
    """Something was put into the store for a device."""

    product_key: str
    device_name: str


class Adjust(Frame, frozen=True):
    """A device is to be subscribed, or not any longer, and what it is subscribed to is to be told: `Adjusted`."""

    product_key: str
    device_name: str
    added: list[str]
    removed: list[str]


class Adjusted(Frame, frozen=True):
    """See `Subscribed`."""

    is_live: bool
    is_full: bool
    since_ms: dict[str, int]


class Kind:
    """What a reply says."""

    ENDED: Final = 1
    NOT_HELD: Final = 2
    """The device is not connected to the node that was asked, any longer or not yet."""
    HALF: Final = 3
    """Its connection there has broken, less than a keep-alive period ago."""
    OVERLOADED: Final = 4
    TOO_LARGE: Final = 5
    ACCEPTED: Final = 7
    LEAVING: Final = 8
    """The device was sent away, for the node that was asked is being stopped."""

    FAILED: Final = 6
    """The node that was asked has a fault, or did not understand."""


class Reply(Frame, frozen=True):
    """What became of a question. Past `kind` all is about `Kind.ENDED`.

    `moments` are the stages that the holder saw, each with the seconds since the question came; `elapsed_s` is when the
    reply was made, likewise.
    """

    kind: int
    elapsed_s: float = 0.0
    moments: list[tuple[Stage, float]] = []
    verdict: str = ""
    diagnosis: str = ""
    payload: bytes = b""
    evidence: list[Evidence] = []
    evidence_dropped: int = 0


class Ended(Frame, frozen=True):
    """What became of a near node's question: a reply of `Kind.ENDED` without evidence.

    `moments` are the stages that the holder saw; workers of one machine have one clock.
    """

    message_id: int
    verdict: Verdict
    diagnosis: Diagnosis
    payload: bytes
    moments: list[Moment]


class NotTaken(Frame, frozen=True):
    """A near node's question was not looked at: NATS does not reach who was asked."""

    message_id: int


class Said(Frame, frozen=True):
    """What is said on a subject to a near node. Without a payload: nobody listens there."""

    subject: str
    reply: str
    payload: bytes | None


Near = Question | Ended | NotTaken
"""What near nodes hand to each other as it is, see `Bus.hand`. Only those of one version do: it changes as it likes."""


class Written(Frame, frozen=True):
    """The messages of these calls have left for their devices; the last two as `elapsed_s` and `moments` of a reply."""

    calls: list[tuple[int, float, list[tuple[Stage, float]]]]


class Copies(Frame, frozen=True):
    """A message for every device of a product that is connected to a node, see `Letter`."""

    number: int
    product_key: str
    topic: str
    message_id: int
    payload: bytes


class Sent(Frame, frozen=True):
    """How many copies a node has written, see `Reached`."""

    number: int
    written: int
    connected: int


class Afterwards(Frame, frozen=True):
    """What came for a call after its holder had told its end."""

    message_id: int
    request_id: str
    diagnosis: str
    late_by_ms: int
    evidence: list[Evidence]
    evidence_dropped: int = 0


class Rung(Frame, frozen=True):
    """Letters wait for a destination."""

    destination: str


class Dismissed(Frame, frozen=True):
    """A destination was deleted: who consumes from it has to go."""

    destination: str


class Asked(Frame, frozen=True):
    """How do destinations get on?"""

    number: int
    destinations: list[str]


class Told(Frame, frozen=True):
    """How they do at a node; those of which it knows nothing are left out."""

    number: int
    desks: dict[str, DeskStatus]


class Own(Frame, frozen=True):
    """A node holds a device from now on. The highest epoch counts, of two alike the node that is later by name.

    `before` is the epoch that the node said before this one; 0 where it says once more that it holds a device.
    """

    epoch: int
    before: int = 0


class SaidOwns(Frame, frozen=True):
    """The last epoch that a node has said. Who has heard all up to `since`, or all there is where that is 0, has now
    heard all."""

    epoch: int
    since: int


class MissedOwns(Frame, frozen=True):
    """What a node holds since an epoch was not heard: it is to say so again."""

    since: int


class UsedNonces(Frame, frozen=True):
    """Nonces that were used on a node: their digests, one after the other. `again`: it has told them before."""

    digests: bytes
    again: bool = False


class MissedNonces(Frame, frozen=True):
    """A node could not hear for a while, or has just started: which nonces were used lately?"""


class Watch(Frame, frozen=True):
    """Somebody looks at what happens: every other node is to tell for a time what it sees of it, by `Seen`.

    `is_first`: it was not said before.
    """

    number: int
    wish: bytes
    is_first: bool = False


class WatchEnded(Frame, frozen=True):
    """Nobody looks at it any longer."""

    number: int


class Seen(Frame, frozen=True):
    """What is new at a node."""

    number: int
    seen: bytes


class Changed(Frame, frozen=True):
    """What the subject names was changed; whoever remembers it is to forget it."""


AnyFrame = TypeVar("AnyFrame", bound=Frame)

_encode: Final = msgspec.msgpack.Encoder().encode


class NotUnderstood(ValueError):
    """Bytes that are no frame of this kind and format."""


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    return _encode(frame)


class Decoder(Generic[AnyFrame]):
    """Reads frames of one kind."""

    def __init__(self, kind: type[AnyFrame] | UnionType) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def decode(self, data: bytes) -> AnyFrame:
        """Read a frame. Raises NotUnderstood."""
        try:
            frame: AnyFrame = self._decode(data)
        except msgspec.MsgspecError as error:
            raise NotUnderstood(str(error)) from None
        return frame
