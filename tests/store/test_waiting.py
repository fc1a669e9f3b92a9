"""What waits: in order and within bounds, or joined and never lost."""

from typing import Any

import pytest

from linkstead.store.waiting import Notes, Queue, Waiting


class Setting:
    """A queue of letters within 3 items and 10 bytes."""

    def __init__(self) -> None:
        self.dropped = 0
        self.queue: Queue[str, str] = Queue(3, 10, self.count_dropped)

    def count_dropped(self) -> None:
        self.dropped += 1

    def add(self, letters: str, size_bytes: int = 1) -> None:
        for letter in letters:
            self.queue.add(letter, letter, size_bytes)

    def take_all(self) -> str:
        return "".join(item for _, item in self.queue.take(99))


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_items_are_taken_in_order_up_to_the_limit(setting: Setting) -> None:
    setting.add("abc")
    assert setting.queue.take(2) == [("a", "a"), ("b", "b")]
    assert (len(setting.queue), setting.queue.ready_count) == (3, 1)
    setting.queue.settle()
    assert (len(setting.queue), setting.queue.ready_count) == (1, 1)
    assert setting.take_all() == "c"


def test_what_is_left_waits_again_before_all_others(setting: Setting) -> None:
    setting.add("ab", 2)
    assert setting.take_all() == "ab"
    setting.add("c", 2)
    for name in "ba":
        setting.queue.leave(name)
    setting.queue.settle()
    assert (len(setting.queue), setting.queue.ready_count) == (3, 3)
    # It still counts for what it did.
    setting.add("d", 5)
    assert (setting.dropped, setting.take_all()) == (1, "bcd")


def test_past_the_number_the_oldest_is_dropped(setting: Setting) -> None:
    setting.add("abc")
    assert setting.dropped == 0
    setting.add("d")
    assert (setting.dropped, setting.take_all()) == (1, "bcd")


def test_past_the_bytes_the_oldest_is_dropped(setting: Setting) -> None:
    setting.add("ab", 5)
    assert setting.dropped == 0
    setting.add("c", 1)
    assert (setting.dropped, setting.take_all()) == (1, "bc")


def test_an_item_larger_than_all_together_is_dropped_itself(setting: Setting) -> None:
    setting.add("ab")
    setting.add("c", 11)
    assert (setting.dropped, setting.queue.ready_count) == (3, 0)
    setting.add("d", 10)
    assert setting.take_all() == "d"


def test_what_is_being_written_counts(setting: Setting) -> None:
    setting.add("ab", 4)
    setting.queue.take(1)
    setting.add("c", 2)
    assert setting.dropped == 0
    setting.add("d", 1)
    assert setting.dropped == 1
    setting.queue.settle()
    setting.add("e", 6)
    assert setting.dropped == 1
    setting.add("f", 2)
    assert (setting.dropped, setting.take_all()) == (2, "def")


def test_an_item_takes_the_place_of_an_earlier_one(setting: Setting) -> None:
    setting.add("ab", 5)
    setting.queue.add("a", "A", 4)
    assert (setting.dropped, len(setting.queue)) == (0, 2)
    setting.add("c", 1)
    assert (setting.dropped, setting.take_all()) == (0, "Abc")


def test_what_was_not_written_waits_again_before_all_others(setting: Setting) -> None:
    setting.add("ab")
    setting.queue.take(2)
    setting.add("c")
    setting.queue.put_back()
    assert (len(setting.queue), setting.take_all()) == (3, "abc")


def test_what_came_meanwhile_replaces_what_was_not_written(setting: Setting) -> None:
    setting.add("ab", 5)
    setting.queue.take(2)
    setting.queue.settle()
    setting.add("ab", 3)
    setting.queue.take(2)
    setting.queue.add("a", "A", 4)
    setting.queue.put_back()
    assert (setting.dropped, len(setting.queue)) == (0, 2)
    setting.add("c", 3)
    assert (setting.dropped, setting.take_all()) == (0, "Abc")


def test_the_latest_of_a_name_is_found_until_it_is_written(setting: Setting) -> None:
    assert setting.queue.find("a") is None
    setting.add("a")
    assert setting.queue.find("a") == "a"
    setting.queue.take(1)
    assert setting.queue.find("a") == "a"
    setting.queue.add("a", "A", 1)
    assert setting.queue.find("a") == "A"
    setting.queue.settle()
    assert setting.queue.find("a") == "A"
    setting.take_all()
    setting.queue.settle()
    assert setting.queue.find("a") is None


def test_an_item_that_can_never_be_written_is_dropped(setting: Setting) -> None:
    setting.add("ab", 5)
    setting.take_all()
    setting.queue.discard("a")
    assert setting.dropped == 1
    setting.queue.put_back()
    setting.add("c", 5)
    assert (setting.dropped, setting.take_all()) == (1, "bc")


def test_what_is_forgotten_is_not_put_back_and_does_not_count(setting: Setting) -> None:
    setting.add("ab", 5)
    setting.queue.take(1)
    setting.queue.forget(lambda name, entry: name == entry[0] == "a")
    setting.queue.put_back()
    setting.add("c", 5)
    setting.queue.forget(lambda name, _: name == "b")
    setting.add("d", 5)
    assert (setting.dropped, setting.take_all()) == (0, "cd")


def joined() -> Notes[str, str]:
    return Notes(lambda earlier, later: earlier + later)


def test_notes_of_a_name_are_joined() -> None:
    notes = joined()
    for name, note in ("a1", "b2", "a3"):
        notes.add(name, note)
    assert (len(notes), notes.find("a"), notes.find("c")) == (2, "13", None)
    assert notes.take(9) == ["13", "2"]
    notes.settle()
    assert (len(notes), notes.find("a")) == (0, None)


def test_notes_are_taken_up_to_the_limit() -> None:
    notes = joined()
    for name in "abc":
        notes.add(name, name)
    assert notes.take(2) == ["a", "b"]
    assert (len(notes), notes.ready_count) == (3, 1)


def test_a_note_that_was_not_written_is_joined_with_what_came_meanwhile() -> None:
    notes = joined()
    notes.add("a", "1")
    notes.add("b", "2")
    notes.take(2)
    assert notes.find("a") == "1"
    notes.add("a", "3")
    assert notes.find("a") == "3"
    notes.put_back()
    assert (len(notes), notes.find("a"), notes.find("b")) == (2, "13", "2")


def test_a_note_that_is_forgotten_is_not_put_back() -> None:
    notes = joined()
    for name in "ab":
        notes.add(name, "1")
    notes.take(1)
    notes.add("a", "2")
    notes.forget(lambda name, _: name == "a")
    notes.put_back()
    assert notes.take(9) == ["1"]
    assert notes.find("a") is None


@pytest.mark.parametrize("waiting", [Setting().queue, joined()])
def test_nothing_waits_at_first(waiting: Waiting[Any, Any]) -> None:
    assert (len(waiting), waiting.ready_count) == (0, 0)
    waiting.put_back()
    waiting.settle()
    assert len(waiting) == 0
