import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.alink.topics import matches
from linkstead.registry import ProductTopic, TopicClasses, TopicOperation
from linkstead.registry.topic_classes import (
    DEFAULT_TOPICS,
    TOPIC_CLASS_CHARS_MAX,
    default_topics,
    fits_bounds,
    is_short_name,
    make_topic,
    overlaps,
)

PK = "a1Lnk5tEad0"
PUB, SUB, ALL = TopicOperation.PUB, TopicOperation.SUB, TopicOperation.ALL


def classes(*topics: tuple[str, TopicOperation]) -> TopicClasses:
    return TopicClasses([ProductTopic(0, PK, f"/{PK}/${{deviceName}}/{path}", operation) for path, operation in topics])


def test_a_new_product_has_the_three_classes_of_the_reference() -> None:
    assert [(topic.topic, topic.operation) for topic in default_topics(PK)] == [
        (f"/{PK}/${{deviceName}}/user/update", PUB),
        (f"/{PK}/${{deviceName}}/user/update/error", PUB),
        (f"/{PK}/${{deviceName}}/user/get", SUB),
    ]
    assert len(DEFAULT_TOPICS) == 3


@pytest.mark.parametrize(
    ("operation", "may_publish", "may_subscribe"), [(PUB, True, False), (SUB, False, True), (ALL, True, True)]
)
def test_an_operation_lets_devices_do_what_it_names(
    operation: TopicOperation, may_publish: bool, may_subscribe: bool
) -> None:
    asked = classes(("user/x", operation))
    assert (asked.may_publish("user/x"), asked.may_subscribe("user/x")) == (may_publish, may_subscribe)
    assert not asked.may_publish("user/y")
    assert not asked.may_subscribe("user/y")


def test_without_a_class_nothing_may_be_done() -> None:
    assert not classes().may_publish("user/get")
    assert not classes().may_subscribe("#")


@pytest.mark.parametrize("name", ["user/get", "user/+", "+/get", "user/#", "#", "user/get/#"])
def test_a_filter_wider_than_its_class_is_granted(name: str) -> None:
    assert classes(("user/get", SUB)).may_subscribe(name)


@pytest.mark.parametrize("name", ["user/set", "user", "user/get/more", "get/#", "user/set/#", "+", "+/+/+"])
def test_a_filter_that_meets_no_class_is_not_granted(name: str) -> None:
    assert not classes(("user/get", SUB), ("user/set", PUB)).may_subscribe(name)


@pytest.mark.parametrize("name", ["user/a/b", "user/+/b", "user/a/#", "user/+/+", "#"])
def test_a_class_may_have_wildcards(name: str) -> None:
    assert classes(("user/+/b", SUB)).may_subscribe(name)
    assert classes(("user/#", SUB)).may_subscribe(name)
    assert not classes(("user/+/c/d", SUB)).may_subscribe("user/a/b")


levels = st.sampled_from(["a", "b", "+"])
names = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3).map("/".join)
filters = st.builds(
    lambda body, tail: "/".join([*body, *tail]) or "a",
    st.lists(levels, max_size=3),
    st.sampled_from([[], ["#"]]),
)


@given(filters, filters)
def test_filters_overlap_in_either_order_or_not_at_all(first: str, second: str) -> None:
    assert overlaps(first, second) == overlaps(second, first)


@given(filters, filters, names)
def test_filters_that_match_the_same_topic_overlap(first: str, second: str, name: str) -> None:
    if matches(first, name) and matches(second, name):
        assert overlaps(first, second)


@pytest.mark.parametrize("operation", [PUB, SUB, ALL])
@pytest.mark.parametrize("name", ["submit", "a/b_2/C", "0"])
def test_a_short_name_is_made_of_letters_digits_and_underscores(name: str, operation: TopicOperation) -> None:
    assert is_short_name(name, operation)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "a-b", "a b", "灯", "${deviceName}", "a?b", "a+", "#/a", "a#"]
)
def test_other_short_names_are_refused(name: str) -> None:
    assert not any(is_short_name(name, operation) for operation in TopicOperation)


@pytest.mark.parametrize("name", ["+", "#", "a/+/b", "a/#", "+/#"])
def test_wildcards_stand_only_where_devices_just_subscribe(name: str) -> None:
    assert is_short_name(name, SUB)
    assert not is_short_name(name, PUB)
    assert not is_short_name(name, ALL)


def test_a_class_may_be_so_long_and_no_longer() -> None:
    room = TOPIC_CLASS_CHARS_MAX - len(make_topic(PK, ""))
    assert fits_bounds(make_topic(PK, "a" * room))
    assert not fits_bounds(make_topic(PK, "a" * (room + 1)))


def test_a_class_may_have_so_many_levels_and_no_more() -> None:
    assert fits_bounds(make_topic(PK, "a/b/c/d"))
    assert not fits_bounds(make_topic(PK, "a/b/c/d/e"))
