"""Values made up for a data type satisfy it."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkstead.tsl import (
    Array,
    DataType,
    ModelChecker,
    Numeric,
    Service,
    Text,
    ValidateType,
    make_example_arguments,
    make_sample_value,
    make_sample_values,
    read_literal,
    read_literal_object,
    write_literal,
)
from linkstead.tsl.checking import make_app_check, make_device_check
from linkstead.tsl.samples import ARRAY_ELEMENTS_MAX
from tests.tsl.documents import read_sample
from tests.tsl.strategies import data_types

NOW_MS = 1_700_000_000_000
LARGEST = "1.7976931348623157e308"


@given(data_types(), st.integers())
def test_sample_passes_every_check(data_type: DataType, seed: int) -> None:
    text = write_literal(make_sample_value(data_type, random.Random(seed), NOW_MS))
    assert make_app_check(data_type)(read_literal(text)) is None
    assert make_device_check(data_type, ValidateType.STRICT)(msgspec.json.decode(text)) is None
    assert make_device_check(data_type, ValidateType.WEAK)(msgspec.json.decode(text)) is None


@pytest.mark.parametrize(
    "numeric",
    [
        Numeric("double", f"-{LARGEST}", LARGEST),
        Numeric("double", LARGEST, LARGEST),
        Numeric("double", "5e-324", "5e-324"),
        Numeric("float", "0.001", "0.002", "1"),
        Numeric("float", "1", "2", "30"),
        Numeric("float", "3.4028234663852886e38"),
        Numeric("float", max="-3.4028234663852886e38"),
        Numeric("int", "2147483647"),
        Numeric("int", max="-2147483648"),
        Numeric("int", "-5", "5", "1000"),
    ],
)
def test_sample_fits_the_narrowest_and_the_widest_range(numeric: Numeric) -> None:
    for seed in range(20):
        text = write_literal(make_sample_value(numeric, random.Random(seed), NOW_MS))
        assert make_app_check(numeric)(read_literal(text)) is None
        assert "e" not in text.lower()


def test_sample_has_the_decimals_of_the_step() -> None:
    for step, decimals in (("0.001", 3), ("1", 1), ("", 2)):
        text = write_literal(make_sample_value(Numeric("double", "0", "9", step), random.Random(1), NOW_MS))
        assert len(text.partition(".")[2]) == decimals


def test_sample_int_is_on_a_step() -> None:
    numeric = Numeric("int", "1", "100", "7")
    drawn = {make_sample_value(numeric, random.Random(seed), NOW_MS) for seed in range(200)}
    assert drawn <= {1 + 7 * position for position in range(15)}
    assert len(drawn) > 5


def test_sample_of_a_short_text_is_as_short() -> None:
    assert len(str(make_sample_value(Text(1), random.Random(1), NOW_MS))) == 1


def test_sample_of_an_array_is_never_empty_and_never_long() -> None:
    for seed in range(20):
        drawn: Any = make_sample_value(Array(512, Numeric("int")), random.Random(seed), NOW_MS)
        assert 1 <= len(drawn) <= ARRAY_ELEMENTS_MAX


def test_same_seed_gives_the_same_samples() -> None:
    properties = read_sample("all-types").modules[0].properties
    once = make_sample_values(properties, random.Random("lamp-01"), NOW_MS)
    assert make_sample_values(properties, random.Random("lamp-01"), NOW_MS) == once
    assert make_sample_values(properties, random.Random("lamp-02"), NOW_MS) != once
    assert once["DateVal"] == "1700000000000"


@pytest.mark.parametrize("name", ["lamp", "all-types", "raw-probe", "multi-module"])
def test_example_arguments_are_accepted_and_stay_the_same(name: str) -> None:
    model = read_sample(name)
    checker = ModelChecker(model)
    for module in model.modules:
        for service in module.services:
            text = write_literal(make_example_arguments(service))
            assert text == write_literal(make_example_arguments(service))
            identifier = f"{module.module_id or 'default'}:{service.identifier}"
            found = checker.find_service(identifier)
            assert found is not None
            assert found.check_input(read_literal_object(text)) is None


def test_service_without_inputs_has_no_example_arguments() -> None:
    assert write_literal(make_example_arguments(Service("Ping", "Ping", "sync"))) == "{}"
