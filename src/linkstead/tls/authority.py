"""A private certificate authority, and certificates of servers and devices signed with it.

RSA with 2048 bits and SHA-256 throughout: what the oldest SDKs can read. Source: `real-clients.md` 2.1.
"""

import ipaddress
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from linkstead.tls.certificates import format_date

KEY_BITS = 2_048
EXPONENT = 65_537
CA_DAYS = 3_650
EARLIER = timedelta(days=1)
"""A certificate begins so long ago: the clocks of devices go wrong."""

NAMES_MAX = 100
HOST_CHARS_MAX = 253
COMMON_NAME_CHARS_MAX = 64
CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"
SERVER_FILE, SERVER_KEY_FILE = "server.pem", "server.key"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}")


class AuthorityUnusable(Exception):
    """The authority's files, or where the new ones go, cannot be used; the text says which and why."""


class Made(NamedTuple):
    """What was made, and where the authority's files are."""

    certificate: Path
    key: Path
    ca: Path
    ca_key: Path
    ca_is_new: bool
    not_after: datetime


class Issued(NamedTuple):
    """The files that were made for a device."""

    certificate: Path
    key: Path
    not_after: datetime


class _Authority(NamedTuple):
    certificate: x509.Certificate
    key: RSAPrivateKey


def is_host(name: str) -> bool:
    """True for a host name, also one with `*` as its first label, in ASCII."""
    return len(name) <= HOST_CHARS_MAX and _HOST.fullmatch(name) is not None


def create_certificate(
    names: Sequence[str], addresses: Sequence[str], *, folder: Path, ca_folder: Path, days: int, now_s: float
) -> Made:
    """Make a key and a certificate for a server, in place of those of the folder.

    Args:
        names, addresses: hosts and IP addresses it is for; 1 to `NAMES_MAX` in all.
        folder: where it goes; made when missing.
        ca_folder: where the authority is that signs it; made when it is missing, with the authority.
        days: how long it is valid, not longer than the authority.
        now_s: seconds since 1970.

    Raises:
        AuthorityUnusable: see there.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    try:
        for each in (folder, ca_folder):
            each.mkdir(parents=True, exist_ok=True)
        ca, ca_key = ca_folder / CA_FILE, ca_folder / CA_KEY_FILE
        ca_is_new = not ca.exists() and not ca_key.exists()
        authority = _create_authority(ca, ca_key, now) if ca_is_new else _read_authority(ca, ca_key, now)
        key = _generate_key()
        hosts: list[x509.GeneralName] = [x509.DNSName(name.lower()) for name in names]
        hosts += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        common_name = next((each for each in [*names, *addresses] if len(each) <= COMMON_NAME_CHARS_MAX), "Linkstead")
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        certificate = _sign(authority, key, _name(common_name), usage, now, days, hosts)
        made = Made(
            folder / SERVER_FILE, folder / SERVER_KEY_FILE, ca, ca_key, ca_is_new, certificate.not_valid_after_utc
        )
        _write_pair(made.certificate, certificate, made.key, key)
    except OSError as error:
        raise AuthorityUnusable(f"{error.filename}: {(error.strerror or str(error)).lower()}") from None
    return made


def create_device_certificate(
    product_key: str, device_name: str, *, folder: Path, ca_folder: Path, days: int, now_s: float
) -> Issued:
    """Make a key and a certificate for a device, in place of those of the same name in the folder.

    Args:
        product_key, device_name: stand in its subject, for people: a device is known by its certificate as a whole.
        folder: where `{device_name}.pem` and `.key` go; made when missing.
        ca_folder: where the authority is that signs it.
        days: how long it is valid, not longer than the authority.
        now_s: seconds since 1970.

    Raises:
        AuthorityUnusable: see there.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    ca, ca_key = ca_folder / CA_FILE, ca_folder / CA_KEY_FILE
    if not ca.exists() and not ca_key.exists():
        raise AuthorityUnusable(f"{ca_folder} has no authority: `linkstead certificate create` makes one")
    try:
        authority = _read_authority(ca, ca_key, now)
        folder.mkdir(parents=True, exist_ok=True)
        key = _generate_key()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, product_key),
                x509.NameAttribute(NameOID.COMMON_NAME, device_name),
            ]
        )
        certificate = _sign(authority, key, subject, ExtendedKeyUsageOID.CLIENT_AUTH, now, days)
        made = Issued(folder / f"{device_name}.pem", folder / f"{device_name}.key", certificate.not_valid_after_utc)
        _write_pair(made.certificate, certificate, made.key, key)
    except OSError as error:
        raise AuthorityUnusable(f"{error.filename}: {(error.strerror or str(error)).lower()}") from None
    return made


def _create_authority(ca: Path, ca_key: Path, now: datetime) -> _Authority:
    key = _generate_key()
    serial_number = x509.random_serial_number()
    # Two of them would look the same to whoever trusts both: the number is in the name.
    name = _name(f"Linkstead CA {serial_number & 0xFFFF_FFFF:08X}")
    subject_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial_number)
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_ca=True), critical=True)
        .add_extension(subject_key, critical=False)
        .sign(key, SHA256())
    )
    _write_pair(ca, certificate, ca_key, key)
    return _Authority(certificate, key)


def _read_authority(ca: Path, ca_key: Path, now: datetime) -> _Authority:
    for here, other in ((ca, ca_key), (ca_key, ca)):
        if not here.exists():
            raise AuthorityUnusable(f"{here} is missing, and {other} is there: both make an authority")
    try:
        certificate = x509.load_pem_x509_certificate(ca.read_bytes())
    except ValueError:
        raise AuthorityUnusable(f"{ca}: it holds no certificate in PEM") from None
    try:
        key = load_pem_private_key(ca_key.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuthorityUnusable(f"{ca_key}: it holds no key in PEM without a passphrase") from None
    if not isinstance(key, RSAPrivateKey):
        raise AuthorityUnusable(f"{ca_key}: it is not RSA, which is all that old SDKs can read")
    if key.public_key() != certificate.public_key():
        raise AuthorityUnusable(f"{ca_key} is not the key of {ca}")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
    if not constraints.ca:
        raise AuthorityUnusable(f"{ca}: it is no certificate of an authority")
    if certificate.not_valid_after_utc <= now:
        raise AuthorityUnusable(f"{ca}: it expired on {format_date(certificate.not_valid_after_utc)}")
    return _Authority(certificate, key)


def _sign(
    authority: _Authority,
    key: RSAPrivateKey,
    subject: x509.Name,
    usage: x509.ObjectIdentifier,
    now: datetime,
    days: int,
    hosts: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    signer = authority.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - EARLIER, authority.certificate.not_valid_before_utc))
        .not_valid_after(min(now + timedelta(days=days), authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    return builder.sign(authority.key, SHA256())


def _generate_key() -> RSAPrivateKey:
    return generate_private_key(EXPONENT, KEY_BITS)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        # What static RSA needs: the client encrypts its secret with the key.
        key_encipherment=not is_ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _write_pair(path: Path, certificate: x509.Certificate, key_path: Path, key: RSAPrivateKey) -> None:
    _write(key_path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    _write(path, certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Put a file there at once and whole: a server may be reading it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    draft.replace(path)
