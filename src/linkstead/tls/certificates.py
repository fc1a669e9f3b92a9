"""What stands in a certificate."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, as far as people and the server look at it.

    `names` are the hosts and addresses it is for; `fingerprint` is SHA-256, in hex with colons; `serial_number` is hex.
    """

    subject: str
    names: list[str]
    issuer: str
    not_before: datetime
    not_after: datetime
    key: str
    is_rsa: bool
    is_ca: bool
    fingerprint: str
    serial_number: str
    pem: str

    def find_fault_of_time(self, now_s: float) -> str:
        """Why it is not valid at this time, seconds since 1970; empty when it is."""
        now = datetime.fromtimestamp(now_s, UTC)
        if self.not_after < now:
            return f"it expired on {format_date(self.not_after)}"
        if self.not_before > now:
            return f"it is not valid before {format_date(self.not_before)}"
        return ""


def read_certificates(data: bytes) -> list[Certificate]:
    """The certificates of a PEM file, at least one.

    Raises:
        ValueError: there is none, or one of them is malformed.
    """
    return [_describe(each) for each in x509.load_pem_x509_certificates(data)]


def format_date(moment: datetime) -> str:
    """A moment as people write it, UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _describe(certificate: x509.Certificate) -> Certificate:
    key = certificate.public_key()
    return Certificate(
        subject=certificate.subject.rfc4514_string(),
        names=_list_names(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=_name_key(key),
        is_rsa=isinstance(key, RSAPublicKey),
        is_ca=_is_ca(certificate),
        fingerprint=certificate.fingerprint(SHA256()).hex(":").upper(),
        serial_number=f"{certificate.serial_number:X}",
        pem=certificate.public_bytes(Encoding.PEM).decode(),
    )


def _list_names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in found if isinstance(name, x509.DNSName | x509.IPAddress)]


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _name_key(key: object) -> str:
    if isinstance(key, RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    return f"EC, {key.curve.name}" if isinstance(key, EllipticCurvePublicKey) else type(key).__name__
