"""Requests and answers of InvokeThingService and InvokeThingsService."""

from msgspec import UNSET, UnsetType

from linkstead.action import Answer, Request, Shape


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


class InvokeThingsServiceRequest(Request):
    """Source: InvokeThingsService reference, request parameters."""

    args: str
    identifier: str
    product_key: str
    device_name: list[str]
    qos: int = 0
    iot_instance_id: str = ""
