import pytest

from linkstead.registry.applications import (
    EXISTING_DEVICE_NAME,
    ILLEGAL_DEVICE_NAME,
    ILLEGAL_NICKNAME,
    REPEATED_DEVICE_NAME,
    ApplicationDevice,
    ApplicationStatus,
    blank_devices,
    check_devices,
)


def test_devices_keep_their_order_and_say_what_is_wrong() -> None:
    assert check_devices([("lamp-01", ""), ("x", ""), ("lamp-01", "x"), ("lamp-02", "Hall")]) == [
        ApplicationDevice(0, "lamp-01"),
        ApplicationDevice(1, "x", error=ILLEGAL_DEVICE_NAME),
        ApplicationDevice(2, "lamp-01", "x", error=f"{REPEATED_DEVICE_NAME}|{ILLEGAL_NICKNAME}"),
        ApplicationDevice(3, "lamp-02", "Hall"),
    ]
    assert EXISTING_DEVICE_NAME not in (ILLEGAL_DEVICE_NAME, REPEATED_DEVICE_NAME)


def test_blank_devices_are_without_names() -> None:
    assert blank_devices(2) == [ApplicationDevice(0, ""), ApplicationDevice(1, "")]


@pytest.mark.parametrize("status", ApplicationStatus)
def test_a_status_is_open_failed_or_good(status: ApplicationStatus) -> None:
    assert status.is_open is (status in ("CHECK", "CREATE"))
    assert status.is_failed is status.endswith("FAILED")
