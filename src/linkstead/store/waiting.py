"""Where what is to be written a moment later waits: in a queue that may overflow, or as notes that are never lost.

Either hands out a batch, and then is told what became of it: `settle` when it is written, `put_back` when it is not.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
Entry = TypeVar("Entry")
Item = TypeVar("Item")
Note = TypeVar("Note")


class Waiting(ABC, Generic[Name, Entry]):
    """Entries by name: those that wait, the oldest first, and those that are being written."""

    def __init__(self) -> None:
        # Unlike a dict it finds its first at once.
        self._waiting: OrderedDict[Name, Entry] = OrderedDict()
        self._under_way: dict[Name, Entry] = {}

    def __len__(self) -> int:
        """How many are not written yet; one that came again while it was being written counts twice."""
        return len(self._waiting) + len(self._under_way)

    @property
    def ready_count(self) -> int:
        """How many can be taken."""
        return len(self._waiting)

    def list(self) -> list[Entry]:
        """All that is not written yet, as it is now."""
        return list({**self._under_way, **self._waiting}.values())

    @abstractmethod
    def _merge(self, earlier: Entry, later: Entry) -> Entry:
        """Make one of two of the same name."""

    def _add(self, name: Name, entry: Entry) -> None:
        earlier = self._waiting.get(name)
        self._waiting[name] = entry if earlier is None else self._merge(earlier, entry)

    def _find(self, name: Name) -> Entry | None:
        entry = self._waiting.get(name)
        return self._under_way.get(name) if entry is None else entry

    def _take(self, limit: int) -> dict[Name, Entry]:
        self._under_way = {name: self._waiting.pop(name) for name in list(islice(self._waiting, limit))}
        return self._under_way

    def leave(self, name: Name) -> None:
        """Have what was just taken wait again, before all others."""
        self._waiting[name] = self._under_way.pop(name)
        self._waiting.move_to_end(name, last=False)

    def settle(self) -> None:
        """What was taken is written."""
        self._under_way = {}

    def put_back(self) -> None:
        """What was taken is not written: it waits again, before all others, with what came meanwhile."""
        for name, entry in reversed(self._under_way.items()):
            later = self._waiting.get(name)
            self._waiting[name] = entry if later is None else self._merge(entry, later)
            self._waiting.move_to_end(name, last=False)
        self._under_way = {}

    def forget(self, is_meant: Callable[[Name, Entry], bool]) -> None:
        """Let go of what is no longer wanted; what is being written is not put back."""
        for entries in (self._waiting, self._under_way):
            for name in [name for name, entry in entries.items() if is_meant(name, entry)]:
                del entries[name]


class Notes(Waiting[Name, Note]):
    """One note a name, what comes later joined to what waits already. None is ever dropped.

    Args:
        join: makes one note of an earlier and a later one.
    """

    def __init__(self, join: Callable[[Note, Note], Note]) -> None:
        super().__init__()
        self._join = join

    def add(self, name: Name, note: Note) -> None:
        """Have a note wait."""
        self._add(name, note)

    def find(self, name: Name) -> Note | None:
        """The latest note of this name that is not written yet, or None."""
        return self._find(name)

    def take(self, limit: int) -> list[Note]:
        """Up to `limit` notes; they are being written then."""
        return list(self._take(limit).values())

    def _merge(self, earlier: Note, later: Note) -> Note:
        return self._join(earlier, later)


class Queue(Waiting[Name, tuple[Item, int]]):
    """Items, each with the bytes it counts for, within bounds; past them the one that waits longest is dropped.

    Args:
        items_max, bytes_max: of all that is not written yet, what is being written included.
        count_dropped: called for each item that is dropped.
    """

    def __init__(self, items_max: int, bytes_max: int, count_dropped: Callable[[], None]) -> None:
        super().__init__()
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._count_dropped = count_dropped
        self._bytes = 0

    def add(self, name: Name, item: Item, size_bytes: int) -> None:
        """Have an item wait; it takes the place of one of the same name that waits."""
        self._bytes += size_bytes
        self._add(name, (item, size_bytes))
        if self._bytes > self._bytes_max or len(self._waiting) + len(self._under_way) > self._items_max:
            self._drop_beyond_bounds()

    def _drop_beyond_bounds(self) -> None:
        while self._waiting and (len(self) > self._items_max or self._bytes > self._bytes_max):
            _, entry = self._waiting.popitem(last=False)
            self._let_go(entry)
            self._count_dropped()

    def find(self, name: Name) -> Item | None:
        """The latest item of this name that is not written yet, or None."""
        entry = self._find(name)
        return entry[0] if entry is not None else None

    def take(self, limit: int) -> list[tuple[Name, Item]]:
        """Up to `limit` items with their names; they are being written then."""
        return [(name, item) for name, (item, _) in self._take(limit).items()]

    def discard(self, name: Name) -> None:
        """Drop an item that was taken and can never be written."""
        self._let_go(self._under_way.pop(name))
        self._count_dropped()

    def settle(self) -> None:
        """What was taken is written."""
        for entry in self._under_way.values():
            self._let_go(entry)
        super().settle()

    def forget(self, is_meant: Callable[[Name, tuple[Item, int]], bool]) -> None:
        """Let go of what is no longer wanted; what is being written is not put back."""
        super().forget(is_meant)
        self._bytes = sum(size for entries in (self._waiting, self._under_way) for _, size in entries.values())

    def _merge(self, earlier: tuple[Item, int], later: tuple[Item, int]) -> tuple[Item, int]:
        self._let_go(earlier)
        return later

    def _let_go(self, entry: tuple[Item, int]) -> None:
        self._bytes -= entry[1]
