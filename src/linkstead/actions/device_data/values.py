"""Values as the answers tell them: texts."""

import msgspec

from linkstead.tsl import DataType, Numeric


def value_text(value: str) -> str:
    """The text of a value kept as JSON: that of a text as it is, anything else in JSON."""
    return msgspec.json.decode(value, type=str) if value.startswith('"') else value


def unit_of(data_type: DataType) -> str:
    """The unit of a number, empty where there is none."""
    return data_type.unit if isinstance(data_type, Numeric) else ""
