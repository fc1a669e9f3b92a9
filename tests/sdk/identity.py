"""Who calls and who is called: an access key, and a device with what it connects with."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import NamedTuple


class Key(NamedTuple):
    """An access key pair."""

    access_key_id: str
    access_key_secret: str


class Credentials(NamedTuple):
    """What a device sends in CONNECT."""

    client_id: str
    user_name: str
    password: str


@dataclass(frozen=True, slots=True)
class Identity:
    """A registered device."""

    product_key: str
    device_name: str
    device_secret: str
    iot_id: str

    @property
    def target(self) -> dict[str, str]:
        """The parameters that name it in a call."""
        return {"ProductKey": self.product_key, "DeviceName": self.device_name}

    def topic(self, path: str) -> str:
        """One of its system topics: `/sys/{ProductKey}/{DeviceName}/` and the path."""
        return f"/sys/{self.product_key}/{self.device_name}/{path}"

    def credentials(self, *, sign_method: str = "sha256", ext: int = 0, secret: str = "") -> Credentials:
        """Computed by hand, so that no code of the server checks itself. Source: `device-protocol.md` 1.3.

        Args:
            sign_method: md5, sha1 or sha256.
            ext: bit 0: the device takes `/ext/rrpc/…`.
            secret: another than the device's own.
        """
        timestamp = "1700000000000"
        base = f"{self.product_key}.{self.device_name}"
        content = f"clientId{base}deviceName{self.device_name}productKey{self.product_key}timestamp{timestamp}"
        password = hmac.new((secret or self.device_secret).encode(), content.encode(), getattr(hashlib, sign_method))
        options = f"securemode=3,signmethod=hmac{sign_method},timestamp={timestamp},ext={ext}"
        return Credentials(f"{base}|{options}|", f"{self.device_name}&{self.product_key}", password.hexdigest())
