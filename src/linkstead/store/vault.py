"""A vault on AES-256-GCM. Imported only where there is a master key: the library takes its time."""

import base64
import binascii
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from linkstead.store.sealing import SEAL_HEAD, SealBroken

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_CHARS = 16
MASTER_KEYS_MAX = 8
KEY_FILE_BYTES_MAX = 4_096


class MasterKeyFileError(Exception):
    """The file with the master key cannot be used; the text says why, and never what is in it."""


class AesVault:
    """Implements `Vault`.

    Args:
        keys: 32 bytes each; the first seals, all open.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self._ciphers = {_name_key(key): AESGCM(key) for key in keys}
        self.key_id = _name_key(keys[0])
        self.key_ids = frozenset(self._ciphers)

    def seal(self, place: str, text: str) -> str:
        """See `Vault.seal`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._ciphers[self.key_id].encrypt(nonce, text.encode(), place.encode())
        return f"{SEAL_HEAD}{self.key_id} {base64.b64encode(sealed).decode()}"

    def open(self, place: str, sealed: str) -> str:
        """See `Vault.open`."""
        key_id, _, text = sealed.removeprefix(SEAL_HEAD).partition(" ")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(f"{place} is sealed under the master key {key_id[:KEY_ID_CHARS]}, which is not at hand")
        try:
            data = base64.b64decode(text, validate=True)
            return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], place.encode()).decode()
        except (binascii.Error, ValueError, InvalidTag):
            raise SealBroken(f"{place}: what is sealed there was changed, or belongs elsewhere") from None


def _name_key(key: bytes) -> str:
    """An id that tells nothing of the key."""
    return hmac.digest(key, b"linkstead master key id", "sha256").hex()[:KEY_ID_CHARS]


def read_vault(path: Path) -> AesVault:
    """Make a vault of the keys in a file: one a line, 32 bytes in Base64, the present one first.

    Blank lines and those that begin with # are skipped.

    Raises:
        MasterKeyFileError: it cannot be read, or a line is no key, or there is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise MasterKeyFileError(f"--master-key-file {path}: {error.strerror}") from None
    if len(data) > KEY_FILE_BYTES_MAX:
        raise MasterKeyFileError(f"--master-key-file {path}: more than {KEY_FILE_BYTES_MAX} bytes")
    keys: list[bytes] = []
    for number, line in enumerate(data.splitlines(), 1):
        text = line.strip()
        if text and not text.startswith(b"#"):
            keys.append(_read_key(path, number, text))
    if not 1 <= len(keys) <= MASTER_KEYS_MAX:
        raise MasterKeyFileError(f"--master-key-file {path}: {len(keys)} keys, not 1 to {MASTER_KEYS_MAX}")
    return AesVault(keys)


def _read_key(path: Path, number: int, text: bytes) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyFileError(
            f"--master-key-file {path}: line {number} is not {KEY_BYTES} bytes in Base64; "
            f"`openssl rand -base64 {KEY_BYTES}` makes a key"
        )
    return key
