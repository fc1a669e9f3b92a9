import json
from pathlib import Path

import pytest

from linkstead.models import SCRIPT_BYTES_MAX
from linkstead.models.scripts import RAW_BYTES_MAX
from tests.cli.processes import done, invoke, told
from tests.tsl.documents import GOLDEN

KEY = "a1RawProbe0"
PARSER = GOLDEN / "raw-probe.parser.js"
POST = "00002233440fa001419c0000"


def create(data_format: str = "0") -> None:
    arguments = ("--product-key", KEY, "--aliyun-commodity-code", "iothub_senior", "--data-format", data_format)
    done("product", "create", "Probe", *arguments)


def tried(*arguments: str | Path) -> str:
    return done("product", "try-script", *arguments).removesuffix("\n")


def failed(status: int, *arguments: str | Path) -> str:
    return told(status, "product", "try-script", *arguments)


def test_a_script_of_a_file_is_tried_both_ways() -> None:
    assert json.loads(tried("--script", PARSER, "--hex", POST)) == {
        "method": "thing.event.property.post",
        "version": "1.0",
        "id": "2241348",
        "params": {"prop_int16": 4000, "prop_bool": 1, "prop_float": 19.5},
    }
    call = '{"id":"7","method":"thing.service.Calibrate","params":{"offset":-10}}'
    assert tried("--script", PARSER, "--json", call) == "0400000007fff6"
    topic = ("--topic", f"/{KEY}/probe-01/user/update?_sn=default")
    assert tried("--script", PARSER, "--hex", "ff 00", *topic) == '{"length":2,"first":255}'


def test_the_script_of_a_product_is_imported_tried_and_replaced(tmp_path: Path) -> None:
    create()
    assert "the product has no script (6200)" in failed(1, KEY, "--hex", POST)
    assert done("product", "import-script", KEY, PARSER) == f"{KEY} has the script\n"
    assert json.loads(tried(KEY, "--hex", POST))["id"] == "2241348"
    other = tmp_path / "other.js"
    other.write_bytes(b"\xef\xbb\xbffunction rawDataToProtocol(bytes) { return {id: '1'}; }")
    done("product", "import-script", KEY, other)
    assert tried(KEY, "--hex", POST) == '{"id":"1"}'


def test_what_goes_wrong_is_told_with_number_and_line(tmp_path: Path) -> None:
    script = tmp_path / "broken.js"
    script.write_text("function rawDataToProtocol(bytes) {\n  return bytes.x.y;\n}\n", encoding="utf-8")
    expected = "linkstead: TypeError: cannot read property 'y' of undefined (line 2) (26002)\n"
    assert failed(1, "--script", script, "--hex", "00") == expected
    assert "(26006)" in failed(1, "--script", script, "--json", "{}")


def test_a_script_of_128_kb_is_taken_and_a_larger_one_is_not(tmp_path: Path) -> None:
    create()
    script = tmp_path / "large.js"
    text = "function rawDataToProtocol(bytes) { return {n: bytes.length}; }"
    script.write_text(text.ljust(SCRIPT_BYTES_MAX), encoding="utf-8")
    done("product", "import-script", KEY, script)
    assert tried(KEY, "--hex", "00" * 10) == '{"n":10}'
    script.write_text(text.ljust(SCRIPT_BYTES_MAX + 1), encoding="utf-8")
    assert f"large.js: over {SCRIPT_BYTES_MAX} B" in told(1, "product", "import-script", KEY, script)


def test_a_script_that_is_no_text_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "latin.js"
    script.write_bytes(b"// \xe4")
    assert "latin.js: is not UTF-8" in failed(1, "--script", script, "--hex", "00")


def test_a_script_of_an_alink_product_has_to_transform_payloads(tmp_path: Path) -> None:
    create("1")
    script = tmp_path / "script.js"
    script.write_text("function rawDataToProtocol(bytes) {}", encoding="utf-8")
    assert "Parser script type does not fit the product" in told(1, "product", "import-script", KEY, script)
    done("product", "import-script", KEY, PARSER)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--hex", "00"), "give PRODUCT_KEY or --script FILE"),
        ((KEY, "--script", PARSER, "--hex", "00"), "give PRODUCT_KEY or --script FILE"),
        ((KEY,), "give --hex or --json"),
        ((KEY, "--hex", "00", "--json", "{}"), "give --hex or --json"),
        ((KEY, "--json", "{}", "--topic", "/a"), "--topic is for --hex"),
        ((KEY, "--hex", "0g"), "--hex takes pairs of hexadecimal digits"),
        ((KEY, "--hex", "00" * (RAW_BYTES_MAX + 1)), f"--hex takes {RAW_BYTES_MAX} B at most"),
        ((KEY, "--json", "[1]"), "--json takes an object"),
    ],
)
def test_what_is_given_wrongly_is_told(arguments: tuple[str | Path, ...], said: str) -> None:
    result = invoke("product", "try-script", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_product_that_is_not_there_is_told() -> None:
    create()
    assert "there is no product a1None00000" in failed(1, "a1None00000", "--hex", "00")
    assert "there is no product a1None00000" in told(1, "product", "import-script", "a1None00000", PARSER)
