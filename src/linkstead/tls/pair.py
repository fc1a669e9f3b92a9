"""The certificate and key of a server: read at its start, and again when the files have changed.

The contexts that ports listen with stay the same objects. Each handshake takes the certificate of the time, in
the callback that is for the name of the server; OpenSSL calls it without a name as well.
"""

import logging
import os
import ssl
from pathlib import Path
from typing import NamedTuple

from linkstead.clock import Clock
from linkstead.tls.contexts import FindPsk, TlsVersion, make_apps_context, make_devices_context

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1024 * 1024
PRIVATE_KEY = b"PRIVATE KEY-----"
ENCRYPTED_KEY = b"ENCRYPTED"
"""In the first line of a PEM key that has a passphrase, or in the header below it."""

Stamp = tuple[tuple[int, int, int] | None, ...]


class CertificateUnusable(Exception):
    """The certificate or the key cannot be used; the text says which file and why."""


class _Contexts(NamedTuple):
    devices: ssl.SSLContext
    apps: ssl.SSLContext


class _Found(NamedTuple):
    """Of the server's own certificate: what is wrong with its time (empty: nothing), its end, the kind of its key."""

    fault: str
    not_after: str
    is_rsa: bool


class CertificatePair:
    """A certificate and its key, in use.

    Args:
        certificate, key: files, PEM; the first may hold a chain, the server's own in front.
        min_version: the oldest TLS that devices may speak.
        clock: tells whether a certificate has expired.
        device_ca: file, PEM, with the authorities that sign certificates of devices; None: devices have none.
        find_psk: pre-shared keys of devices; None: there are none.

    Attributes:
        devices: what MQTT ports speak TLS with.
        apps: what all others speak TLS with.

    Raises:
        CertificateUnusable: see there. One that has expired, or is not valid yet, is warned of and taken.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        min_version: TlsVersion,
        clock: Clock,
        device_ca: Path | None = None,
        find_psk: FindPsk | None = None,
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._device_ca = device_ca
        self._find_psk = find_psk
        self._min_version: TlsVersion = min_version
        self._clock = clock
        self._stamp = self._read_stamp()
        found = self._check_files()
        if found.fault:
            log.warning("--tls-cert %s: %s", certificate, found.fault)
        if not found.is_rsa:
            log.warning("--tls-cert %s: its key is not RSA: devices with old SDKs cannot connect over TLS", certificate)
        self._current = self._make_contexts()
        self.devices, self.apps = self._current
        self.devices.sni_callback = self._give_to_device
        self.apps.sni_callback = self._give_to_app

    def look(self) -> None:
        """Read the files again if they have changed since they were last read."""
        if self._read_stamp() != self._stamp:
            self.reload()

    def reload(self) -> None:
        """Read the files again, for new connections. What cannot be used is logged and changes nothing."""
        self._stamp = self._read_stamp()
        try:
            found = self._check_files()
            if found.fault:
                raise CertificateUnusable(f"--tls-cert {self._certificate}: {found.fault}")
            self._current = self._make_contexts()
        except CertificateUnusable as error:
            log.error("the certificate in use stays: %s", error)
        else:
            log.info("certificate read anew: valid until %s", found.not_after)

    def _give_to_device(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current.devices

    def _give_to_app(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current.apps

    def _read_stamp(self) -> Stamp:
        return tuple(_stamp(path) for path in (self._certificate, self._key, self._device_ca) if path is not None)

    def _check_files(self) -> "_Found":
        """Look at both files, each by itself."""
        # It takes a tenth of a second to import, and most servers have no certificate.
        from linkstead.tls.certificates import format_date, read_certificates  # noqa: PLC0415

        try:
            leaf = read_certificates(_read(self._certificate, "--tls-cert"))[0]
        except ValueError:
            raise CertificateUnusable(f"--tls-cert {self._certificate}: it holds no certificate in PEM") from None
        key = _read(self._key, "--tls-key")
        if PRIVATE_KEY not in key:
            raise CertificateUnusable(f"--tls-key {self._key}: it holds no key in PEM")
        if ENCRYPTED_KEY in key:
            raise CertificateUnusable(f"--tls-key {self._key}: it has a passphrase; give a key without one")
        return _Found(leaf.find_fault_of_time(self._clock.time_s()), format_date(leaf.not_after), leaf.is_rsa)

    def _read_device_authorities(self) -> str:
        if self._device_ca is None:
            return ""
        from linkstead.tls.certificates import read_certificates  # noqa: PLC0415

        data = _read(self._device_ca, "--device-ca")
        try:
            found = read_certificates(data)
            text = data.decode()
        except ValueError:
            raise CertificateUnusable(f"--device-ca {self._device_ca}: it holds no certificate in PEM") from None
        if not any(each.is_ca for each in found):
            raise CertificateUnusable(f"--device-ca {self._device_ca}: it holds no certificate of an authority")
        return text

    def _make_contexts(self) -> _Contexts:
        device_authorities = self._read_device_authorities()
        try:
            return _Contexts(
                make_devices_context(
                    self._certificate, self._key, self._min_version, device_authorities, self._find_psk
                ),
                make_apps_context(self._certificate, self._key),
            )
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                text = f"--tls-key {self._key} is not the key of the certificate in --tls-cert {self._certificate}"
            else:
                text = f"--tls-cert {self._certificate}, --tls-key {self._key}: {error.reason or error}"
            raise CertificateUnusable(text) from None
        except OSError as error:
            raise CertificateUnusable(
                f"--tls-cert {self._certificate}, --tls-key {self._key}: {error.strerror}"
            ) from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _read(path: Path, option: str) -> bytes:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CertificateUnusable(f"{option} {path}: it is longer than {FILE_BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise CertificateUnusable(f"{option} {path}: {reason}") from None
