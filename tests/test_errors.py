import csv
import importlib.resources
import io
from collections.abc import Callable

import pytest

from linkstead import errors
from linkstead.errors import CATALOGUE, VALUE_CHARS_MAX, ApiError, ErrorRow, codes, invalid_parameter, missing_parameter

RAISED = {name: row for name, row in vars(codes).items() if isinstance(row, ErrorRow)}
BUSINESS = {name: row for name, row in RAISED.items() if row.is_business}


def read_rows() -> list[dict[str, str]]:
    text = importlib.resources.files(errors).joinpath("catalogue.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text), strict=True))


def test_every_row_of_the_catalogue_is_loaded_under_its_own_code() -> None:
    rows = read_rows()
    assert len(rows) > 500
    assert [row["code"] for row in rows] == list(CATALOGUE)
    for row in rows:
        loaded = CATALOGUE[row["code"]]
        assert (loaded.code, loaded.message_en, loaded.message_zh, loaded.source, loaded.message_origin) == (
            row["code"],
            row["message_en"],
            row["message_zh"],
            row["source"],
            row["message_origin"],
        )
        assert str(loaded.http_status or "") == row["http_status"]


def test_every_row_has_a_message_and_says_where_it_comes_from() -> None:
    assert [row.code for row in CATALOGUE.values() if not (row.message_en and row.source and row.message_origin)] == []


def test_business_codes_travel_with_status_200_and_codes_of_devices_with_none() -> None:
    for row in CATALOGUE.values():
        if row.is_business:
            assert row.http_status == 200, row.code
        elif row.code[0].isdigit():
            assert row.http_status == 0, row.code
        else:
            assert row.http_status >= 400, row.code


def test_every_named_code_is_a_row_of_the_catalogue() -> None:
    assert RAISED
    for name, row in RAISED.items():
        assert CATALOGUE[row.code] is row, name


@pytest.mark.parametrize("name", BUSINESS)
def test_a_business_code_has_a_message_in_both_languages(name: str) -> None:
    error = ApiError(BUSINESS[name])
    assert error.message("en").isascii()
    assert any("\u4e00" <= char <= "\u9fff" for char in error.message("zh"))


def test_a_message_without_details_is_that_of_the_catalogue() -> None:
    error = ApiError(codes.NOT_EXISTED_PRODUCT)
    assert error.message("en") == codes.NOT_EXISTED_PRODUCT.message_en
    assert error.message("zh") == codes.NOT_EXISTED_PRODUCT.message_zh


def test_a_message_names_the_parameter_its_value_and_the_rule() -> None:
    error = ApiError(codes.INVALID_TIMEOUT_VALUE, Timeout=999, rule="1000..8000 ms")
    assert error.message("en") == f"{codes.INVALID_TIMEOUT_VALUE.message_en} (Timeout=999; 1000..8000 ms)"
    assert error.message("zh") == f"{codes.INVALID_TIMEOUT_VALUE.message_zh} (Timeout=999; 1000..8000 ms)"


def test_a_message_names_every_parameter_at_fault() -> None:
    error = ApiError(codes.NOT_EXISTED_DEVICE, ProductKey="a1", DeviceName="lamp-01")
    assert error.message("en").endswith(" (ProductKey=a1; DeviceName=lamp-01)")


def test_a_rule_alone_is_told_too() -> None:
    assert ApiError(codes.INVALID_PARAMETER_FORMAT, rule="JSON | XML").message("en").endswith(" (JSON | XML)")


def test_a_placeholder_of_the_message_is_filled_in() -> None:
    error = ApiError(codes.SIGNATURE_DOES_NOT_MATCH, fills={"StringToSign": "GET&%2F&a"})
    assert error.message("en").endswith("server string to sign is:GET&%2F&a")
    assert error.code == "SignatureDoesNotMatch"


def test_what_fills_a_placeholder_is_sent_whole() -> None:
    # a client compares the string to sign with its own
    error = ApiError(codes.SIGNATURE_DOES_NOT_MATCH, fills={"StringToSign": "s" * 5_000})
    assert error.message("en").endswith("s" * 5_000)


@pytest.mark.parametrize(
    ("make", "code", "status"),
    [(missing_parameter, "MissingTimeout", 400), (invalid_parameter, "InvalidTimeout", 400)],
)
def test_the_code_of_an_unusable_parameter_has_its_name_in_it(
    make: Callable[[str], ApiError], code: str, status: int
) -> None:
    error = make("Timeout")
    assert (error.code, error.row.http_status) == (code, status)
    assert "Timeout" in error.message("en")
    assert "<" not in error.code + error.message("en")


def test_without_a_chinese_text_the_english_one_is_sent() -> None:
    assert codes.UNSUPPORTED_HTTP_METHOD.message_zh == ""
    error = ApiError(codes.UNSUPPORTED_HTTP_METHOD)
    assert error.message("zh") == error.message("en") == codes.UNSUPPORTED_HTTP_METHOD.message_en


def test_a_value_at_the_bound_is_shown_whole_and_a_longer_one_is_cut() -> None:
    at, past = "v" * VALUE_CHARS_MAX, "v" * (VALUE_CHARS_MAX + 1)
    assert ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=at).message("en").endswith(f"(ProductKey={at})")
    cut = ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey=past).message("en")
    assert cut.endswith(f"(ProductKey={at[:-1]}…)")


def test_an_error_in_a_log_shows_its_code_and_no_value() -> None:
    error = ApiError(codes.NOT_EXISTED_PRODUCT, ProductKey="a1Lnk5tEad0")
    assert str(error) == "iot.prod.NotExistedProduct"
    assert "a1Lnk5tEad0" not in repr(error)
