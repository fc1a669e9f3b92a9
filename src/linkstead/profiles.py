"""Behaviour profiles: where the vendor's reference and its service, as programs in the field see it, are two things.

Each difference is one switch of one table. `--profile` chooses a side for all of them.
"""

from dataclasses import dataclass
from typing import Literal

Profile = Literal["documented", "observed"]


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """One difference between the profiles.

    Args:
        subject: what differs.
        documented, observed: what it is in either profile, for people.
        evidence: where both are known from.
        tests: what holds it, as `FILE::NAME` below `tests/`.
    """

    subject: str
    documented: str
    observed: str
    evidence: str
    tests: tuple[str, ...]


WHOLE_REPLY = Switch(
    subject="`Data.Result` of a synchronous InvokeThingService",
    documented="the device's whole reply: `code`, `data`, `id`, `message`, `version`",
    observed="its `data` alone",
    evidence="the sample of the InvokeThingService reference shows the whole reply; programs written against the "
    "service read output parameters from the top of `Result`",
    tests=("test_services.py::test_a_device_code_is_inside_the_documented_result",),
)

DEVICE_CODE_TOLD = Switch(
    subject="a synchronous InvokeThingService whose device replies with a `code` other than 200",
    documented="`Success` true; the reply in `Data.Result` shows the code",
    observed="`Success` false, `Code` iot.device.InvokeThingServiceFailed",
    evidence="the reference ties `Success` to the call and not to the device; its error table has the code",
    tests=(
        "test_services.py::test_a_device_code_is_inside_the_documented_result",
        "test_services.py::test_a_device_code_fails_the_observed_call",
    ),
)

SWITCHES = (WHOLE_REPLY, DEVICE_CODE_TOLD)
"""All there are."""

PROFILES: dict[Profile, frozenset[Switch]] = {"documented": frozenset(SWITCHES), "observed": frozenset()}
"""The switches whose documented side holds, by profile."""
