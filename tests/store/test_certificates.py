"""Certificates of devices, on every engine."""

from dataclasses import replace

import pytest

from linkstead.registry import AlreadyExists, DeviceCertificate, DeviceKey
from linkstead.store.sql import SqlStore
from tests.store.samples import NOW_MS, PRODUCT_KEY, a_product, an_account, some_devices

pytestmark = pytest.mark.asyncio

FIRST, SECOND = (DeviceKey(PRODUCT_KEY, name) for name in ("meter-1", "meter-2"))
CERTIFICATE = DeviceCertificate(FIRST, "0a" * 32, "1F", "-----BEGIN CERTIFICATE-----", NOW_MS)


async def add_devices(store: SqlStore) -> None:
    await store.add_account(an_account())
    await store.add_product(a_product())
    await store.add_devices(some_devices((FIRST.device_name, SECOND.device_name)))


async def test_one_is_found_by_its_device_and_by_its_fingerprint(store: SqlStore) -> None:
    await add_devices(store)
    assert await store.set_device_certificate(CERTIFICATE)
    assert await store.find_device_certificate(FIRST) == CERTIFICATE
    assert await store.find_certificate(CERTIFICATE.fingerprint) == CERTIFICATE
    assert await store.find_device_certificate(SECOND) is None
    assert await store.find_certificate("0b" * 32) is None


async def test_a_new_one_takes_the_place_of_the_old(store: SqlStore) -> None:
    await add_devices(store)
    new = replace(CERTIFICATE, fingerprint="0b" * 32)
    for certificate in (CERTIFICATE, CERTIFICATE, new):
        assert await store.set_device_certificate(certificate)
    assert await store.find_device_certificate(FIRST) == new
    assert await store.find_certificate(CERTIFICATE.fingerprint) is None


async def test_no_two_devices_have_the_same(store: SqlStore) -> None:
    await add_devices(store)
    other = replace(CERTIFICATE, key=SECOND, fingerprint="0b" * 32)
    await store.set_device_certificate(CERTIFICATE)
    await store.set_device_certificate(other)
    with pytest.raises(AlreadyExists) as caught:
        await store.set_device_certificate(replace(CERTIFICATE, key=SECOND))
    assert caught.value.args == ("fingerprint",)
    assert await store.find_device_certificate(SECOND) == other


async def test_it_goes_by_itself_and_with_its_device(store: SqlStore) -> None:
    await add_devices(store)
    assert not await store.delete_device_certificate(FIRST)
    await store.set_device_certificate(CERTIFICATE)
    assert await store.delete_device_certificate(FIRST)
    assert await store.find_certificate(CERTIFICATE.fingerprint) is None
    await store.set_device_certificate(CERTIFICATE)
    assert await store.delete_device(FIRST)
    assert await store.find_certificate(CERTIFICATE.fingerprint) is None
    assert not await store.set_device_certificate(CERTIFICATE)
