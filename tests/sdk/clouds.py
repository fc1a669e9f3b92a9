"""The cloud SDKs that users call with, each behind the same `call`: parameters in, the answer as the SDK gives it."""

import asyncio
import importlib
import json
import os
import re
import subprocess
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

from alibabacloud_iot20180120 import models
from alibabacloud_iot20180120.client import Client
from alibabacloud_tea_openapi.models import Config
from alibabacloud_tea_util.models import RuntimeOptions
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from Tea.exceptions import TeaException

from tests.sdk.child import NODE_PROGRAMS, Child
from tests.sdk.identity import Key

REGION = "cn-shanghai"
CALL_SCRIPT = Path(__file__).with_name("call.sh")
CURL_WAIT_S = 30.0

Parameters = Mapping[str, Any]
"""By their names on the wire; a list is given as a list."""

LISTED = (
    *("ProductInfo", "DeviceInfo", "DeviceStatus", "ModelVersions"),
    *("ApplyDeviceInfo", "SimpleDeviceInfo", "invalidDetailList"),
)
"""Elements of XML answers that are lists, even with one entry or none."""

LISTED_WITHIN = (("Data", "Data"), ("ValidList", "Name"), ("InvalidList", "Name"))
"""Elements that are lists inside some others."""


class Refused(Exception):
    """The SDK raised its own exception: what it says of the code, the message and the request id."""

    def __init__(self, code: str, message: str, request_id: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.request_id = request_id


class Cloud(Protocol):
    """One SDK in one of its ways.

    `raises_on_code`: an answer with a `Code` becomes an exception even with HTTP 200.
    `secret_code`: the code it reports for a wrong secret.
    `rounds`: numbers above 2^53 lose digits in it.
    """

    raises_on_code: bool
    secret_code: str
    rounds: bool

    def call(self, action: str, parameters: Parameters, key: Key | None = None) -> dict[str, Any]:
        """Call an action, with another key than its own where one is given.

        Raises:
            Refused: see there.
        """

    def close(self) -> None:
        """End what it started."""


class PythonCore:
    """aliyun-python-sdk-core with aliyun-python-sdk-iot.

    As JSON: the way the documentation shows, with the endpoint told to the client. As XML: by the older `get_response`,
    as only that leaves the format alone, with the endpoint told to the request.
    """

    raises_on_code = False
    rounds = False

    def __init__(self, endpoint: str, key: Key, *, as_xml: bool = False, ca_file: Path | None = None) -> None:
        self._endpoint = endpoint
        self._key = key
        self._as_xml = as_xml
        self._verify = None if ca_file is None else str(ca_file)
        # The SDK compares the server's string to sign with its own, and only in JSON can it read the server's.
        self.secret_code = "SignatureDoesNotMatch" if as_xml else "InvalidAccessKeySecret"

    def call(self, action: str, parameters: Parameters, key: Key | None = None) -> dict[str, Any]:
        client = AcsClient(*(key or self._key), REGION, verify=self._verify)
        module = importlib.import_module(f"aliyunsdkiot.request.v20180120.{action}Request")
        request = getattr(module, f"{action}Request")()
        for name, value in parameters.items():
            plural = "s" if isinstance(value, list) else ""
            getattr(request, f"set_{name}{plural}")(value)
        if self._verify is not None:
            request.set_protocol_type("https")
        if not self._as_xml and self._verify is None:
            return self._do_action(client, request)
        with warnings.catch_warnings():
            # `get_response` is, and so is what the HTTP library inside the SDK begins TLS with.
            warnings.simplefilter("ignore", DeprecationWarning)
            return self._get_response(client, request) if self._as_xml else self._do_action(client, request)

    def _do_action(self, client: Any, request: Any) -> dict[str, Any]:
        client.add_endpoint(REGION, "Iot", self._endpoint)
        try:
            body = client.do_action_with_exception(request)
        except ServerException as error:
            raise Refused(error.error_code, error.message, error.request_id) from None
        answer: dict[str, Any] = json.loads(body)
        return answer

    def _get_response(self, client: Any, request: Any) -> dict[str, Any]:
        request.set_endpoint(self._endpoint)
        request.set_accept_format("XML")
        status, _headers, body = client.get_response(request)
        return read_xml_answer(status, body.decode())

    def close(self) -> None:
        pass


class PythonTea:
    """alibabacloud-iot20180120, by its functions or its coroutines, with ACS3 or with `signature_algorithm="v2"`."""

    raises_on_code = False
    secret_code = "SignatureDoesNotMatch"
    rounds = False

    def __init__(
        self, endpoint: str, key: Key, *, v2: bool = False, in_loop: bool = False, ca_file: Path | None = None
    ) -> None:
        self._endpoint = endpoint
        self._key = key
        self._v2 = v2
        self._in_loop = in_loop
        self._ca_file = None if ca_file is None else str(ca_file)

    def call(self, action: str, parameters: Parameters, key: Key | None = None) -> dict[str, Any]:
        access_key_id, access_key_secret = key or self._key
        client = Client(
            Config(
                access_key_id=access_key_id,
                access_key_secret=access_key_secret,
                endpoint=self._endpoint,
                protocol="http" if self._ca_file is None else "https",
                signature_algorithm="v2" if self._v2 else None,
            )
        )
        request = getattr(models, f"{action}Request")().from_map(dict(parameters))
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower() + "_with_options"
        runtime = RuntimeOptions(ca=self._ca_file)
        try:
            if self._in_loop:
                response = asyncio.run(getattr(client, f"{name}_async")(request, runtime))
            else:
                response = getattr(client, name)(request, runtime)
        except TeaException as error:
            raise Refused(error.code, error.message, (error.data or {}).get("RequestId", "")) from None
        answer: dict[str, Any] = response.body.to_map()
        return answer

    def close(self) -> None:
        pass


class NodeCloud:
    """The SDKs for Node.js, in a child process: `tests/node/cloud.mjs`."""

    secret_code = "SignatureDoesNotMatch"

    def __init__(self, endpoint: str, key: Key, *, sdk: str, ca_file: Path | None = None, **settings: object) -> None:
        self._key = key
        # pop-core throws whatever Code there is, and reads large numbers with json-bigint.
        self.raises_on_code = sdk == "pop"
        self.rounds = sdk == "tea"
        trust = {"protocol": "http"} if ca_file is None else {"protocol": "https", "ca": ca_file.read_text()}
        told = {"sdk": sdk, "endpoint": endpoint, **trust, **settings}
        command = ["node", str(NODE_PROGRAMS / "cloud.mjs"), json.dumps(told)]
        self._child = Child(command, missing="make test (it brings Node.js and the npm packages)")

    def call(self, action: str, parameters: Parameters, key: Key | None = None) -> dict[str, Any]:
        access_key_id, access_key_secret = key or self._key
        said = self._child.ask(
            {
                "action": action,
                "parameters": parameters,
                "accessKeyId": access_key_id,
                "accessKeySecret": access_key_secret,
            }
        )
        if "error" in said:
            error = said["error"]
            data = error["data"] or {}
            # What went wrong on the way has a name only.
            raise Refused(error.get("code") or error["name"], error["message"], data.get("RequestId", ""))
        answer: dict[str, Any] = said["answer"]
        return answer

    def close(self) -> None:
        self._child.stop()


class Curl:
    """curl, with a signature made by hand: `call.sh`. GET asking for JSON, or POST asking for nothing, which is XML."""

    raises_on_code = False
    secret_code = "SignatureDoesNotMatch"
    rounds = False

    def __init__(self, endpoint: str, key: Key, *, as_xml: bool = False, ca_file: Path | None = None) -> None:
        self._url = f"{'http' if ca_file is None else 'https'}://{endpoint}"
        self._trust = {} if ca_file is None else {"CURL_CA_BUNDLE": str(ca_file)}
        self._key = key
        self._as_xml = as_xml

    def call(self, action: str, parameters: Parameters, key: Key | None = None) -> dict[str, Any]:
        access_key_id, access_key_secret = key or self._key
        environment = {
            **os.environ,
            **self._trust,
            "ACCESS_KEY_ID": access_key_id,
            "ACCESS_KEY_SECRET": access_key_secret,
            "FORMAT": "" if self._as_xml else "JSON",
        }
        method = "POST" if self._as_xml else "GET"
        arguments = [f"{name}={value}" for name, value in flatten(parameters)]
        command = ["bash", str(CALL_SCRIPT), method, self._url, action, *arguments]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CURL_WAIT_S, check=False)
        assert ran.returncode == 0, f"{ran.stderr}\n(curl and openssl are missing? make system)"
        body, _, last = ran.stdout.rstrip("\n").rpartition("\n")
        status, _, content_type = last.partition(" ")
        if self._as_xml:
            assert content_type == "text/xml;charset=utf-8"
            return read_xml_answer(int(status), body)
        assert content_type == "application/json;charset=utf-8"
        answer: dict[str, Any] = json.loads(body)
        if status != "200":
            raise Refused(answer["Code"], answer["Message"], answer["RequestId"])
        return answer

    def close(self) -> None:
        pass


