from datetime import timedelta
from pathlib import Path

import pytest

from linkstead.tls.certificates import format_date, read_certificates
from tests import rig
from tests.sdk.certificate import make_certificate


def test_a_chain_is_read_in_its_order(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    leaf, authority = read_certificates(made.certificate_file.read_bytes() + made.ca_file.read_bytes())
    assert (leaf.subject, leaf.issuer, leaf.names) == ("CN=localhost", "CN=Test CA", ["127.0.0.1", "localhost"])
    assert (leaf.is_rsa, leaf.key, leaf.is_ca) == (True, "RSA, 2048 bits", False)
    assert (authority.subject, authority.names, authority.is_ca) == ("CN=Test CA", [], True)
    assert leaf.not_after - leaf.not_before == timedelta(days=2)


def test_a_key_that_is_not_rsa_is_named(tmp_path: Path) -> None:
    (facts,) = read_certificates(rig.make_certificate(tmp_path).certificate.read_bytes())
    assert (facts.is_rsa, facts.key) == (False, "EC, secp256r1")


def test_its_time_is_held_against_the_present(tmp_path: Path) -> None:
    leaf = read_certificates(make_certificate(tmp_path).certificate_file.read_bytes())[0]
    first_s, last_s = leaf.not_before.timestamp(), leaf.not_after.timestamp()
    assert leaf.find_fault_of_time(first_s) == leaf.find_fault_of_time(last_s) == ""
    assert leaf.find_fault_of_time(first_s - 1) == f"it is not valid before {format_date(leaf.not_before)}"
    assert leaf.find_fault_of_time(last_s + 1) == f"it expired on {format_date(leaf.not_after)}"


@pytest.mark.parametrize("data", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_without_certificates_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_certificates(data)
