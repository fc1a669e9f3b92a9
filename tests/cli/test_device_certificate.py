import asyncio
import json
import ssl
import stat
from pathlib import Path

import pytest

from linkstead.cli.device_certificate import FILE_BYTES_MAX
from linkstead.mqtt.packets import Publish
from linkstead.registry import DeviceKey
from tests.cli.processes import done, serving, told
from tests.wire import DeviceClient

METER, OTHER = DeviceKey("a1Meter0001", "meter-01"), DeviceKey("a1Meter0001", "meter-02")
FIRST_KEY = ("--access-key-id", "own-key", "--access-key-secret", "own-secret")


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """The folder of an authority and a server; there is a product of meters in the present directory."""
    done("certificate", "create", "--name", "localhost", "--ip", "127.0.0.1", "--out", tmp_path / "tls")
    done("product", "create", "Meters", "--product-key", METER.product_key, "--auth-type", "x509")
    for key in (METER, OTHER):
        done("device", "create", *key)
    return tmp_path / "tls"


def issue(tls: Path, key: DeviceKey = METER, *options: str) -> str:
    return done("device", "issue-certificate", *key, "--ca", tls, "--out", tls / "devices", *options)


def test_a_device_comes_in_with_the_certificate_that_was_issued(tls: Path, tmp_path: Path) -> None:
    lines = issue(tls).splitlines()
    certificate, key = tls / "devices" / "meter-01.pem", tls / "devices" / "meter-01.key"
    assert lines[0].startswith(f"{METER} comes in with the certificate ")
    assert lines[1] == f"The device:  {certificate} {key}"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (shown,) = json.loads(done("certificate", "show", certificate, "--json"))
    assert shown["subject"] == "CN=meter-01,O=a1Meter0001"
    assert shown["sha256"].replace(":", "").lower() in lines[0]


@pytest.mark.asyncio
async def test_a_running_server_takes_what_was_issued_and_not_what_was_removed(tls: Path, tmp_path: Path) -> None:
    options = ("--tls-cert", tls / "server.pem", "--tls-key", tls / "server.key", "--device-ca", tls / "ca.pem")
    with serving("serve", *FIRST_KEY, *options, folder=tmp_path) as server:
        data = ("--data", tmp_path / "data")
        await asyncio.to_thread(
            done, "product", "create", "Meters", "--product-key", METER.product_key, "--auth-type", "x509", *data
        )
        await asyncio.to_thread(done, "device", "create", *METER, *data)
        await asyncio.to_thread(
            done, "device", "issue-certificate", *METER, "--ca", tls, "--out", tls / "devices", *data
        )
        context = ssl.create_default_context(cafile=tls / "ca.pem")
        context.load_cert_chain(tls / "devices" / "meter-01.pem", tls / "devices" / "meter-01.key")
        device = DeviceClient(server.mqtt, METER, "")
        silent = {"client_id": ".|securemode=2|", "user_name": None, "password": None}
        await device.connect(tls=context, **silent)
        assert METER.device_name in (await device.expect(Publish)).payload.decode()
        await asyncio.to_thread(done, "device", "remove-certificate", *METER, *data)
        # It is connected, and stays so.
        await device.expect_silence()
        await device.close()
        assert (await device.request_connect(tls=context, **silent)).reason_code == 5
        await device.close()


def test_one_from_elsewhere_is_set_and_taken_away(tls: Path) -> None:
    issue(tls)
    issued = tls / "devices" / "meter-01.pem"
    assert told(1, "device", "set-certificate", *OTHER, issued) == (
        f"linkstead: {issued}: it is the certificate of {METER}\n"
    )
    done("device", "remove-certificate", *METER)
    assert f"{METER} has no certificate" in told(1, "device", "remove-certificate", *METER)
    assert done("device", "set-certificate", *OTHER, issued).startswith(f"{OTHER} comes in with the certificate ")


def test_what_cannot_be_used_is_told(tls: Path, tmp_path: Path) -> None:
    empty, long = tmp_path / "empty.pem", tmp_path / "long.pem"
    empty.write_bytes(b"")
    issue(tls)
    data = (tls / "devices" / "meter-01.pem").read_bytes()
    long.write_bytes(data + b"\n" * (FILE_BYTES_MAX + 1 - len(data)))
    for path, text in (
        (empty, "it holds no certificate in PEM"),
        (tmp_path / "gone.pem", "no such file or directory"),
        (tls / "ca.pem", "it is the certificate of an authority, not of a device"),
        (long, f"it is longer than {FILE_BYTES_MAX} bytes"),
    ):
        assert told(1, "device", "set-certificate", *METER, path) == f"linkstead: {path}: {text}\n"
    long.write_bytes(data + b"\n" * (FILE_BYTES_MAX - len(data)))
    done("device", "set-certificate", *METER, long)


def test_a_device_of_another_product_gets_none(tls: Path) -> None:
    done("product", "create", "Lamps", "--product-key", "a1Lamp00001")
    done("device", "create", "a1Lamp00001", "lamp-01")
    options = ("--ca", tls, "--out", tls / "devices")
    assert "is secret: its devices have no certificates" in told(
        1, "device", "issue-certificate", "a1Lamp00001", "lamp-01", *options
    )
    assert "there is no device" in told(1, "device", "issue-certificate", METER.product_key, "gone", *options)
    assert "there is no product" in told(1, "device", "issue-certificate", "gone", "gone", *options)
    assert "there is no device" in told(1, "device", "remove-certificate", METER.product_key, "gone")
    assert not (tls / "devices").exists()


def test_without_an_authority_none_is_issued(tls: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    line = told(1, "device", "issue-certificate", *METER, "--ca", nowhere, "--out", tmp_path / "out")
    assert line == f"linkstead: {nowhere} has no authority: `linkstead certificate create` makes one\n"
    assert not nowhere.exists()