CLOUDS: dict[str, Callable[..., Cloud]] = {
    "python-core": PythonCore,
    "python-core-xml": partial(PythonCore, as_xml=True),
    "python-tea": PythonTea,
    "python-tea-v2": partial(PythonTea, v2=True),
    "python-tea-async": partial(PythonTea, in_loop=True),
    "python-tea-async-v2": partial(PythonTea, in_loop=True, v2=True),
    "node-pop-get": partial(NodeCloud, sdk="pop", method="GET"),
    "node-pop-post": partial(NodeCloud, sdk="pop", method="POST"),
    "node-tea": partial(NodeCloud, sdk="tea"),
    "node-tea-v2": partial(NodeCloud, sdk="tea", signatureAlgorithm="v2"),
    "curl": Curl,
    "curl-xml": partial(Curl, as_xml=True),
}
"""Every SDK in every way: `make(endpoint, key)` for plain HTTP at HOST:PORT; with `ca_file` for HTTPS, trusting that.

Source: `real-clients.md` 1.4.
"""


def flatten(parameters: Parameters) -> list[tuple[str, str]]:
    """Lists as the wire has them: `Name.1`, `Name.2`, …; of objects, `Name.1.Field`."""
    flat: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if isinstance(value, list):
            for index, entry in enumerate(value, 1):
                fields = entry.items() if isinstance(entry, dict) else [("", entry)]
                flat += [(f"{name}.{index}.{field}".rstrip("."), str(each)) for field, each in fields]
        else:
            flat.append((name, str(value)))
    return flat


def read_xml_answer(status: int, text: str) -> dict[str, Any]:
    """An answer in XML as the like in JSON, but numbers are text.

    Raises:
        Refused: its root is `<Error>`.
    """
    assert text.startswith("<?xml version='1.0' encoding='UTF-8'?>")
    root = ElementTree.fromstring(text)
    answer = _read_element(root)
    assert isinstance(answer, dict)
    assert (root.tag == "Error") == (status != 200)
    if root.tag == "Error":
        raise Refused(answer["Code"], answer["Message"], answer["RequestId"])
    return answer


def _read_element(element: ElementTree.Element) -> dict[str, Any] | str | bool:
    if not len(element):
        text = element.text or ""
        return text == "true" if text in ("true", "false") else text
    read: dict[str, Any] = {}
    for child in element:
        value = _read_element(child)
        if child.tag in LISTED or (element.tag, child.tag) in LISTED_WITHIN:
            read.setdefault(child.tag, []).append(value)
        else:
            assert child.tag not in read
            read[child.tag] = value
    return read
