"""Topic classes: which custom topics the devices of a product may publish on and subscribe to.

Source: `device-protocol.md` 2 and 3.4, `cloud-api.md` 9.7.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

TOPIC_CLASSES_MAX = 50
"""Classes of one product. Source: CreateProductTopic reference."""

DEVICE_NAME_PLACE = "${deviceName}"
"""Stands for the device's name in a topic class. Source: QueryProductTopic reference, field TopicShortName."""

TOPIC_CLASS_CHARS_MAX = 128
"""Of a whole class, as of the topics it stands for."""

TOPIC_CLASS_SLASHES_MAX = 7

TOPIC_SHORT_NAME_RULE = (
    f"levels of A-Z a-z 0-9 _ joined by /, <= {TOPIC_CLASS_SLASHES_MAX} / and {TOPIC_CLASS_CHARS_MAX} characters "
    "in the whole class; in a class to subscribe also + as a level and # as the last"
)

DESCRIPTION_CHARS_MAX = 100
"""Source: CreateProductTopic reference, row Desc."""

_SHORT_NAME_LEVEL = re.compile(r"[A-Za-z0-9_]+")
_LEVEL = re.compile(r"[^+#?/\0]+")

FILTERS_CACHED_MAX = 1_000


class TopicOperation(StrEnum):
    """What a device may do with the topics of a class. Source: CreateProductTopic reference, row Operation."""

    PUB = "PUB"
    SUB = "SUB"
    ALL = "ALL"

    @property
    def is_publishable(self) -> bool:
        """True when devices may publish."""
        return self is not TopicOperation.SUB

    @property
    def is_subscribable(self) -> bool:
        """True when devices may subscribe, and so get what apps publish."""
        return self is not TopicOperation.PUB


DEFAULT_TOPICS = (
    ("update", TopicOperation.PUB),
    ("update/error", TopicOperation.PUB),
    ("get", TopicOperation.SUB),
)
"""What every product begins with. Source: QueryProductTopic reference, sample."""


@dataclass(frozen=True, slots=True)
class ProductTopic:
    """A topic class. `topic` is the whole of it, with `DEVICE_NAME_PLACE`; `topic_id` is 0 before it is kept."""

    topic_id: int
    product_key: str
    topic: str
    operation: TopicOperation
    description: str = ""


def make_topic(product_key: str, short_name: str) -> str:
    """The whole class of a short name. Source: `cloud-api.md` 9.7."""
    return f"/{product_key}/{DEVICE_NAME_PLACE}/user/{short_name}"


def default_topics(product_key: str) -> list[ProductTopic]:
    """The classes of a new product."""
    return [
        ProductTopic(0, product_key, make_topic(product_key, short_name), operation)
        for short_name, operation in DEFAULT_TOPICS
    ]


def is_short_name(text: str, operation: TopicOperation) -> bool:
    """True for what an app may put below `user/` in a class; wildcards only where devices do nothing but subscribe."""
    return _is_path(_SHORT_NAME_LEVEL, text, operation)


def is_path(text: str, operation: TopicOperation) -> bool:
    """True for what may stand below the device's name in a class: any levels but empty ones. Old products have such."""
    return _is_path(_LEVEL, text, operation)


def _is_path(level: re.Pattern[str], text: str, operation: TopicOperation) -> bool:
    levels = text.split("/")
    if operation is TopicOperation.SUB:
        if levels[-1] == "#":
            levels.pop()
        levels = [each for each in levels if each != "+"]
    return all(level.fullmatch(each) for each in levels)


def fits_bounds(topic: str) -> bool:
    """True for a class within `TOPIC_CLASS_CHARS_MAX` and `TOPIC_CLASS_SLASHES_MAX`."""
    return len(topic) <= TOPIC_CLASS_CHARS_MAX and topic.count("/") <= TOPIC_CLASS_SLASHES_MAX


class TopicClasses:
    """The classes of one product, ready to be asked.

    Args:
        topics: all of them.
    """

    def __init__(self, topics: Sequence[ProductTopic]) -> None:
        self._publish = frozenset(_below(topic) for topic in topics if topic.operation.is_publishable)
        self._subscribe = tuple(_below(topic) for topic in topics if topic.operation.is_subscribable)

    def may_publish(self, path: str) -> bool:
        """True when a device may publish on the topic that has `path` below its own `/{pk}/{dn}/`."""
        return path in self._publish

    def may_subscribe(self, path: str) -> bool:
        """True when a filter, `path` below the device's own `/{pk}/{dn}/`, names a topic it may subscribe to.

        A filter wider than its class is granted too: what comes of it is only what the classes let through.
        """
        return any(overlaps(path, topic) for topic in self._subscribe)


def _below(topic: ProductTopic) -> str:
    return topic.topic.split("/", 3)[3]


@lru_cache(FILTERS_CACHED_MAX)
def overlaps(first: str, second: str) -> bool:
    """True when there is a topic that both topic filters match."""
    ours, theirs = first.split("/"), second.split("/")
    for mine, other in zip(ours, theirs, strict=False):
        if "#" in (mine, other):
            return True
        if mine != other and "+" not in (mine, other):
            return False
    # `a/#` matches `a` as well. [MQTT-4.7.1-2]
    longer = ours[len(theirs) :] or theirs[len(ours) :]
    return not longer or longer == ["#"]
