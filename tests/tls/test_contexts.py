"""Handshakes over memory, and over the MQTT port as devices with old SDKs make them."""

import asyncio
import ssl
import warnings
from typing import Any

import pytest

from linkstead.tls.contexts import OLD_SUITES, STATIC_RSA_SUITES, TlsVersion, make_apps_context, make_devices_context
from tests.rig import LAMP, RigStarter
from tests.sdk.certificate import Certificate, make_certificate

VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """RSA, as old SDKs need it."""
    return make_certificate(tmp_path_factory.mktemp("rsa"))


def devices_context(made: Certificate, min_version: TlsVersion = "1.2") -> ssl.SSLContext:
    return make_devices_context(made.certificate_file, made.key_file, min_version)


def client_context(made: Certificate, version: str, suites: str = "") -> ssl.SSLContext:
    """A client of one version that offers these suites alone and, as old devices do, names no host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(made.ca_file)
    if version in ("1.0", "1.1"):
        context.set_ciphers(f"{suites or 'ALL'}:@SECLEVEL=0")
    elif suites:
        context.set_ciphers(suites)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = VERSIONS[version]
        context.minimum_version = VERSIONS[version]
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """The version and the suite that both agree on.

    Raises:
        ssl.SSLError: they do not.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    cipher = ends[1].cipher()
    assert cipher is not None
    return ends[1].version() or "", cipher[0]


@pytest.mark.parametrize("suite", STATIC_RSA_SUITES)
def test_devices_may_speak_each_suite_of_old_sdks(made: Certificate, suite: str) -> None:
    assert shake_hands(devices_context(made), client_context(made, "1.2", suite)) == ("TLSv1.2", suite)


@pytest.mark.parametrize("suite", STATIC_RSA_SUITES)
def test_apps_may_not(made: Certificate, suite: str) -> None:
    apps = make_apps_context(made.certificate_file, made.key_file)
    with pytest.raises(ssl.SSLError):
        shake_hands(apps, client_context(made, "1.2", suite))


def test_what_has_forward_secrecy_is_taken_first(made: Certificate) -> None:
    offered = ":".join([*STATIC_RSA_SUITES, "ECDHE-RSA-AES128-GCM-SHA256"])
    agreed = shake_hands(devices_context(made), client_context(made, "1.2", offered))
    assert agreed == ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256")


@pytest.mark.parametrize("min_version", ["1.0", "1.1", "1.2"])
@pytest.mark.parametrize("version", VERSIONS)
def test_devices_may_speak_what_is_not_older_than_the_setting(
    made: Certificate, min_version: TlsVersion, version: str
) -> None:
    server, client = devices_context(made, min_version), client_context(made, version)
    if version >= min_version:
        assert shake_hands(server, client)[0] == VERSIONS[version].name.replace("_", ".")
    else:
        with pytest.raises(ssl.SSLError):
            shake_hands(server, client)


@pytest.mark.parametrize("suite", ["AES256-SHA", "AES128-SHA", *OLD_SUITES[1:]])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_old_versions_have_these_suites(made: Certificate, version: str, suite: str) -> None:
    agreed = shake_hands(devices_context(made, "1.0"), client_context(made, version, suite))
    assert agreed[1] == suite


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_apps_may_not_speak_old_versions(made: Certificate, version: str) -> None:
    with pytest.raises(ssl.SSLError):
        shake_hands(make_apps_context(made.certificate_file, made.key_file), client_context(made, version))


@pytest.mark.parametrize("min_version", ["1.0", "1.2"])
@pytest.mark.parametrize("suite", ["NULL-SHA256", "ADH-AES128-SHA", "DES-CBC3-SHA", "PSK-AES128-CBC-SHA"])
def test_suites_that_protect_nothing_are_never_spoken(made: Certificate, min_version: TlsVersion, suite: str) -> None:
    offered = {each["name"] for each in devices_context(made, min_version).get_ciphers()}
    assert suite not in offered


# --- in the server ---


@pytest.mark.asyncio
@pytest.mark.parametrize("suite", STATIC_RSA_SUITES)
async def test_a_device_with_an_old_sdk_answers(start_rig: RigStarter, made: Certificate, suite: str) -> None:
    rig = await start_rig(tls_cert=str(made.certificate_file), tls_key=str(made.key_file))
    device = rig.device()
    await device.connect(tls=client_context(made, "1.2", suite))
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"


@pytest.mark.asyncio
async def test_tls_1_0_is_a_setting_for_devices(start_rig: RigStarter, made: Certificate) -> None:
    files: dict[str, Any] = {"tls_cert": str(made.certificate_file), "tls_key": str(made.key_file)}
    rig = await start_rig(**files, tls_min_version="1.0")
    await rig.device().connect(tls=client_context(made, "1.0"))
    rig = await start_rig(**files)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await rig.device().connect(tls=client_context(made, "1.0"))
