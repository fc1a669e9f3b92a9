"""What is wrong on the server's machine, planted and found."""

import asyncio
import base64
import shutil
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linkstead.doctor import Fault, State
from linkstead.doctor.databases import SqliteDatabase
from linkstead.doctor.files import FREE_BYTES_MIN
from linkstead.registry import DeviceCertificate, DeviceKey
from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store import SqliteStore
from linkstead.store.migration import REVISIONS
from linkstead.store.vault import read_vault
from tests.doctor.examined import Findings, examine, faults, make_certificate
from tests.rig import LAMP, a_device, a_product


@pytest.fixture
def database(filled_database: Path, tmp_path: Path) -> Path:
    """A database of this version, the server's own."""
    copy = tmp_path / DATABASE_FILE
    shutil.copyfile(filled_database, copy)
    copy.chmod(0o600)
    return copy


def look(database: Path | None = None, **others: Any) -> Findings:
    """What is found on this machine alone."""
    read = SqliteDatabase(database) if database is not None else None
    return asyncio.run(examine(SystemClock(), database=read, **others))


def set_revision(database: Path, revision: str) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


def test_a_database_that_is_well_is_left_as_it_is(database: Path) -> None:
    before = database.read_bytes()
    findings = look(database)
    assert faults(findings) == {}
    assert findings["database"].note == f"{database}, {REVISIONS[-1]}"
    assert findings["database-mode"].note == "0600"
    assert {name for name, each in findings.items() if each.state is State.NOT_USED} == {"master-key", "nats"}
    assert database.read_bytes() == before


def test_a_database_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / DATABASE_FILE
    assert faults(look(gone)) == {"database": Fault.DATABASE_MISSING}
    assert not gone.parent.exists()


@pytest.mark.parametrize("content", [b"", b"not a database, but a text of some length"])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / DATABASE_FILE
    path.write_bytes(content)
    assert faults(look(path)) == {"database": Fault.DATABASE_UNREADABLE}


@pytest.mark.parametrize(
    ("revision", "fault"),
    [(REVISIONS[0], Fault.DATABASE_REVISION_OLD), ("9999", Fault.DATABASE_REVISION_UNKNOWN)],
)
def test_a_database_of_another_version_is_told(database: Path, revision: str, fault: Fault) -> None:
    set_revision(database, revision)
    findings = look(database)
    assert faults(findings) == {"database": fault}
    assert findings["database"].facts["revision"] == revision


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_database_that_others_may_read_is_told(database: Path, mode: int) -> None:
    database.chmod(mode)
    findings = look(database)
    assert faults(findings) == {"database-mode": Fault.FILE_MODE}
    assert findings["database-mode"].facts["mode"] == f"{mode:04o}"


KEY, OTHER_KEY = base64.b64encode(b"k" * 32), base64.b64encode(b"o" * 32)


