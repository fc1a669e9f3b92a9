"""The certificate of a device: QueryDeviceCert."""

from msgspec import UNSET, UnsetType, field

from linkstead.action import Action, ActionContext, Answer, Request, Shape
from linkstead.registry import find_device

GENERATED = 2
"""Source: QueryDeviceCert reference, row Status; 0 and 1 are of certificates that the platform has not made."""


class QueryDeviceCertRequest(Request):
    """Source: QueryDeviceCert reference, request parameters."""

    product_key: str
    device_name: str
    iot_instance_id: str = ""


class DeviceCertInfo(Shape):
    """Source: QueryDeviceCert reference, returned data. PrivateKey is never sent: it is the device's alone."""

    cert_sn: str = field(name="CertSN")
    certificate: str
    status: int
    private_key: str | UnsetType = UNSET


class QueryDeviceCertAnswer(Answer):
    """DeviceCertInfo is absent where the device has no certificate."""

    device_cert_info: DeviceCertInfo | UnsetType = UNSET


async def query_device_cert(context: ActionContext, request: QueryDeviceCertRequest) -> QueryDeviceCertAnswer:
    """Tell the serial number, in hex, and the PEM of a device's certificate.

    Raises:
        ApiError: see `find_device`.
    """
    device = await find_device(
        context.registry, context.scope, product_key=request.product_key, device_name=request.device_name
    )
    found = await context.registry.store.find_device_certificate(device.key)
    if found is None:
        return QueryDeviceCertAnswer()
    return QueryDeviceCertAnswer(
        device_cert_info=DeviceCertInfo(cert_sn=found.serial_number, certificate=found.certificate, status=GENERATED)
    )


ACTIONS = (
    Action(
        name="QueryDeviceCert",
        request=QueryDeviceCertRequest,
        answer=QueryDeviceCertAnswer,
        function=query_device_cert,
    ),
)
