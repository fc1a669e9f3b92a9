import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from linkstead.tsl.limits import MODULE_NAME_RULE, TSL_BYTES_MAX, VERSION_CHARS_MAX
from tests.cli.processes import done, invoke, told
from tests.tsl.documents import GOLDEN, load

LAMP_KEY, MODULES_KEY = "a1Lnk5tEad0", "a1ModFbDemo"
LAMP = GOLDEN / "lamp.tsl.json"


def create(product_key: str = LAMP_KEY, commodity_code: str = "iothub_senior") -> None:
    """Make a product with this key."""
    arguments = ("--product-key", product_key, "--aliyun-commodity-code", commodity_code)
    done("product", "create", f"Lamp_{product_key}", *arguments)


def put(name: str | Path, *arguments: str, product_key: str = LAMP_KEY) -> str:
    """Import a sample, or a file of the test's own; says what the command does."""
    return done("product", "import-model", product_key, GOLDEN / name, *arguments)


def export(*arguments: str, product_key: str = LAMP_KEY) -> Any:
    return json.loads(done("product", "export-model", product_key, *arguments))


def refused(status: int, *arguments: str | Path) -> str:
    return told(status, "product", "import-model", *arguments)


def write(text: str | bytes) -> str:
    """A file to import."""
    Path("model.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return "model.json"


def test_a_model_is_imported_published_and_exported_whole() -> None:
    create()
    assert put("lamp.tsl.json", "--version", "1.0") == f"{LAMP_KEY}: published as 1.0\n"
    assert export() == load("lamp.tsl.json")
    assert export("--draft") == load("lamp.tsl.json")
    assert export("--simple") == load("lamp.simple.json")


@pytest.mark.parametrize("name", ["all-types", "raw-probe"])
def test_other_samples_are_imported_and_exported_whole(name: str) -> None:
    key = load(f"{name}.tsl.json")["profile"]["productKey"]
    create(key)
    put(f"{name}.tsl.json", product_key=key)
    assert export(product_key=key) == load(f"{name}.tsl.json")


def test_modules_are_imported_one_by_one() -> None:
    create(MODULES_KEY)
    put("multi-module.default.tsl.json", "--no-publish", product_key=MODULES_KEY)
    put("multi-module.testFb.tsl.json", product_key=MODULES_KEY)
    assert export(product_key=MODULES_KEY) == load("multi-module.default.tsl.json")
    assert export("--module", "testFb", product_key=MODULES_KEY) == load("multi-module.testFb.tsl.json")


def test_a_module_is_named_by_the_options_rather_than_by_the_file() -> None:
    create(MODULES_KEY)
    named = ("--module", "other", "--module-name", "Other block")
    put("multi-module.testFb.tsl.json", *named, product_key=MODULES_KEY)
    assert export(product_key=MODULES_KEY)["functionBlocks"] == [
        {"functionBlockId": "other", "functionBlockName": "Other block", "productKey": MODULES_KEY}
    ]


def test_the_product_that_a_file_names_does_not_matter() -> None:
    create("a1Other0001")
    put("lamp.tsl.json", product_key="a1Other0001")
    assert export(product_key="a1Other0001")["profile"]["productKey"] == "a1Other0001"


def test_a_model_is_read_from_standard_input_and_with_a_byte_order_mark() -> None:
    create()
    result: Result = invoke("product", "import-model", LAMP_KEY, "-", stdin=LAMP.read_bytes())
    assert result.exit_code == 0
    put(Path(write(b"\xef\xbb\xbf" + LAMP.read_bytes())).absolute(), "--no-publish")
    assert export() == export("--draft") == load("lamp.tsl.json")


def test_what_is_not_published_is_in_the_draft_alone() -> None:
    create()
    assert put("lamp.tsl.json", "--no-publish") == f"{LAMP_KEY}: in the draft, not published\n"
    assert export("--draft") == load("lamp.tsl.json")
    assert "nothing of a1Lnk5tEad0 is published; --draft" in told(1, "product", "export-model", LAMP_KEY)


def test_a_version_without_a_name_gets_the_milliseconds() -> None:
    create()
    name = put("lamp.tsl.json").removeprefix(f"{LAMP_KEY}: published as ").strip()
    assert name.isdigit()
    assert len(name) == 13
    shown = json.loads(done("product", "show", LAMP_KEY, "--json"))
    assert shown["model_version"] == name


def test_a_product_is_shown_with_the_services_that_can_be_called() -> None:
    create(MODULES_KEY)
    put("multi-module.testFb.tsl.json", product_key=MODULES_KEY)
    put("multi-module.default.tsl.json", "--version", "2.0", product_key=MODULES_KEY)
    shown = json.loads(done("product", "show", MODULES_KEY, "--json"))
    assert shown["model_version"] == "2.0"
    assert shown["services"] == [
        {"identifier": "Reboot", "name": "Reboot", "call_type": "async"},
        {"identifier": "testFb:testService", "name": "Test service", "call_type": "sync"},
        {"identifier": "testFb:asyncService", "name": "Async service", "call_type": "async"},
    ]
    lines = done("product", "show", MODULES_KEY).splitlines()
    assert lines[-6:] == [
        "model_version          2.0",
        "",
        "identifier           name           call_type",
        "Reboot               Reboot         async",
        "testFb:testService   Test service   sync",
        "testFb:asyncService  Async service  async",
    ]


def test_a_file_that_is_no_model_is_told_with_its_place_and_the_rule() -> None:
    create()
    put("lamp.tsl.json")
    document = {"services": [{"identifier": "Blink", "name": "Blink", "callType": "later"}]}
    assert 'model.json: services[0].callType: must be one of sync, async, not "later"' in refused(
        1, LAMP_KEY, write(json.dumps(document))
    )
    assert "model.json: the document: must be JSON: " in refused(1, LAMP_KEY, write("{"))
    assert "model.json: the document: must be JSON: " in refused(1, LAMP_KEY, write(b'{"a":"\xff"}'))
    put(Path(write("{}".ljust(TSL_BYTES_MAX))).absolute(), "--no-publish")
    assert f"must have at most {TSL_BYTES_MAX} bytes" in refused(1, LAMP_KEY, write("{}".ljust(TSL_BYTES_MAX + 1)))
    nameless = refused(1, LAMP_KEY, write("{}"), "--module", "lights")
    assert f"model.json: functionBlockName: must be {MODULE_NAME_RULE}" in nameless
    assert "'gone.json': No such file" in refused(2, LAMP_KEY, "gone.json")
    assert export() == load("lamp.tsl.json")


def test_a_version_that_does_not_do_leaves_the_draft_as_it_was() -> None:
    create()
    put("lamp.tsl.json", "--version", "V" * VERSION_CHARS_MAX)
    write("{}")
    assert "--version takes 1-16 of" in refused(2, LAMP_KEY, "model.json", "--version", "V" * (VERSION_CHARS_MAX + 1))
    assert "--version is for what is published" in refused(2, LAMP_KEY, "model.json", "--version", "2", "--no-publish")
    taken = refused(1, LAMP_KEY, "model.json", "--version", "V" * VERSION_CHARS_MAX)
    assert f"{LAMP_KEY} has a version {'V' * VERSION_CHARS_MAX} already" in taken
    assert export("--draft") == load("lamp.tsl.json")


def test_a_product_that_is_not_there_or_has_no_thing_model_is_told() -> None:
    create("a1Plain0001", "iothub")
    for command in (["import-model", "{}", str(LAMP)], ["export-model", "{}"]):
        absent = [argument.format("a1Absent001") for argument in command]
        assert "there is no product a1Absent001" in told(1, "product", *absent)
        plain = [argument.format("a1Plain0001") for argument in command]
        assert "a1Plain0001 has no thing model; make one that has with --aliyun" in told(1, "product", *plain)


def test_a_module_that_is_not_there_is_told_with_those_there_are() -> None:
    create(MODULES_KEY)
    put("multi-module.default.tsl.json", product_key=MODULES_KEY)
    command = ("product", "export-model", MODULES_KEY, "--module", "x")
    assert "there is no module x; there is: the default module alone" in told(1, *command)
    put("multi-module.testFb.tsl.json", product_key=MODULES_KEY)
    assert "there is no module x; there is: testFb" in told(1, *command)


def test_the_model_of_a_released_product_stays() -> None:
    create()
    put("lamp.tsl.json", "--version", "1.0")
    with closing(sqlite3.connect("linkstead-data/linkstead.db")) as database, database:
        database.execute("UPDATE product SET released = 1")
    for option in ("--publish", "--no-publish"):
        line = refused(1, LAMP_KEY, str(GOLDEN / "all-types.tsl.json"), option)
        assert line.startswith(f"linkstead: {LAMP_KEY} is released")
    assert export("--draft") == load("lamp.tsl.json")
