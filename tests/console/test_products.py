"""Pages of products, their models and scripts, over the wire."""

import json
from typing import Any

import pytest

from linkstead.console.products import check_model, diff_models, read_sample, show_returned
from linkstead.models.scripts import PROTOCOL_TO_RAW, RAW_TO_PROTOCOL, TRANSFORM_PAYLOAD
from linkstead.tsl import ThingModel
from tests.console.web import visitor
from tests.rig import PRODUCT_KEY, Rig
from tests.tsl.documents import read_sample as read_model

MODEL: dict[str, Any] = {
    "profile": {"version": "1.0", "productKey": "a1Another00"},
    "properties": [
        {
            "identifier": "Level",
            "name": "Level",
            "accessMode": "rw",
            "dataType": {"type": "int", "specs": {"min": "0", "max": "9"}},
        }
    ],
}
SCRIPT = """
function rawDataToProtocol(bytes) { return {method: 'thing.event.property.post', params: {Level: bytes[0]}}; }
function protocolToRawData(json) { return [json.params.Level, 255]; }
"""


@pytest.mark.parametrize(
    ("text", "rule", "line"),
    [
        ("", "JSON", 1),
        ('{\n"a": }', "JSON", 2),
        ("[" * 100_000, "JSON", 1),
        ('{"properties": [\n{"identifier": 7}]}', "properties[0]", 2),
        (json.dumps(MODEL), "", 0),
    ],
)
def test_a_model_is_checked_and_its_fault_has_a_line(text: str, rule: str, line: int) -> None:
    said, at = check_model(text)
    assert said.startswith(rule)
    assert bool(said) == bool(rule)
    assert at == line


def test_a_difference_has_signs() -> None:
    lamp = read_model("lamp")
    assert {sign for sign, _ in diff_models(None, lamp)} == {"@", "+"}
    assert diff_models(lamp, lamp) == []
    assert {sign for sign, _ in diff_models(lamp, ThingModel(lamp.product_key))} >= {"-"}


def test_samples_are_what_a_function_takes() -> None:
    assert json.loads(read_sample(RAW_TO_PROTOCOL, "01 ff")) == [[1, 255]]
    assert json.loads(read_sample(TRANSFORM_PAYLOAD, "0x01"))[1] == [1]
    assert json.loads(read_sample(PROTOCOL_TO_RAW, '{"a":1}')) == [{"a": 1}]
    for function, sample in ((RAW_TO_PROTOCOL, "zz"), (PROTOCOL_TO_RAW, "[]"), (PROTOCOL_TO_RAW, "{")):
        with pytest.raises(ValueError, match=r"hex|JSON"):
            read_sample(function, sample)


def test_what_a_function_returned_is_shown() -> None:
    assert show_returned(PROTOCOL_TO_RAW, b"[1,-1]") == "01 ff"
    assert show_returned(RAW_TO_PROTOCOL, b'{"a":1}') == '{\n  "a": 1\n}'
    assert show_returned(PROTOCOL_TO_RAW, b'"x"') == '"x"'
    assert show_returned(RAW_TO_PROTOCOL, b"") == "undefined"


@pytest.mark.asyncio
async def test_a_model_goes_from_draft_to_published_to_a_file(rig: Rig) -> None:
    guest = await visitor(rig)
    base = f"/products/{PRODUCT_KEY}/model"
    assert "Empty" in (await guest.get(base)).body.decode()
    assert (await guest.get(base + "/export")).status == 404
    response = await guest.post(base, tsl='{"properties": [{"identifier": 7}]}')
    assert response.status == 400
    assert "Line 1" in response.body.decode()
    assert "Line 1" in (await guest.post(base + "/check", tsl="{")).body.decode()
    assert (await guest.post(base, tsl=json.dumps(MODEL))).status == 303
    assert 'data-sign="+"' in (await guest.get(base)).body.decode()
    assert (await guest.post(base + "/publish", version="x y")).status == 400
    assert (await guest.post(base + "/publish", version="1.0")).status == 303
    assert "Level" in (await guest.get(f"/products/{PRODUCT_KEY}")).body.decode()
    for of in ("", "?of=simple", "?of=draft"):
        exported = await guest.get(base + "/export" + of)
        assert exported.headers["Content-Disposition"] == f'attachment; filename="{PRODUCT_KEY}.tsl.json"'
        assert exported.json()["properties"][0]["identifier"] == "Level"
    assert exported.json()["profile"]["productKey"] == PRODUCT_KEY
    assert (await guest.get(base + "/export?module=none")).status == 404


@pytest.mark.asyncio
async def test_a_script_is_tried_out_before_it_is_kept(rig: Rig) -> None:
    guest = await visitor(rig)
    made = await guest.post("/products", name="Raw-probe", format="0")
    path = made.headers["Location"].removeprefix("/console")
    assert made.status == 303
    tried = await guest.post(
        path + "/script", script=SCRIPT, do="try", function=RAW_TO_PROTOCOL, sample="07", kept="no"
    )
    assert "&#34;Level&#34;: 7" in tried.body.decode()
    tried = await guest.post(
        path + "/script", script=SCRIPT, do="try", function=PROTOCOL_TO_RAW, sample='{"params":{"Level":3}}', kept="no"
    )
    assert "03 ff" in tried.body.decode()
    tried = await guest.post(path + "/script", script="throw 1", do="try", function=RAW_TO_PROTOCOL, sample="07")
    assert tried.status == 400
    assert (await guest.post(path + "/script", script=SCRIPT, do="try", function="eval", sample="")).status == 400
    assert (await guest.post(path + "/script", script=SCRIPT, do="save", kept="no")).status == 303
    page = (await guest.get(path + "/script")).body.decode()
    assert "rawDataToProtocol(bytes)" in page
    assert 'name="kept" value="yes"' in page
    assert (await guest.post(path + "/script", script=SCRIPT + "//", do="save", kept="yes")).status == 303


@pytest.mark.asyncio
async def test_a_product_is_made_given_a_topic_and_deleted(rig: Rig) -> None:
    guest = await visitor(rig)
    assert (await guest.post("/products", name="x")).status >= 400
    made = await guest.post("/products", name="Short-lived", node="1")
    path = made.headers["Location"].removeprefix("/console")
    assert (await guest.post(path + "/topics", name="hello", operation="PUB")).status == 303
    page = (await guest.get(path)).body.decode()
    assert "/user/hello" in page
    assert "gateway" in page
    assert "ProductSecret" not in page
    topic = page.partition("/user/hello")[2].partition("/topics/")[2].partition("/")[0]
    assert (await guest.post(f"{path}/topics/{topic}/delete")).status == 303
    assert "/user/hello" not in (await guest.get(path)).body.decode()
    assert (await guest.post(path + "/delete")).status == 303
    assert (await guest.get(path)).status == 404
    assert (await guest.get("/products?page=7")).status == 200
    assert (await guest.get("/products?page=-1")).status == 200
