import pytest
from msgspec import UNSET

from linkstead.actions.device.certificates import QueryDeviceCertRequest, query_device_cert
from linkstead.errors import codes
from linkstead.registry import DeviceCertificate, DeviceKey
from tests.actions.world import OTHER_ACCOUNT_ID, World, check_refusal

pytestmark = pytest.mark.asyncio


async def test_a_certificate_is_shown_without_its_key(world: World) -> None:
    product_key = (await world.create_product()).product_key
    await world.register_device(product_key)
    request = QueryDeviceCertRequest(product_key=product_key, device_name="lamp-01")
    assert (await query_device_cert(world.context(), request)).device_cert_info is UNSET
    key = DeviceKey(product_key, "lamp-01")
    certificate = DeviceCertificate(key, "0a" * 32, "1F2E", "-----BEGIN CERTIFICATE-----\n", world.now_ms)
    assert await world.store.set_device_certificate(certificate)
    shown = (await query_device_cert(world.context(), request)).device_cert_info
    assert shown is not UNSET
    assert (shown.cert_sn, shown.certificate, shown.status) == ("1F2E", "-----BEGIN CERTIFICATE-----\n", 2)
    assert shown.private_key is UNSET
    await check_refusal(query_device_cert(world.context(OTHER_ACCOUNT_ID), request), codes.NOT_EXISTED_PRODUCT)
