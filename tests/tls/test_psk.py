"""Devices that speak TLS with a pre-shared key, over real sockets. Needs Python 3.13: see `conftest.py`."""

import asyncio
import base64
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from linkstead.alink.psk import Identity, derive_key
from linkstead.config import Address
from linkstead.registry import DeviceKey
from linkstead.server import CERTIFICATE_LOOK_S
from linkstead.testing.clock import ManualClock
from linkstead.tls.contexts import PSK_SUITE
from tests.rig import LAMP, PRODUCT_KEY, Rig, RigStarter, device_secret
from tests.sdk.certificate import Certificate, make_certificate
from tests.tls.test_contexts import client_context
from tests.wire import until

assert sys.version_info >= (3, 13)

pytestmark = pytest.mark.asyncio

TIMESTAMP = "2524608000000"
UNKNOWN = DeviceKey(PRODUCT_KEY, "lamp-99")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("psk"))


@pytest_asyncio.fixture
async def psk_rig(start_rig: RigStarter, made: Certificate) -> AsyncIterator[Rig]:
    yield await start_rig(
        tls_cert=str(made.certificate_file),
        tls_key=str(made.key_file),
        tls_psk=True,
        mqtts=Address("127.0.0.1", 0),
        https=Address("127.0.0.1", 0),
    )


def identity_of(key: DeviceKey) -> str:
    return f"devicename|hmacsha256|{key.product_key}&{key.device_name}|{TIMESTAMP}"


def key_of(key: DeviceKey, secret: str = "") -> bytes:
    return derive_key(Identity(key, TIMESTAMP), secret or device_secret(key))


def psk_context(identity: str, key: bytes) -> ssl.SSLContext:
    """A device that has nothing but a pre-shared key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(PSK_SUITE)
    context.set_psk_client_callback(lambda _hint: (identity, key))
    return context


async def is_served(address: Address | None, context: ssl.SSLContext) -> bool:
    assert address is not None
    try:
        _, writer = await asyncio.open_connection(*address, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return False
    writer.transport.abort()
    return True


async def test_a_device_with_a_pre_shared_key_answers(psk_rig: Rig) -> None:
    for address in (psk_rig.mqtt, psk_rig.endpoints.mqtts):
        assert await is_served(address, psk_context(identity_of(LAMP), key_of(LAMP)))
    device = psk_rig.device()
    await device.connect(tls=psk_context(identity_of(LAMP), key_of(LAMP)))
    assert device.writer.get_extra_info("cipher")[0] == PSK_SUITE
    call = asyncio.ensure_future(psk_rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


@pytest.mark.parametrize(
    ("identity", "key", "text"),
    [
        (identity_of(LAMP), key_of(LAMP, "wrong"), "handshake"),
        (identity_of(UNKNOWN), key_of(UNKNOWN), "no such device"),
        ("lamp-01", key_of(LAMP), "the identity is not"),
        ("", key_of(LAMP), "the identity is not"),
    ],
    ids=["wrong secret", "unknown device", "no identity of ours", "empty"],
)
async def test_without_the_right_key_the_handshake_fails(
    psk_rig: Rig, caplog: pytest.LogCaptureFixture, identity: str, key: bytes, text: str
) -> None:
    caplog.set_level("INFO")
    assert not await is_served(psk_rig.mqtt, psk_context(identity, key))
    await until(lambda: text in caplog.text.lower())
    assert device_secret(LAMP) not in caplog.text


async def test_a_key_is_no_password(psk_rig: Rig) -> None:
    answer = await psk_rig.device().request_connect(tls=psk_context(identity_of(LAMP), key_of(LAMP)), password=b"wrong")
    assert answer.reason_code == 5


async def test_other_devices_go_on_as_before(psk_rig: Rig, made: Certificate) -> None:
    for version, suites in (("1.3", ""), ("1.2", ""), ("1.2", "AES128-SHA")):
        await psk_rig.device().connect(tls=client_context(made, version, suites))
    await psk_rig.device().connect()


async def test_apps_have_no_pre_shared_keys(psk_rig: Rig) -> None:
    assert not await is_served(psk_rig.endpoints.https, psk_context(identity_of(LAMP), key_of(LAMP)))


async def test_without_the_switch_there_are_none(start_rig: RigStarter, made: Certificate) -> None:
    rig = await start_rig(tls_cert=str(made.certificate_file), tls_key=str(made.key_file))
    assert not await is_served(rig.mqtt, psk_context(identity_of(LAMP), key_of(LAMP)))


async def test_openssl_makes_the_same_of_it(psk_rig: Rig) -> None:
    for key, status in ((key_of(LAMP), 0), (key_of(LAMP, "wrong"), 1)):
        options = ["-psk_identity", identity_of(LAMP), "-psk", key.hex(), "-tls1_2", "-cipher", PSK_SUITE]
        command = ["openssl", "s_client", "-connect", str(psk_rig.mqtt), *options]
        ran = await asyncio.to_thread(
            subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False
        )
        assert (ran.returncode, f"Cipher is {PSK_SUITE}" in ran.stdout) == (status, True), ran.stdout


async def test_a_new_certificate_leaves_the_keys(
    start_rig: RigStarter, made: Certificate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    certificate, key = tmp_path / "live.pem", tmp_path / "live.key"
    shutil.copyfile(made.certificate_file, certificate)
    shutil.copyfile(made.key_file, key)
    clock = ManualClock(time.time() + 60)
    rig = await start_rig(clock=clock, tls_cert=str(certificate), tls_key=str(key), tls_psk=True)
    assert await is_served(rig.mqtt, psk_context(identity_of(LAMP), key_of(LAMP)))
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    shutil.copyfile(other.certificate_file, certificate)
    shutil.copyfile(other.key_file, key)
    clock.advance(CERTIFICATE_LOOK_S)
    await until(lambda: "certificate read anew" in caplog.text)
    assert await is_served(rig.mqtt, psk_context(identity_of(LAMP), key_of(LAMP)))


async def test_secrets_that_are_sealed_make_keys_too(start_rig: RigStarter, made: Certificate, tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    file.write_bytes(base64.b64encode(bytes(32)) + b"\n")
    rig = await start_rig(
        tls_cert=str(made.certificate_file), tls_key=str(made.key_file), tls_psk=True, master_key_file=str(file)
    )
    assert await is_served(rig.mqtt, psk_context(identity_of(LAMP), key_of(LAMP)))


async def test_a_store_that_fails_ends_the_handshake_alone(psk_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: DeviceKey) -> None:
        raise OSError("disk on fire")

    with monkeypatch.context() as patch:
        patch.setattr(psk_rig.server.store, "find_device_at_once", fail)
        assert not await is_served(psk_rig.mqtt, psk_context(identity_of(LAMP), key_of(LAMP)))
    assert len(psk_rig.watch.take()) == 1
    assert await is_served(psk_rig.mqtt, psk_context(identity_of(LAMP), key_of(LAMP)))
