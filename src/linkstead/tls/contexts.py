"""What TLS is spoken: versions and cipher suites, for devices and for apps.

OpenSSL's security level 2 holds everywhere but where TLS older than 1.2 is taken: that needs level 0, because its
signatures are made with MD5 and SHA-1. The suites stay those that are named here.
"""

import ssl
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

FindPsk = Callable[[str], bytes]
"""The key of an identity, empty where there is none. It is called in the handshake, and must be quick."""

TlsVersion = Literal["1.0", "1.1", "1.2"]

STATIC_RSA_SUITES = ("AES256-SHA256", "AES256-SHA", "AES128-SHA256", "AES128-SHA")
"""All that version 3 of the vendor's C SDK offers; they need an RSA key. Source: `real-clients.md` 2.1."""

OLD_SUITES = ("ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-RSA-AES128-SHA")
"""What TLS 1.0 and 1.1 have with forward secrecy."""

PSK_SUITE = "PSK-AES128-CBC-SHA"
"""Source: `device-protocol.md` 1.9."""

_VERSIONS: dict[TlsVersion, str] = {"1.0": "TLSv1", "1.1": "TLSv1_1", "1.2": "TLSv1_2"}


def make_apps_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for HTTPS and AMQP: 1.2 and 1.3, with forward secrecy only.

    Raises:
        OSError: a file cannot be read.
        ssl.SSLError: they are no pair.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Without a password of ours, OpenSSL would ask for that of an encrypted key on the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context


def make_devices_context(
    certificate: Path,
    key: Path,
    min_version: TlsVersion,
    device_authorities: str = "",
    find_psk: FindPsk | None = None,
) -> ssl.SSLContext:
    """TLS for MQTT: as for apps, and what old devices need besides.

    Args:
        min_version: the oldest that is taken; what is newer always is.
        device_authorities: PEM, of those who sign certificates of devices. Devices are asked for one then, and need
            not have it; one that is not valid ends the handshake.
        find_psk: the keys of devices that have no suite but that with a pre-shared key; see `has_psk`.

    Raises: as `make_apps_context` does.
    """
    context = make_apps_context(certificate, key)
    suites = [suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    suites += STATIC_RSA_SUITES
    if find_psk is not None:
        suites.append(PSK_SUITE)
        _set_psk(context, find_psk)
    if device_authorities:
        context.load_verify_locations(cadata=device_authorities)
        context.verify_mode = ssl.CERT_OPTIONAL
        # A session that is taken up again brings its certificate along unchecked.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if min_version == "1.2":
        context.set_ciphers(":".join(suites))
        return context
    context.set_ciphers(":".join([*suites, *OLD_SUITES, "@SECLEVEL=0"]))
    with warnings.catch_warnings():
        # Python says of both that they are deprecated: the operator has asked for them.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion[_VERSIONS[min_version]]
    return context


def has_psk() -> bool:
    """True where this Python can speak TLS with a pre-shared key: 3.13 and later."""
    return hasattr(ssl.SSLContext, "set_psk_server_callback")


def _set_psk(context: ssl.SSLContext, find_psk: FindPsk) -> None:
    if sys.version_info >= (3, 13):
        context.set_psk_server_callback(lambda identity: find_psk(identity or ""))
