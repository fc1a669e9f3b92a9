"""Values that satisfy a data type: what a simulated device says, and the arguments in a snippet."""

import random
from collections.abc import Iterable
from decimal import Context, Decimal
from typing import assert_never

import msgspec

from linkstead.tsl.limits import INT_MAX, INT_MIN
from linkstead.tsl.literal import JsonValue
from linkstead.tsl.model import Array, Choice, DataType, Date, Numeric, Parameter, Property, Service, Struct, Text

EXAMPLE_NOW_MS = 1_700_000_000_000
ARRAY_ELEMENTS_MAX = 3
"""Few enough to read."""
DECIMALS_MAX = 15
WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbour", "iris", "juniper")
SPAN = 100
"""From bound to bound where the model gives one bound at most."""

# As many digits as the largest double has in front of the point and the smallest behind it.
_exact = Context(prec=800)


def make_example_arguments(service: Service) -> dict[str, JsonValue]:
    """Arguments for a call of this service, the same each time. `write_literal` makes them the text for `Args`."""
    return make_sample_values(service.input_data, random.Random(service.identifier), EXAMPLE_NOW_MS)


def make_sample_values(
    parameters: Iterable[Parameter | Property], chance: random.Random, now_ms: int
) -> dict[str, JsonValue]:
    """A value for each parameter or property, by identifier."""
    return {found.identifier: make_sample_value(found.data_type, chance, now_ms) for found in parameters}


def make_sample_value(data_type: DataType, chance: random.Random, now_ms: int) -> JsonValue:
    """One value that passes every check of its type.

    Args:
        chance: to draw from; seeded by the caller, with a token of `Ids` or with whatever is to be repeated.
        now_ms: UTC milliseconds, for dates.
    """
    match data_type:
        case Numeric():
            return _sample_int(data_type, chance) if data_type.type == "int" else _sample_float(data_type, chance)
        case Choice():
            return chance.choice(data_type.items)[0]
        case Text():
            return chance.choice(WORDS)[: data_type.length_bytes]
        case Date():
            return str(now_ms)
        case Struct():
            return make_sample_values(data_type.members, chance, now_ms)
        case Array():
            count = chance.randint(1, min(data_type.size, ARRAY_ELEMENTS_MAX))
            return [make_sample_value(data_type.item, chance, now_ms) for _ in range(count)]
        case _:
            assert_never(data_type)


def _sample_int(numeric: Numeric, chance: random.Random) -> int:
    low, high = map(int, _find_span(numeric))
    low, high = max(low, INT_MIN), min(high, INT_MAX)
    step = max(1, int(float(numeric.step or 1)))
    return low + step * chance.randint(0, (high - low) // step)


def _sample_float(numeric: Numeric, chance: random.Random) -> msgspec.Raw:
    """A number written with a decimal point and no exponent, with as many decimals as the step has."""
    low, high = _find_span(numeric)
    exponent = Decimal(numeric.step or "0.01").as_tuple().exponent
    decimals = min(max(1, -int(exponent)), DECIMALS_MAX)
    drawn = _exact.fma(_exact.subtract(high, low), Decimal(chance.random()), low)
    rounded = drawn.quantize(Decimal(1).scaleb(-decimals), context=_exact)
    text = f"{rounded if low <= rounded <= high else low:f}"
    return msgspec.Raw(text if "." in text else f"{text}.0")


def _find_span(numeric: Numeric) -> tuple[Decimal, Decimal]:
    if numeric.min and numeric.max:
        return Decimal(numeric.min), Decimal(numeric.max)
    if numeric.min:
        return Decimal(numeric.min), _exact.add(Decimal(numeric.min), Decimal(SPAN))
    if numeric.max:
        return _exact.subtract(Decimal(numeric.max), Decimal(SPAN)), Decimal(numeric.max)
    return Decimal(0), Decimal(SPAN)
