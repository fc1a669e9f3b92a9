import base64
import json
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from linkstead.action import Answer, Shape
from linkstead.actions.messaging import rrpc
from linkstead.actions.thing_service.shapes import InvokeThingServiceAnswer, InvokeThingServiceData
from linkstead.api.render import (
    JSON_TYPE,
    XML_TYPE,
    render_error_json,
    render_error_xml,
    render_json,
    render_xml,
)
from linkstead.invocation import Verdict

DECLARATION = "<?xml version='1.0' encoding='UTF-8'?>"
REQUEST_ID = "41C4265E-F05D-4E2E-AB09-E031F501AF7F"


class RRpcAnswer(Answer):
    rrpc_code: str | UnsetType = UNSET
    payload_base64_byte: str | UnsetType = msgspec.field(default=UNSET, name="PayloadBase64Byte")
    message_id: int | UnsetType = UNSET


class InvokeData(Shape):
    message_id: str
    result: str | UnsetType = UNSET


class InvokeAnswer(Answer):
    data: InvokeData | UnsetType = UNSET


class ProductInfo(Shape):
    product_key: str
    device_count: int


class ProductList(Shape):
    product_info: list[ProductInfo]


class Products(Shape):
    current_page: int
    list: ProductList


class ProductsAnswer(Answer):
    data: Products


class ModelVersion(Shape):
    model_version: str
    description: str | UnsetType = UNSET


class ModelVersions(Shape):
    model_versions: list[ModelVersion]


class ModelVersionsAnswer(Answer):
    data: ModelVersions


class NameList(Shape):
    name: list[str]


class Registered(Shape):
    invalid_list: NameList
    status: str
    valid_list: NameList


class RegisteredAnswer(Answer):
    data: Registered


class RelationAnswer(Answer):
    consumer_group_ids: list[str]
    device_data_flag: bool


class Loose(Shape):
    text: str | None = None
    number: float | None = None
    items: list[str] = msgspec.field(default_factory=list)


class LooseAnswer(Answer):
    loose: Loose | None = None
    several: list[Loose] = msgspec.field(default_factory=list)
    text: str = ""


# answers, and their own fields as JSON and as XML. Source: `response-examples.json`
PAIRS: dict[str, tuple[Answer, dict[str, object], str]] = {
    "RRpc": (
        RRpcAnswer(rrpc_code="SUCCESS", payload_base64_byte="d29ybGQgaGVsbG8=", message_id=889455942124347392),
        {"RrpcCode": "SUCCESS", "PayloadBase64Byte": "d29ybGQgaGVsbG8=", "MessageId": 889455942124347392},
        """
        <RrpcCode>SUCCESS</RrpcCode>
        <PayloadBase64Byte>d29ybGQgaGVsbG8=</PayloadBase64Byte>
        <MessageId>889455942124347392</MessageId>
        """,
    ),
    "InvokeThingService": (
        InvokeAnswer(data=InvokeData(message_id="1735689601", result='{"code":200,"data":null}')),
        {"Data": {"MessageId": "1735689601", "Result": '{"code":200,"data":null}'}},
        """
        <Data>
          <MessageId>1735689601</MessageId>
          <Result>{"code":200,"data":null}</Result>
        </Data>
        """,
    ),
    "QueryProductList": (
        ProductsAnswer(
            data=Products(
                current_page=1,
                list=ProductList(
                    product_info=[
                        ProductInfo(product_key="a1", device_count=2),
                        ProductInfo(product_key="a2", device_count=0),
                    ]
                ),
            ),
        ),
        {
            "Data": {
                "CurrentPage": 1,
                "List": {
                    "ProductInfo": [
                        {"ProductKey": "a1", "DeviceCount": 2},
                        {"ProductKey": "a2", "DeviceCount": 0},
                    ]
                },
            },
        },
        """
        <Data>
          <CurrentPage>1</CurrentPage>
          <List>
            <ProductInfo><ProductKey>a1</ProductKey><DeviceCount>2</DeviceCount></ProductInfo>
            <ProductInfo><ProductKey>a2</ProductKey><DeviceCount>0</DeviceCount></ProductInfo>
          </List>
        </Data>
        """,
    ),
    "empty list": (
        ProductsAnswer(data=Products(current_page=1, list=ProductList(product_info=[]))),
        {"Data": {"CurrentPage": 1, "List": {"ProductInfo": []}}},
        "<Data><CurrentPage>1</CurrentPage><List></List></Data>",
    ),
    "list without a wrapper": (
        ModelVersionsAnswer(
            data=ModelVersions(
                model_versions=[ModelVersion(model_version="v1", description="°C"), ModelVersion(model_version="v2")]
            ),
        ),
        {"Data": {"ModelVersions": [{"ModelVersion": "v1", "Description": "°C"}, {"ModelVersion": "v2"}]}},
        """
        <Data>
          <ModelVersions><ModelVersion>v1</ModelVersion><Description>°C</Description></ModelVersions>
          <ModelVersions><ModelVersion>v2</ModelVersion></ModelVersions>
        </Data>
        """,
    ),
    "list of texts": (
        RegisteredAnswer(
            data=Registered(
                invalid_list=NameList(name=[]), status="CREATE_SUCCESS", valid_list=NameList(name=["a", "b"])
            ),
        ),
        {"Data": {"InvalidList": {"Name": []}, "Status": "CREATE_SUCCESS", "ValidList": {"Name": ["a", "b"]}}},
        """
        <Data>
          <InvalidList></InvalidList>
          <Status>CREATE_SUCCESS</Status>
          <ValidList><Name>a</Name><Name>b</Name></ValidList>
        </Data>
        """,
    ),
    "list of texts without a wrapper": (
        RelationAnswer(consumer_group_ids=["g1", "g2"], device_data_flag=True),
        {"ConsumerGroupIds": ["g1", "g2"], "DeviceDataFlag": True},
        """
        <ConsumerGroupIds><e>g1</e><e>g2</e></ConsumerGroupIds>
        <DeviceDataFlag>true</DeviceDataFlag>
        """,
    ),
    "None is left out": (
        LooseAnswer(loose=Loose(text=None, number=21.5), several=[Loose(text="null"), Loose(items=["a", "b"])]),
        {
            "Loose": {"Number": 21.5, "Items": []},
            "Several": [{"Text": "null", "Items": []}, {"Items": ["a", "b"]}],
            "Text": "",
        },
        """
        <Loose><Number>21.5</Number></Loose>
        <Several><Text>null</Text></Several>
        <Several><Items>a</Items><Items>b</Items></Several>
        <Text></Text>
        """,
    ),
}
all_pairs = pytest.mark.parametrize(("answer", "own_json", "own_xml"), PAIRS.values(), ids=PAIRS)


