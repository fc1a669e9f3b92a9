"""The parameters of one request of an action, as a person gives them and as the wire has them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Scalar: TypeAlias = str | int | bool
Argument: TypeAlias = Scalar | Sequence[str] | Sequence[Mapping[str, Scalar]]
Arguments: TypeAlias = Mapping[str, Argument]
"""By their names on the wire; a repeated parameter is a list, of texts or of objects of texts and numbers."""


def flatten_arguments(arguments: Arguments) -> dict[str, str]:
    """Write parameters as the wire has them: lists become `Name.1`, `Name.2`, …, those of objects `Name.1.Field`.

    Source: `cloud-api.md` 1.2.
    """
    flat: dict[str, str] = {}
    for name, value in arguments.items():
        if isinstance(value, str | int):
            flat[name] = write_scalar(value)
            continue
        for number, entry in enumerate(value, 1):
            if isinstance(entry, str):
                flat[f"{name}.{number}"] = entry
            else:
                flat.update({f"{name}.{number}.{field}": write_scalar(each) for field, each in entry.items()})
    return flat


def write_scalar(value: Scalar) -> str:
    """A value as text: `true` and `false` as the wire has them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
