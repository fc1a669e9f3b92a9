import json

import pytest

from linkstead.registry.topic_classes import TOPIC_CLASSES_MAX
from tests.cli.processes import done, told

KEY = "a1Lnk5tEad0"
HEAD = f"/{KEY}/${{deviceName}}/"


def create() -> None:
    done("product", "create", "Lamp", "--product-key", KEY)


def listed() -> dict[str, str]:
    records = json.loads(done("product", "topics", KEY, "--json"))
    return {record["topic"].removeprefix(HEAD): record["operation"] for record in records}


def test_the_classes_of_a_new_product_are_listed() -> None:
    create()
    assert listed() == {"user/update": "PUB", "user/update/error": "PUB", "user/get": "SUB"}
    assert f"PUB        {HEAD}user/update" in done("product", "topics", KEY)


@pytest.mark.parametrize(
    ("path", "operation"),
    [("user/submit", "ALL"), ("get", "SUB"), ("update", "PUB"), ("user/+/now", "SUB"), ("user/#", "SUB"), ("#", "SUB")],
)
def test_a_class_is_added_and_deleted(path: str, operation: str) -> None:
    create()
    topic_id, _, rest = done("product", "add-topic", KEY, path, operation).partition(": ")
    assert rest == f"{operation} {HEAD}{path}\n"
    assert listed()[path] == operation
    assert done("product", "delete-topic", topic_id) == f"{topic_id} is deleted\n"
    assert path not in listed()
    assert f"there is no topic class {topic_id}" in told(1, "product", "delete-topic", topic_id)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("", "SUB"),
        ("a//b", "SUB"),
        ("a?b", "ALL"),
        ("user/+", "PUB"),
        ("#", "ALL"),
        ("a/#/b", "SUB"),
        ("a" * 128, "SUB"),
    ],
)
def test_a_class_that_breaks_a_rule_is_refused(path: str, operation: str) -> None:
    create()
    assert "PATH takes" in told(2, "product", "add-topic", KEY, path, operation)
    assert len(listed()) == 3


def test_a_class_that_is_there_is_not_added_again() -> None:
    create()
    assert "already" in told(1, "product", "add-topic", KEY, "user/get", "ALL")


def test_a_product_has_so_many_classes_and_no_more() -> None:
    create()
    for number in range(TOPIC_CLASSES_MAX - 3):
        done("product", "add-topic", KEY, f"user/t{number}", "ALL")
    assert str(TOPIC_CLASSES_MAX) in told(1, "product", "add-topic", KEY, "user/more", "ALL")


def test_a_product_that_is_not_there_has_no_classes() -> None:
    create()
    assert "no product" in told(1, "product", "topics", "a1Gone00000")
    assert "no product" in told(1, "product", "add-topic", "a1Gone00000", "user/x", "ALL")
