"""Every action's request and answer through the classes of the vendor's SDK of today."""

import inspect
from typing import Any

import pytest
from alibabacloud_iot20180120 import models
from Tea.model import TeaModel

from linkstead.actions import ACTIONS
from linkstead.api.parameters import unknown_parameters
from tests.actions.test_shapes import OPERATIONS, OWN_SAMPLES, SAMPLES, WITHOUT_SAMPLE

WITH_SAMPLE = sorted(ACTIONS.keys() - WITHOUT_SAMPLE)

LISTS = {
    name: {parameter["name"] for parameter in operation["request"] if parameter["type"] == "list"}
    for name, operation in OPERATIONS.items()
}
OBJECT_LISTS = {
    name: {parameter["name"] for parameter in operation["request"] if isinstance(parameter.get("items"), dict)}
    for name, operation in OPERATIONS.items()
}
"""Parameters sent as `Name.1`, and those of them sent as `Name.1.Field`."""

FILLED_IN = {"MqttProperties", "UserProperties"}
"""Lists that the SDK shows empty where the answer has none."""


def without_filled_in(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: without_filled_in(each) for name, each in value.items() if not (name in FILLED_IN and not each)
            }
        case list():
            return [without_filled_in(each) for each in value]
    return value


@pytest.mark.parametrize("action", WITH_SAMPLE)
def test_a_sample_answer_comes_back_from_the_sdk_as_it_was(action: str) -> None:
    sample = OWN_SAMPLES.get(action) or SAMPLES[action]
    body: TeaModel = getattr(models, f"{action}ResponseBody")()
    assert without_filled_in(body.from_map(sample).to_map()) == sample


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_what_the_sdk_can_send_is_known(action: str) -> None:
    request_type = getattr(models, f"{action}Request")
    request = request_type()
    for name in inspect.signature(request_type.__init__).parameters:
        if name != "self" and name.title().replace("_", "") not in OBJECT_LISTS[action]:
            setattr(request, name, "x")
    lists = LISTS[action]
    sent = [f"{name}.1" if name in lists else name for name, value in request.to_map().items() if value == "x"]
    assert sent
    assert unknown_parameters(ACTIONS[action].request, dict.fromkeys(sent, "x"), ACTIONS[action].aliases) == []
