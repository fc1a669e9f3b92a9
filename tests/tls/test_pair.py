"""A certificate that is exchanged while the server runs: over memory, and over every port that speaks TLS."""

import asyncio
import logging
import shutil
import ssl
import time
from pathlib import Path

import pytest

from linkstead.config import Address
from linkstead.server import CERTIFICATE_LOOK_S
from linkstead.testing.clock import ManualClock
from linkstead.tls.pair import FILE_BYTES_MAX, CertificatePair, CertificateUnusable
from tests.rig import LAMP, RigStarter
from tests.sdk.certificate import Certificate, make_certificate
from tests.tls.test_contexts import client_context, shake_hands
from tests.wire import until

LOGGER = "linkstead.tls.pair"
DAY_S = 24 * 3600.0


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("second"))


class Folder:
    """Where a server has its certificate."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "live.pem", folder / "live.key"

    def take(self, made: Certificate) -> None:
        """Put a pair in the place of the present one, as tools do that renew certificates."""
        for source, target in ((made.certificate_file, self.certificate), (made.key_file, self.key)):
            shutil.copyfile(source, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)

    def pair(self, clock: ManualClock | None = None) -> CertificatePair:
        return CertificatePair(self.certificate, self.key, "1.2", clock or clock_of_today())


@pytest.fixture
def folder(tmp_path: Path, first: Certificate) -> Folder:
    folder = Folder(tmp_path)
    folder.take(first)
    return folder


def clock_of_today() -> ManualClock:
    """The certificates are of today, and valid for two days."""
    return ManualClock(time.time() + 60)


def trusts(server: ssl.SSLContext, made: Certificate, version: str = "1.3") -> bool:
    """True when a client that trusts this one's CA alone is served."""
    try:
        shake_hands(server, client_context(made, version))
    except ssl.SSLCertVerificationError:
        return False
    return True


def log_lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == LOGGER and each.levelno == level]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_new_files_are_given_to_new_connections_without_a_new_context(
    folder: Folder, first: Certificate, second: Certificate, version: str
) -> None:
    pair = folder.pair()
    contexts = (pair.devices, pair.apps)
    folder.take(second)
    for context in contexts:
        assert (trusts(context, first, version), trusts(context, second, version)) == (True, False)
    pair.look()
    for context in contexts:
        assert (trusts(context, first, version), trusts(context, second, version)) == (False, True)


def test_static_rsa_goes_on_with_the_new_key(folder: Folder, second: Certificate) -> None:
    pair = folder.pair()
    folder.take(second)
    pair.look()
    assert shake_hands(pair.devices, client_context(second, "1.2", "AES128-SHA")) == ("TLSv1.2", "AES128-SHA")


def test_a_link_that_is_turned_is_seen(tmp_path: Path, first: Certificate, second: Certificate) -> None:
    live = tmp_path / "live"
    live.symlink_to(first.certificate_file.parent)
    files = (live / first.certificate_file.name, live / first.key_file.name)
    pair = CertificatePair(*files, "1.2", clock_of_today())
    live.unlink()
    live.symlink_to(second.certificate_file.parent)
    pair.look()
    assert trusts(pair.devices, second)