def test_master_keys_that_are_not_at_hand_are_told(database: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "master"
    key_file.write_bytes(KEY + b"\n")
    key_file.chmod(0o600)
    assert faults(look(database, master_key_file=str(key_file))) == {}
    connection = sqlite3.connect(database)
    with connection:
        key_id = read_vault(key_file).key_id
        connection.execute("INSERT INTO master_key (key_id, created_ms, sealed_ms) VALUES (?, 1, 1)", (key_id,))
    connection.close()
    findings = look(database, master_key_file=str(key_file))
    assert faults(findings) == {}
    assert findings["master-key"].note == key_id
    assert faults(look(database)) == {"master-key": Fault.MASTER_KEY_MISSING}
    key_file.write_bytes(OTHER_KEY)
    findings = look(database, master_key_file=str(key_file))
    assert faults(findings) == {"master-key": Fault.MASTER_KEY_MISSING}
    assert findings["master-key"].facts["key_ids"] == key_id
    assert OTHER_KEY.decode() not in repr(findings)


def test_a_file_with_a_master_key_that_cannot_be_used_is_told(database: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "master"
    for content in (None, b"", KEY[:-4]):
        if content is not None:
            key_file.write_bytes(content)
        findings = look(database, master_key_file=str(key_file))
        assert faults(findings) == {"master-key": Fault.MASTER_KEY_FILE}
        assert KEY[:-4].decode() not in repr(findings)
    key_file.write_bytes(KEY)
    key_file.chmod(0o644)
    assert faults(look(database, master_key_file=str(key_file))) == {"master-key": Fault.FILE_MODE}


def test_a_disk_with_little_room_is_told(database: Path) -> None:
    assert faults(look(database, free_bytes_min=sys.maxsize)) == {"disk": Fault.DISK_FULL}
    free = shutil.disk_usage(database.parent).free
    assert faults(look(database, free_bytes_min=free // 2)) == {}
    assert FREE_BYTES_MIN == 268_435_456


def test_certificate_files_that_are_well_tell_their_dates(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    findings = look(tls_cert=str(cert), tls_key=str(key))
    assert faults(findings) == {}
    assert " GMT – " in findings["certificate"].note


@pytest.mark.parametrize(
    ("days", "fault"), [((-2, -1), Fault.CERTIFICATE_EXPIRED), ((1, 2), Fault.CERTIFICATE_NOT_YET_VALID)]
)
def test_a_certificate_out_of_its_time_is_told(tmp_path: Path, days: tuple[int, int], fault: Fault) -> None:
    cert, key = make_certificate(tmp_path, days=days)
    assert faults(look(tls_cert=str(cert), tls_key=str(key))) == {"certificate": fault}


def test_files_that_are_no_pair_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    cert, key = make_certificate(tmp_path / "a")
    _, other_key = make_certificate(tmp_path / "b")
    faulty: list[dict[str, Any]] = [
        {"tls_cert": str(cert), "tls_key": str(other_key)},
        {"tls_cert": str(cert)},
        {"tls_key": str(key)},
        {"tls_cert": str(tmp_path / "gone"), "tls_key": str(key)},
        {"tls_cert": str(key), "tls_key": str(key)},
    ]
    for files in faulty:
        assert faults(look(**files)) == {"certificate": Fault.CERTIFICATE_FILE}


def test_a_private_key_that_others_may_read_is_told(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    key.chmod(0o644)
    assert faults(look(tls_cert=str(cert), tls_key=str(key))) == {"certificate-mode": Fault.FILE_MODE}


METER = {"product_key": "a1Meter0001", "device_name": "meter-01"}


def plant_meter(database: Path, not_after_ms: int | None) -> None:
    """A device of a product with AuthType x509, with a certificate that ends then, or with none."""

    async def plant() -> None:
        store = SqliteStore(database, SystemClock())
        await store.open()
        key = DeviceKey(**METER)
        if await store.find_device(key) is None:
            await store.add_product(replace(a_product(key.product_key), auth_type="x509"))
            await store.add_devices([a_device(key)])
        if not_after_ms is not None:
            await store.set_device_certificate(DeviceCertificate(key, "0a" * 32, "1F", "PEM", not_after_ms))
        await store.close()

    asyncio.run(plant())


def test_a_device_without_a_certificate_or_with_one_that_has_expired_is_told(database: Path) -> None:
    now_ms = int(SystemClock().time_s() * 1000)
    for not_after_ms, wanted in (
        (None, {"device-certificate": Fault.DEVICE_CERTIFICATE_MISSING}),
        (now_ms - 1_000, {"device-certificate": Fault.DEVICE_CERTIFICATE_EXPIRED}),
        (now_ms + 3_600_000, {}),
    ):
        plant_meter(database, not_after_ms)
        findings = look(database, **METER)
        assert faults(findings) == wanted
    assert findings["device-certificate"].note.endswith("Z")


def test_other_devices_have_none(database: Path) -> None:
    findings = look(database, product_key=LAMP.product_key, device_name=LAMP.device_name)
    assert findings["device-certificate"].state is State.NOT_USED
