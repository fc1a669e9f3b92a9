"""An authority and certificates of it, held against OpenSSL and against handshakes of old devices."""

import ssl
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from linkstead.tls.authority import (
    CA_DAYS,
    HOST_CHARS_MAX,
    NAMES_MAX,
    AuthorityUnusable,
    Issued,
    Made,
    create_certificate,
    create_device_certificate,
    is_host,
)
from linkstead.tls.certificates import read_certificates
from linkstead.tls.contexts import STATIC_RSA_SUITES, make_apps_context, make_devices_context
from tests.sdk.certificate import Certificate, make_certificate
from tests.tls.test_contexts import client_context, shake_hands

DAY_S = 24 * 3600.0


def create(folder: Path, ca_folder: Path | None = None, *, days: int = 30, now_s: float = 0.0) -> Made:
    return create_certificate(
        ["localhost", "*.iot-as-mqtt.cn-shanghai.aliyuncs.com"],
        ["127.0.0.1", "::1"],
        folder=folder,
        ca_folder=ca_folder or folder,
        days=days,
        now_s=now_s or time.time(),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return create(tmp_path_factory.mktemp("made") / "new" / "folder")


def client(made: Made, version: str, suites: str = "") -> ssl.SSLContext:
    return client_context(Certificate(made.ca, made.certificate, made.key), version, suites)


def test_clients_that_trust_the_authority_are_served_by_name_and_by_address(made: Made) -> None:
    server = make_apps_context(made.certificate, made.key)
    trust = ssl.create_default_context(cafile=made.ca)
    for name in ("localhost", "127.0.0.1", "::1", "a1lamp00001.iot-as-mqtt.cn-shanghai.aliyuncs.com"):
        assert _connects(server, trust, name)
    for name in ("other", "127.0.0.2", "a.b.iot-as-mqtt.cn-shanghai.aliyuncs.com"):
        assert not _connects(server, trust, name)


def _connects(server: ssl.SSLContext, trust: ssl.SSLContext, name: str) -> bool:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        trust.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    return ends[0].version() is not None


@pytest.mark.parametrize("suite", STATIC_RSA_SUITES)
def test_old_devices_can_use_it(made: Made, suite: str) -> None:
    server = make_devices_context(made.certificate, made.key, "1.2")
    assert shake_hands(server, client(made, "1.2", suite))[1] == suite


def test_openssl_finds_nothing_wrong_with_it(made: Made) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(made.ca)]
    ran = subprocess.run([*command, str(made.certificate)], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, f"{made.certificate}: OK\n")


def test_openssl_finds_nothing_wrong_with_that_of_a_device(made: Made, tmp_path: Path) -> None:
    def issue(days: int) -> Issued:
        return create_device_certificate(
            "a1Meter0001", "meter-01", folder=tmp_path, ca_folder=made.ca.parent, days=days, now_s=time.time()
        )

    issued = issue(30)
    for purpose, status in (("sslclient", 0), ("sslserver", 2)):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(made.ca)]
        ran = subprocess.run([*command, str(issued.certificate)], capture_output=True, check=False, timeout=60)
        assert ran.returncode == status
    assert stat.S_IMODE(issued.key.stat().st_mode) == 0o600
    (facts,) = read_certificates(made.ca.read_bytes())
    assert issue(2 * CA_DAYS).not_after == facts.not_after


def test_keys_are_for_their_owner_alone(made: Made) -> None:
    for path in (made.key, made.ca_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in made.key.parent.iterdir()} == {"ca.pem", "ca.key", "server.pem", "server.key"}


def test_the_next_one_is_signed_by_the_same_authority(tmp_path: Path) -> None:
    first = create(tmp_path / "one")
    ca = first.ca.read_bytes()
    second = create(tmp_path / "one")
    third = create(tmp_path / "two", tmp_path / "one")
    assert [each.ca_is_new for each in (first, second, third)] == [True, False, False]
    assert first.ca.read_bytes() == ca
    assert not (tmp_path / "two" / "ca.pem").exists()
    for each in (second, third):
        server = make_apps_context(each.certificate, each.key)
        shake_hands(server, client(third, "1.3"))