def test_files_that_did_not_change_are_not_read(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pair = folder.pair()
    pair.look()
    assert log_lines(caplog, logging.INFO) == []
    pair.reload()
    assert len(log_lines(caplog, logging.INFO)) == 1


def test_what_cannot_be_used_is_logged_once_and_the_old_stays(
    folder: Folder, first: Certificate, second: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    pair = folder.pair()

    def spoil_certificate() -> None:
        folder.certificate.write_bytes(b"not a certificate")

    def remove_key() -> None:
        folder.key.unlink()

    def mix() -> None:
        shutil.copyfile(second.key_file, folder.key)

    def blow_up() -> None:
        folder.key.write_bytes(b" " * (FILE_BYTES_MAX + 1))

    for spoil, text in (
        (spoil_certificate, f"--tls-cert {folder.certificate}: it holds no certificate in PEM"),
        (remove_key, f"--tls-key {folder.key}: no such file or directory"),
        (mix, f"--tls-key {folder.key} is not the key of the certificate in --tls-cert {folder.certificate}"),
        (blow_up, f"--tls-key {folder.key}: it is longer than {FILE_BYTES_MAX} bytes"),
    ):
        folder.take(first)
        pair.look()
        caplog.clear()
        spoil()
        pair.look()
        pair.look()
        assert log_lines(caplog, logging.ERROR) == [f"the certificate in use stays: {text}"]
        assert trusts(pair.devices, first)
        assert trusts(pair.apps, first)
    folder.take(second)
    pair.look()
    assert trusts(pair.devices, second)


def test_one_that_has_expired_is_not_taken_in_place_of_another(
    folder: Folder, first: Certificate, second: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    clock = clock_of_today()
    pair = folder.pair(clock)
    clock.advance(3 * DAY_S)
    folder.take(second)
    pair.look()
    (line,) = log_lines(caplog, logging.ERROR)
    assert line.startswith(f"the certificate in use stays: --tls-cert {folder.certificate}: it expired on 2")
    assert trusts(pair.devices, first)


@pytest.mark.parametrize(("days", "text"), [(-1, "it is not valid before "), (3, "it expired on ")])
def test_a_start_outside_its_time_is_warned_of(
    folder: Folder, first: Certificate, caplog: pytest.LogCaptureFixture, days: int, text: str
) -> None:
    pair = folder.pair(ManualClock(time.time() + days * DAY_S))
    (line,) = log_lines(caplog, logging.WARNING)
    assert line.startswith(f"--tls-cert {folder.certificate}: {text}")
    assert trusts(pair.devices, first)


def test_a_file_of_the_longest_length_is_read(folder: Folder, first: Certificate) -> None:
    data = folder.certificate.read_bytes()
    folder.certificate.write_bytes(data + b"\n" * (FILE_BYTES_MAX - len(data)))
    assert trusts(folder.pair().devices, first)
    folder.certificate.write_bytes(data + b"\n" * (FILE_BYTES_MAX + 1 - len(data)))
    with pytest.raises(CertificateUnusable, match="longer than"):
        folder.pair()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it holds no certificate in PEM"),
        (b"\xff", "it holds no certificate in PEM"),
        (None, "no such file or directory"),
    ],
)
def test_authorities_of_devices_that_cannot_be_read_are_told(
    folder: Folder, tmp_path: Path, data: bytes | None, text: str
) -> None:
    path = tmp_path / "devices.pem"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CertificateUnusable, match=f"--device-ca {path}: {text}"):
        CertificatePair(folder.certificate, folder.key, "1.2", clock_of_today(), path)


def test_the_certificate_of_a_device_is_no_authority(folder: Folder, first: Certificate) -> None:
    with pytest.raises(CertificateUnusable, match="it holds no certificate of an authority"):
        CertificatePair(folder.certificate, folder.key, "1.2", clock_of_today(), first.certificate_file)
    pair = CertificatePair(folder.certificate, folder.key, "1.2", clock_of_today(), first.ca_file)
    assert pair.devices.verify_mode is ssl.CERT_OPTIONAL


# --- in the server ---


@pytest.mark.asyncio
async def test_every_port_gives_the_new_certificate_and_connected_devices_stay(
    start_rig: RigStarter, folder: Folder, first: Certificate, second: Certificate
) -> None:
    clock, free = clock_of_today(), Address("127.0.0.1", 0)
    rig = await start_rig(
        clock=clock,
        tls_cert=str(folder.certificate),
        tls_key=str(folder.key),
        https=free,
        mqtts=free,
        amqps=free,
    )
    ports = rig.endpoints
    device = rig.device()
    await device.connect(tls=client_context(first, "1.3"))

    async def is_served(address: Address | None, made: Certificate) -> bool:
        assert address is not None
        try:
            _, writer = await asyncio.open_connection(*address, ssl=client_context(made, "1.2"))
        except ssl.SSLCertVerificationError:
            return False
        writer.transport.abort()
        return True

    folder.take(second)
    clock.advance(CERTIFICATE_LOOK_S)
    pair = rig.server._certificate
    assert pair is not None
    await until(lambda: trusts(pair.devices, second))
    for address in (ports.mqtt, ports.mqtts, ports.https, ports.amqps):
        assert (await is_served(address, first), await is_served(address, second)) == (False, True)
    call = asyncio.ensure_future(rig.app().rrpc(LAMP))
    await device.answer_call(b"pong")
    assert (await call)["RrpcCode"] == "SUCCESS"
