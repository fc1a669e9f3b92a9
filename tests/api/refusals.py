"""What the gateway's refusals look like on the wire. Source: `cloud-api.md` 3.1."""

import json
from html import escape

from tests.wire import Response

JSON_TYPE, XML_TYPE = "application/json;charset=utf-8", "text/xml;charset=utf-8"
DECLARATION = "<?xml version='1.0' encoding='UTF-8'?>"


def check_refusal(response: Response, status: int, code: str, message: str, host: str, *, as_xml: bool) -> None:
    """The response is this error of the gateway, to the letter."""
    request_id = response.headers["x-acs-request-id"]
    if as_xml:
        fields = {"RequestId": request_id, "HostId": host, "Code": code, "Message": escape(message, quote=False)}
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
        body = f"{DECLARATION}<Error>{inner}</Error>"
    else:
        body = json.dumps(
            {"RequestId": request_id, "HostId": host, "Code": code, "Message": message}, separators=(",", ":")
        )
    assert (response.status, response.body.decode()) == (status, body)
    assert response.headers["Content-Type"] == (XML_TYPE if as_xml else JSON_TYPE)
    assert response.headers["Content-Length"] == str(len(response.body))


def check_code(response: Response, status: int, code: str) -> None:
    """The response is a refusal in JSON with this status and code."""
    assert (response.status, response.json()["Code"]) == (status, code)
