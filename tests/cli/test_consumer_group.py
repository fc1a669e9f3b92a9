import json
from typing import Any

import pytest

from linkstead.cli.endpoint import Endpoint
from linkstead.http.group_view import GROUPS_LISTED_MAX
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from tests.cli.processes import ServerProcess, done, told

PRODUCT_KEY = "a1LinkDemo0"


@pytest.fixture(autouse=True)
def endpoint(dev: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    monkeypatch.setenv("LINKSTEAD_ENDPOINT", dev.endpoint)
    clock = SystemClock()
    return Endpoint(dev.endpoint, "linkstead-dev", "linkstead-dev-secret", None, clock, SystemIds(clock))


def listed() -> dict[str, Any]:
    view: dict[str, Any] = json.loads(done("consumer-group", "list", "--json"))
    return view


def test_groups_are_listed_with_their_products_and_what_waits(endpoint: Endpoint) -> None:
    group_id = endpoint.invoke("CreateConsumerGroup", {"GroupName": "lamps"})["GroupId"]
    relation = {"ProductKey": PRODUCT_KEY, "ConsumerGroupIds.1": group_id, "DeviceTagFlag": "true"}
    assert endpoint.invoke("CreateSubscribeRelation", relation)["Success"]
    default, group = done("consumer-group", "list").splitlines()[1:]
    assert default.split() == ["DEFAULT_GROUP", "DEFAULT_GROUP", "0", "0"]
    assert group.split() == [group_id, "lamps", PRODUCT_KEY, "0", "0"]
    view = listed()
    assert (view["total"], [each["group_id"] for each in view["consumer_groups"]]) == (2, ["DEFAULT_GROUP", group_id])
    assert endpoint.invoke("DeleteSubscribeRelation", {"ProductKey": PRODUCT_KEY, "Type": "AMQP"})["Success"]
    assert endpoint.invoke("DeleteConsumerGroup", {"GroupId": group_id})["Success"]


def test_no_more_groups_are_listed_than_the_newest(endpoint: Endpoint) -> None:
    names = [f"group{number}" for number in range(GROUPS_LISTED_MAX + 1)]
    group_ids = [endpoint.invoke("CreateConsumerGroup", {"GroupName": name})["GroupId"] for name in names[:-1]]
    assert len(done("consumer-group", "list").splitlines()) == GROUPS_LISTED_MAX + 2
    group_ids.append(endpoint.invoke("CreateConsumerGroup", {"GroupName": names[-1]})["GroupId"])
    lines = done("consumer-group", "list").splitlines()
    assert lines[2].split()[:2] == [group_ids[-1], names[-1]]
    assert (len(lines), lines[-1]) == (GROUPS_LISTED_MAX + 3, "and 1 more")
    for group_id in group_ids:
        assert endpoint.invoke("DeleteConsumerGroup", {"GroupId": group_id})["Success"]


def test_a_server_that_is_not_there_is_told() -> None:
    assert "no answer from" in told(1, "consumer-group", "list", "--endpoint", "http://127.0.0.1:1")
