"""Faults inside a document name their place."""

import pytest

from linkstead.tsl import ModelError
from linkstead.tsl.document import SHOWN_CHARS_MAX, Node, read_document, show
from linkstead.tsl.limits import DEPTH_MAX


def test_fault_names_place_rule_and_value() -> None:
    node = Node({"services": [{"name": 7}]}).need("services").read_list()[0].need("name")
    with pytest.raises(ModelError) as caught:
        node.read_text()
    assert caught.value.path == "services[0].name"
    assert str(caught.value) == "services[0].name: must be a string, not 7"


def test_fault_of_the_whole_says_so() -> None:
    assert str(Node([]).fault("must be an object")) == "the document: must be an object, not []"


def test_null_counts_as_absent() -> None:
    node = Node({"name": None}, "events[1]")
    assert node.find("name") is None
    with pytest.raises(ModelError, match=r"events\[1\]\.name: is missing"):
        node.need("name")


def test_shown_value_is_shortened() -> None:
    assert show("x" * (SHOWN_CHARS_MAX - 2)) == f'"{"x" * (SHOWN_CHARS_MAX - 2)}"'
    assert len(show("x" * (SHOWN_CHARS_MAX - 1))) == SHOWN_CHARS_MAX


def test_size_is_bounded() -> None:
    assert read_document('"中"', 5).value == "中"
    with pytest.raises(ModelError, match="at most 4 bytes, not 5"):
        read_document('"中"', 4)


@pytest.mark.parametrize("text", ["", "{", "{'a':1}", b"\xff", '"\ud800"'])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ModelError, match="the document: must be JSON"):
        read_document(text, None)


def test_depth_is_bounded() -> None:
    assert read_document("[" * DEPTH_MAX + "]" * DEPTH_MAX, None).value
    for depth in (DEPTH_MAX + 1, 100_000):
        with pytest.raises(ModelError, match=f"at most {DEPTH_MAX} objects and lists deep"):
            read_document("[" * depth + "]" * depth, None)
