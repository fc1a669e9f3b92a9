import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from linkstead.actions import ACTIONS
from linkstead.explorer.arguments import flatten_arguments, make_example
from linkstead.explorer.openapi import encode_openapi, make_openapi
from linkstead.explorer.reference import describe_action
from tests.rig import Rig
from tests.wire import fetch


def form_of(action: str) -> dict[str, Any]:
    operation = make_openapi()["paths"][f"/?Action={action}"]["post"]
    form: dict[str, Any] = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    return form


def test_a_validator_finds_no_fault() -> None:
    validate(json.loads(encode_openapi()), cls=OpenAPIV31SpecValidator)


def test_every_action_is_an_operation() -> None:
    paths = make_openapi()["paths"]
    assert [path["post"]["operationId"] for path in paths.values()] == list(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_parameter_of_an_example_has_a_schema(action: str) -> None:
    form = form_of(action)
    sent = flatten_arguments(make_example(describe_action(action), whole=True))
    patterns = form.get("patternProperties", {})
    for name in sent:
        matches = [pattern for pattern in patterns if re.search(pattern, name)]
        assert (name in form["properties"]) + len(matches) == 1, name
    assert set(form.get("required", ())) <= set(sent)


def test_ranges_become_bounds_and_choices() -> None:
    timeout = form_of("RRpc")["properties"]["Timeout"]
    assert timeout["type"] == "integer"
    assert (timeout["minimum"], timeout["maximum"]) == (1000, 8000)
    assert form_of("CreateProduct")["properties"]["NodeType"]["enum"] == [0, 1]
    assert form_of("CreateProduct")["properties"]["NetType"]["enum"][0] == "WIFI"
    assert form_of("QueryDevice")["properties"]["PageSize"]["default"] == 10
    apply_id = form_of("BatchRegisterDeviceWithApplyId")["properties"]["ApplyId"]
    assert apply_id["minimum"] == 1
    assert "maximum" not in apply_id


def test_a_repeated_parameter_is_numbered_from_1() -> None:
    form = form_of("CreateProductTags")
    (pattern, _) = form["patternProperties"]
    assert re.search(pattern, "ProductTag.12.TagKey")
    for name in ("ProductTag.0.TagKey", "ProductTag.1", "ProductTag.1.TagKeys", "xProductTag.1.TagKey"):
        assert not re.search(pattern, name)
    assert "DeviceName.1" in form_of("BatchQueryDeviceDetail")["required"]


@pytest.mark.asyncio
async def test_the_server_gives_it_to_everybody(rig: Rig) -> None:
    response = await fetch(rig.http, "GET", "/openapi.json", {})
    assert (response.status, response.body) == (200, encode_openapi())
    assert response.headers["Content-Type"] == "application/json;charset=utf-8"