def test_it_is_valid_for_its_days_and_not_longer_than_its_authority(tmp_path: Path) -> None:
    now_s = time.time()
    now = datetime.fromtimestamp(now_s, UTC)
    made = create(tmp_path, days=30, now_s=now_s)
    (facts,) = read_certificates(made.certificate.read_bytes())
    assert abs(facts.not_after - now - timedelta(days=30)) < timedelta(seconds=2)
    assert facts.not_after == made.not_after
    assert facts.not_before < now
    late = create(tmp_path, days=30, now_s=now_s + (CA_DAYS - 1) * DAY_S)
    (authority,) = read_certificates(made.ca.read_bytes())
    assert late.not_after == authority.not_after
    with pytest.raises(AuthorityUnusable, match="it expired on"):
        create(tmp_path, now_s=now_s + (CA_DAYS + 1) * DAY_S)


def test_an_authority_that_cannot_sign_is_told(tmp_path: Path) -> None:
    ca, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    create(tmp_path)
    good_ca, good_key = ca.read_bytes(), key.read_bytes()
    server, server_key = (tmp_path / "server.pem").read_bytes(), (tmp_path / "server.key").read_bytes()
    ec = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    for ca_bytes, key_bytes, text in (
        (good_ca, None, f"{key} is missing, and {ca} is there: both make an authority"),
        (None, good_key, f"{ca} is missing, and {key} is there: both make an authority"),
        (b"x", good_key, f"{ca}: it holds no certificate in PEM"),
        (good_ca, b"x", f"{key}: it holds no key in PEM without a passphrase"),
        (good_ca, ec, f"{key}: it is not RSA, which is all that old SDKs can read"),
        (good_ca, server_key, f"{key} is not the key of {ca}"),
        (server, server_key, f"{ca}: it is no certificate of an authority"),
    ):
        for path, data in ((ca, ca_bytes), (key, key_bytes)):
            path.unlink(missing_ok=True)
            if data is not None:
                path.write_bytes(data)
        with pytest.raises(AuthorityUnusable) as told:
            create(tmp_path)
        assert str(told.value) == text


def test_one_made_with_openssl_can_sign(tmp_path: Path) -> None:
    theirs = make_certificate(tmp_path)
    made = create(tmp_path / "out", tmp_path)
    assert not made.ca_is_new
    server = make_devices_context(made.certificate, made.key, "1.2")
    shake_hands(server, client_context(theirs, "1.2"))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AuthorityUnusable) as told:
        create(tmp_path / "file" / "folder")
    assert str(told.value) == f"{tmp_path / 'file' / 'folder'}: not a directory"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("localhost", True),
        ("*.iot-as-mqtt.cn-shanghai.aliyuncs.com", True),
        ("xn--bcher-kva.example", True),
        ("a" * 63 + ".b", True),
        ("a" * 64 + ".b", False),
        (".".join(["a"] * 127), True),
        ("a." * 127, False),
        ("a." * 126 + "aa", False),
        ("", False),
        ("*", False),
        ("a.*.b", False),
        ("-a", False),
        ("a_b", False),
        ("a b", False),
        ("bücher", False),
    ],
)
def test_host_names_are_known(name: str, is_one: bool) -> None:
    assert is_host(name) is is_one
    assert not is_one or len(name) <= HOST_CHARS_MAX


def test_as_many_names_as_are_allowed_fit_in_a_certificate(tmp_path: Path) -> None:
    names = [f"host-{number}" for number in range(NAMES_MAX)]
    made = create_certificate(names, [], folder=tmp_path, ca_folder=tmp_path, days=1, now_s=time.time())
    (facts,) = read_certificates(made.certificate.read_bytes())
    assert facts.names == names
