"""What the server's machine shows: its database, the disk below it, and its certificate."""

import os
import shutil
import ssl
import stat
from pathlib import Path

from linkstead.doctor.databases import Database, DatabaseUnreadable
from linkstead.doctor.faults import Fault
from linkstead.doctor.findings import FaultFound, NotUsed, Patient
from linkstead.doctor.ports import VERIFY_FAULTS
from linkstead.registry import times
from linkstead.registry.creation import X509
from linkstead.store.migration import REVISIONS

FREE_BYTES_MIN = 256 * 1024 * 1024
"""Of the disk below the database; with less than that it will soon be full."""

MIB = 1024 * 1024
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_database(database: Database) -> str:
    """Read the revision of the tables, changing nothing. Raises FaultFound."""
    path = database.name
    if database.path is not None and not database.path.is_file():
        raise FaultFound(Fault.DATABASE_MISSING, path=path)
    revision = _select(database, "SELECT version_num FROM alembic_version") or "-"
    if revision not in REVISIONS:
        raise FaultFound(Fault.DATABASE_REVISION_UNKNOWN, path=path, revision=revision, wanted=REVISIONS[-1])
    if revision != REVISIONS[-1]:
        raise FaultFound(Fault.DATABASE_REVISION_OLD, path=path, revision=revision, wanted=REVISIONS[-1])
    return f"{path}, {revision}"


def find_owner(database: Database, product_key: str) -> str:
    """The account of a product, "" where there is none. Raises FaultFound for a database that cannot be read."""
    return _select(database, "SELECT account_id FROM product WHERE product_key = ?", product_key)


def check_master_key(database: Database, key_file: str | None) -> str:
    """See that the keys that secrets are sealed under are at hand.

    Raises:
        NotUsed: there is no key, and nothing is sealed.
        FaultFound: the file cannot be used, or lacks a key.
    """
    sealing = set(_select_all(database, "SELECT key_id FROM master_key"))
    if key_file is None and not sealing:
        raise NotUsed
    at_hand: frozenset[str] = frozenset()
    if key_file is not None:
        # The library takes a while to import, and most servers have no master key.
        from linkstead.store.vault import MasterKeyFileError, read_vault  # noqa: PLC0415

        try:
            at_hand = read_vault(Path(key_file)).key_ids
        except MasterKeyFileError as error:
            raise FaultFound(Fault.MASTER_KEY_FILE, reason=error) from None
        check_mode(Path(key_file))
    if missing := sealing - at_hand:
        raise FaultFound(Fault.MASTER_KEY_MISSING, key_ids=", ".join(sorted(missing)))
    return ", ".join(sorted(sealing)) or "-"


def check_device_certificate(database: Database, product_key: str, device_name: str, now_s: float) -> str:
    """See that a device that has to show a certificate has one, and that it has not expired.

    Raises:
        NotUsed: it is a device that has none, or none at all.
        FaultFound: none is registered for it, or it has expired.
    """
    has_certificates = (
        "SELECT 1 FROM device JOIN product USING (product_key)"
        " WHERE product_key = ? AND device_name = ? AND auth_type = ?"
    )
    find_end = (
        "SELECT not_after_ms FROM device_certificate JOIN device ON device.id = device_id"
        " WHERE product_key = ? AND device_name = ?"
    )
    if not _select(database, has_certificates, product_key, device_name, X509):
        raise NotUsed
    not_after_ms = _select(database, find_end, product_key, device_name)
    names = {"product_key": product_key, "device_name": device_name}
    if not not_after_ms:
        raise FaultFound(Fault.DEVICE_CERTIFICATE_MISSING, **names)
    not_after = times.utc_text(int(not_after_ms))
    if int(not_after_ms) < now_s * 1000:
        raise FaultFound(Fault.DEVICE_CERTIFICATE_EXPIRED, not_after=not_after, **names)
    return not_after


def _select(database: Database, statement: str, *values: str) -> str:
    return next(iter(_select_all(database, statement, *values)), "")


def _select_all(database: Database, statement: str, *values: str) -> list[str]:
    try:
        return database.select(statement, *values)
    except DatabaseUnreadable as error:
        raise FaultFound(Fault.DATABASE_UNREADABLE, path=database.name, reason=error) from None


def check_mode(path: Path) -> str:
    """See that only the owner may read a file. Raises FaultFound."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise FaultFound(Fault.DATABASE_UNREADABLE, path=path, reason=os.strerror(error.errno or 0)) from None
    if mode & OTHERS:
        raise FaultFound(Fault.FILE_MODE, path=path, mode=f"{mode:04o}")
    return f"{mode:04o}"


def check_disk(path: Path, free_bytes_min: int = FREE_BYTES_MIN) -> str:
    """See that the disk has room. Raises FaultFound."""
    free = shutil.disk_usage(path.parent).free
    if free < free_bytes_min:
        wanted = f"{free_bytes_min // MIB} MiB"
        raise FaultFound(Fault.DISK_FULL, path=path, free=f"{free // MIB} MiB", wanted=wanted)
    return f"{free // MIB} MiB"


def check_certificate(patient: Patient) -> str:
    """See that certificate and key belong together and are valid today.

    A handshake with itself, in memory, tells the dates: Python reads them from a peer's certificate only.

    Raises:
        FaultFound: they cannot be used.
    """
    names = {"cert": patient.tls_cert or "-", "key": patient.tls_key or "-"}
    if not patient.tls_cert or not patient.tls_key:
        raise FaultFound(Fault.CERTIFICATE_FILE, reason="--tls-cert, --tls-key", **names)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # the chain's own certificates are trusted here, whoever signed them: what is looked at is the date
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        server.load_cert_chain(patient.tls_cert, patient.tls_key, password="")
        client.load_verify_locations(patient.tls_cert)
        dates = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise FaultFound(
            VERIFY_FAULTS.get(error.verify_code, Fault.CERTIFICATE_FILE), reason=error.verify_message, **names
        ) from None
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise FaultFound(Fault.CERTIFICATE_FILE, reason=reason, **names) from None
    return dates


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    pending = [ours, theirs]
    while pending:
        side = pending.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pending.append(side)
    certificate = ours.getpeercert() or {}
    return f"{certificate.get('notBefore')} – {certificate.get('notAfter')}"