@all_pairs
def test_answer_is_rendered_as_json(answer: Answer, own_json: dict[str, object], own_xml: str) -> None:
    expected = {**own_json, "RequestId": "", "Success": True}
    assert render_json(answer) == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()


@all_pairs
def test_answer_is_rendered_as_xml(answer: Answer, own_json: dict[str, object], own_xml: str) -> None:
    own = "".join(line.strip() for line in own_xml.splitlines())
    body = render_xml("Query", answer)
    assert body.decode() == (
        f"{DECLARATION}<QueryResponse>{own}<RequestId></RequestId><Success>true</Success></QueryResponse>"
    )
    assert ElementTree.fromstring(body).tag == "QueryResponse"


def test_business_failure_has_code_and_error_message() -> None:
    answer = RRpcAnswer(
        request_id=REQUEST_ID, success=False, code="iot.prod.NotExistedProduct", error_message="No such product."
    )
    assert json.loads(render_json(answer)) == {
        "RequestId": REQUEST_ID,
        "Success": False,
        "Code": "iot.prod.NotExistedProduct",
        "ErrorMessage": "No such product.",
    }
    assert render_xml("RRpc", answer).decode() == (
        f"{DECLARATION}<RRpcResponse><RequestId>{REQUEST_ID}</RequestId><Success>false</Success>"
        "<Code>iot.prod.NotExistedProduct</Code><ErrorMessage>No such product.</ErrorMessage></RRpcResponse>"
    )


def test_gateway_error_has_its_own_shape() -> None:
    fields = ("R", "localhost:8686", "SignatureNonceUsed", "Specified signature nonce was used already.")
    assert render_error_json(*fields) == (
        b'{"RequestId":"R","HostId":"localhost:8686","Code":"SignatureNonceUsed",'
        b'"Message":"Specified signature nonce was used already."}'
    )
    assert render_error_xml(*fields) == (
        b"<?xml version='1.0' encoding='UTF-8'?><Error><RequestId>R</RequestId><HostId>localhost:8686</HostId>"
        b"<Code>SignatureNonceUsed</Code><Message>Specified signature nonce was used already.</Message></Error>"
    )


def test_content_types_are_the_vendors() -> None:
    assert JSON_TYPE == "application/json;charset=utf-8"
    assert XML_TYPE == "text/xml;charset=utf-8"


def test_string_to_sign_survives_in_the_message_of_an_error() -> None:
    message = "Specified signature is not matched with our calculation. server string to sign is:GET&%2F&A%3D1"
    assert ElementTree.fromstring(render_error_xml("R", "<h>", "C", message)).findtext("Message") == message
    assert json.loads(render_error_json("R", "<h>", "C", message))["Message"] == message


def legal(char: str) -> str:
    code = ord(char)
    is_legal = char in "\t\n\r" or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
    return char if is_legal else "\ufffd"


@given(st.text() | st.text("<>&\"'\r\n\t\0\x0b\x1f\ud800\ufffe\uffff\U0001f600]"))
@settings(deadline=None)
def test_any_text_is_legal_xml_and_read_back(text: str) -> None:
    root = ElementTree.fromstring(render_error_xml("R", "h", "C", text))
    assert root.findtext("Message") == "".join(map(legal, text))


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(deadline=None)
def test_any_text_is_read_back_from_json(text: str) -> None:
    assert json.loads(render_json(LooseAnswer(text=text)))["Text"] == text


def test_what_rrpc_writes_itself_is_what_is_written_in_general() -> None:
    payload = base64.b64encode(bytes(range(256))).decode()
    answer = rrpc.RRpcAnswer(rrpc_code=Verdict.SUCCESS, payload_base64_byte=payload, message_id=889455942124347392)
    answer.request_id = "E4C0FF92-2A86-41DB-92D3-73B60310D25E"
    assert answer.write_json() == msgspec.json.encode(answer) == render_json(answer)


@pytest.mark.parametrize("result", ['{"code":200,"data":{"Out":"a \\"灯\\" null"}}', "", UNSET])
def test_what_a_service_writes_itself_is_what_is_written_in_general(result: str | UnsetType) -> None:
    data = InvokeThingServiceData(result=result, message_id="1234567890")
    answer = InvokeThingServiceAnswer(data=data, request_id="E4C0FF92-2A86-41DB-92D3-73B60310D25E")
    assert answer.write_json() == msgspec.json.encode(answer) == render_json(answer)


def test_what_has_texts_to_escape_is_written_in_general() -> None:
    answer = rrpc.RRpcAnswer(success=False, rrpc_code=Verdict.TIMEOUT, error_message='"')
    assert answer.write_json() is None
    assert json.loads(render_json(answer))["ErrorMessage"] == '"'
