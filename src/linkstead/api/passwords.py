"""Console users: people who log in with a name and a password, where programs sign with an access key.

A console user is kept as an access key whose id begins with `CONSOLE_USER`, which no other id can, and whose secret is
a hash of the password. Nothing can be signed with it; it is listed, disabled and deleted like any key, and its rights
are those of the account or of the RAM user that it names.
"""

import base64
import hashlib
import hmac

CONSOLE_USER = "console/"
"""How the id begins; what follows is the name."""

PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 12, 128
_N, _R, _P = 2**14, 8, 1
"""Some 50 ms and 16 MiB a try. Source: RFC 7914, 2."""

SALT_CHARS = 16


def hash_password(password: str, salt: str) -> str:
    """The text to keep: printable, with what was hashed how."""
    return f"scrypt${salt}${_derive(password, salt)}"


def check_password(password: str, kept: str) -> bool:
    """True when the password is the one; compared in constant time. It takes as long when nothing is kept."""
    scheme, _, rest = kept.partition("$")
    salt, _, derived = rest.partition("$")
    is_equal = hmac.compare_digest(_derive(password[: PASSWORD_CHARS_MAX + 1], salt), derived)
    return is_equal and scheme == "scrypt" and len(password) <= PASSWORD_CHARS_MAX


def _derive(password: str, salt: str) -> str:
    data = hashlib.scrypt(password.encode(), salt=salt.encode(), n=_N, r=_R, p=_P, dklen=32)
    return base64.b64encode(data).decode()
