"""Applications: requests to register many devices, which are worked off in the background.

Source: references of BatchRegisterDevice, BatchCheckDeviceNames, QueryBatchRegisterDeviceStatus; `cloud-api.md` 9.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from linkstead.registry import names

APPLICATION_DEVICES_MAX = 10_000
"""Devices of one application. Source: `cloud-api.md` 12; the older reference has 1,000."""

APPLICATIONS_OPEN_MAX = 20
"""Applications of one product that are still worked on; one more is refused. Ours."""

APPLICATIONS_KEPT_MAX = 100
"""Applications of one product; from there on a new one takes the place of the oldest. Ours: 1 million devices."""

ILLEGAL_DEVICE_NAME = "The device name is illegal."
ILLEGAL_NICKNAME = "The nick name is illegal."
REPEATED_DEVICE_NAME = "The device name is repeated."
EXISTING_DEVICE_NAME = "The device name already exists."
ERROR_SEPARATOR = "|"
"""Between two errors of one device. Source: QueryBatchRegisterDeviceStatus reference, field ErrorMsg."""


class ApplicationStatus(StrEnum):
    """How far an application got. Source: QueryBatchRegisterDeviceStatus reference, field Status."""

    CHECK = "CHECK"
    CHECK_SUCCESS = "CHECK_SUCCESS"
    CHECK_FAILED = "CHECK_FAILED"
    CREATE = "CREATE"
    CREATE_SUCCESS = "CREATE_SUCCESS"
    CREATE_FAILED = "CREATE_FAILED"

    @property
    def is_open(self) -> bool:
        """True while it is worked on."""
        return self in (ApplicationStatus.CHECK, ApplicationStatus.CREATE)

    @property
    def is_failed(self) -> bool:
        """True when some of its devices are at fault."""
        return self in (ApplicationStatus.CHECK_FAILED, ApplicationStatus.CREATE_FAILED)


@dataclass(frozen=True, slots=True)
class Application:
    """A request to register `device_count` devices of a product. `apply_id` is 0 before it is kept."""

    apply_id: int
    product_key: str
    status: ApplicationStatus
    device_count: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class ApplicationDevice:
    """A device of an application.

    `device_name` is empty where it is still to be drawn, `iot_id` before it is registered; `error` says why it cannot
    be. `position` counts from 0.
    """

    position: int
    device_name: str
    nickname: str = ""
    iot_id: str = ""
    error: str = ""


def blank_devices(count: int) -> list[ApplicationDevice]:
    """Devices whose names are to be drawn."""
    return [ApplicationDevice(position, "") for position in range(count)]


def check_devices(named: Sequence[tuple[str, str]]) -> list[ApplicationDevice]:
    """The devices that some names and nicknames ("" for none) ask for, each with what is wrong with it in itself."""
    seen: set[str] = set()
    devices = []
    for position, (device_name, nickname) in enumerate(named):
        errors = []
        if not names.is_device_name(device_name):
            errors.append(ILLEGAL_DEVICE_NAME)
        elif device_name in seen:
            errors.append(REPEATED_DEVICE_NAME)
        if nickname and not names.is_nickname(nickname):
            errors.append(ILLEGAL_NICKNAME)
        seen.add(device_name)
        devices.append(ApplicationDevice(position, device_name, nickname, error=ERROR_SEPARATOR.join(errors)))
    return devices
