"""Requests and answers of InvokeThingService and InvokeThingsService."""

import msgspec
from msgspec import UNSET, UnsetType

from linkstead.action import Answer, Request, Shape

_encode = msgspec.json.Encoder().encode


class InvokeThingServiceRequest(Request):
    """Source: InvokeThingService reference, request parameters."""

    args: str
    identifier: str
    iot_id: str = ""
    product_key: str = ""
    device_name: str = ""
    qos: int = 0
    iot_instance_id: str = ""


class InvokeThingServiceData(Shape):
    """`result` is JSON text, and there for synchronous calls only."""

    result: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET


class InvokeThingServiceAnswer(Answer):
    """Source: InvokeThingService reference, response parameters."""

    data: InvokeThingServiceData | UnsetType = UNSET

    def write_json(self) -> bytes | None:
        """See `Answer.write_json`: of a call that was accepted or answered."""
        data = self.data
        if data is UNSET:
            return None
        result = b"" if data.result is UNSET else b'"Result":' + _encode(data.result) + b","
        end = f'"MessageId":"{data.message_id}"}},"RequestId":"{self.request_id}","Success":true}}'
        return b'{"Data":{' + result + end.encode()


class InvokeThingsServiceRequest(Request):
    """Source: InvokeThingsService reference, request parameters."""

    args: str
    identifier: str
    product_key: str
    device_name: list[str]
    qos: int = 0
    iot_instance_id: str = ""
