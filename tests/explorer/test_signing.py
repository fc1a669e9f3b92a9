import pytest

from linkstead.api import signatures
from linkstead.explorer.arguments import Arguments, flatten_arguments
from linkstead.explorer.signing import Format, Method, SignedRequest, Signer
from tests.rig import KEY, PRODUCT_KEY, Rig
from tests.wire import fetch

SIGNERS = {"v1": Signer.sign_v1, "v3": Signer.sign_v3}
AWKWARD = "dev 1*~:@.中&=+%/?"


def sign(
    version: str, action: str, arguments: Arguments, *, method: Method = "POST", answer_format: Format = "JSON"
) -> SignedRequest:
    signer = Signer(
        access_key_id="testid",
        secret="testsecret",
        host="127.0.0.1:8686",
        nonce="nonce-0002",
        timestamp="2024-01-01T00:00:00Z",
        method=method,
        answer_format=answer_format,
    )
    return SIGNERS[version](signer, action, arguments)


def test_version_1_is_shown_as_the_worked_example_has_it() -> None:
    # Source: `cloud-api.md` 2.1, without its RegionId.
    arguments = {
        "ProductKey": "a1b2c3d4e5F",
        "DeviceName": "device1",
        "Identifier": "service1",
        "Args": '{"param1":1}',
        "RegionId": "cn-shanghai",
    }
    request = sign("v1", "InvokeThingService", arguments, method="GET", answer_format="XML")
    assert request.signature == "9/2brEK8B7/scStO6rSe9/iZL54="
    assert request.string_to_sign.startswith("GET&%2F&AccessKeyId%3Dtestid%26Action%3DInvokeThingService%26Args%3D")
    assert request.canonical.startswith("AccessKeyId=testid&Action=InvokeThingService&Args=%7B%22param1%22%3A1%7D&")
    assert request.body == ""
    assert request.query.endswith("&Version=2018-01-20")


def test_version_1_of_a_post_is_its_form() -> None:
    request = sign("v1", "QueryProduct", {"ProductKey": AWKWARD})
    assert request.query == ""
    assert request.headers == {"host": "127.0.0.1:8686", "content-type": "application/x-www-form-urlencoded"}
    assert "ProductKey=dev%201%2A~%3A%40.%E4%B8%AD%26%3D%2B%25%2F%3F" in request.body.split("&")
    assert set(request.canonical.split("&")) == {
        pair for pair in request.body.split("&") if not pair.startswith("Signature=")
    }


@pytest.mark.parametrize("version", SIGNERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_each_step_leads_to_the_next(version: str, method: Method) -> None:
    request = sign(version, "CreateProductTags", {"ProductTag": [{"TagKey": "a", "TagValue": AWKWARD}]}, method=method)
    if version == "v1":
        assert request.string_to_sign == f"{method}&%2F&{signatures.percent_encode(request.canonical)}"
        assert request.signature == signatures.sign_v1(request.string_to_sign, "testsecret")
    else:
        assert request.canonical.startswith(f"{method}\n/\n{request.query}\n")
        assert request.string_to_sign == signatures.string_to_sign_v3(request.canonical)
        assert request.signature == signatures.sign_v3(request.string_to_sign, "testsecret")
        assert request.headers["authorization"].endswith(f"Signature={request.signature}")
    assert (request.query == "") == (method == "POST")


@pytest.mark.asyncio
@pytest.mark.parametrize("version", SIGNERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("answer_format", ["JSON", "XML"])
async def test_the_server_takes_it(rig: Rig, version: str, method: Method, answer_format: Format) -> None:
    signer = Signer(
        access_key_id=KEY.access_key_id,
        secret=KEY.secret,
        host=str(rig.http),
        nonce="once",
        timestamp=signatures.format_timestamp(rig.clock.time_s()),
        method=method,
        answer_format=answer_format,
    )
    names = [f"lamp-{number:02}" for number in range(12)]
    request = SIGNERS[version](signer, "BatchQueryDeviceDetail", {"ProductKey": PRODUCT_KEY, "DeviceName": names})
    response = await fetch(rig.http, method, f"/?{request.query}", request.headers, request.body.encode())
    assert response.status == 200
    assert response.body.startswith(b"{" if answer_format == "JSON" else b"<?xml")
    assert b"lamp-02" in response.body


def test_arguments_are_flattened_as_the_wire_has_them() -> None:
    arguments: Arguments = {
        "Simple": True,
        "PageSize": 10,
        "DeviceName": ["a", "b"],
        "Tag": [{"TagKey": "k", "Count": 1}, {"TagKey": "l"}],
    }
    assert flatten_arguments(arguments) == {
        "Simple": "true",
        "PageSize": "10",
        "DeviceName.1": "a",
        "DeviceName.2": "b",
        "Tag.1.TagKey": "k",
        "Tag.1.Count": "1",
        "Tag.2.TagKey": "l",
    }
