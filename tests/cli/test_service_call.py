import ast
import asyncio
import json
from pathlib import Path

import pytest

from linkstead.cli.service_call import DEVICES_LOOKED_AT_MAX
from linkstead.explorer.snippets import LANGUAGES, ActionCall, action_snippet
from linkstead.registry import DeviceKey, PresenceChange
from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.store import SqliteStore
from linkstead.tsl import find_service, read_literal_object
from linkstead.tsl.checking import ModelChecker
from tests.cli.processes import done, told
from tests.tsl.documents import GOLDEN, read_sample

PRODUCT_KEY = "a1Lamp00001"
SENIOR = ("--aliyun-commodity-code", "iothub_senior")


def make_product(*samples: str, arguments: tuple[str, ...] = (), devices: tuple[str, ...] = ("lamp-01",)) -> str:
    """Make a product with the model of these samples and with some devices; the id of the account's key."""
    made = json.loads(done("product", "create", "Lamp", "--product-key", PRODUCT_KEY, *SENIOR, *arguments, "--json"))
    for sample in samples:
        done("product", "import-model", PRODUCT_KEY, GOLDEN / f"{sample}.tsl.json")
    for name in devices:
        done("device", "create", PRODUCT_KEY, name)
    return str(made.get("access_key_id", ""))


def write(language: str, service: str, *arguments: str) -> str:
    return done("product", "show", PRODUCT_KEY, "--code", language, service, *arguments)


def handed(program: str) -> dict[str, str]:
    """The texts that a Python program hands to the SDK."""
    calls = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Call)]
    keywords = [keyword for call in calls for keyword in call.keywords]
    return {
        str(keyword.arg): str(keyword.value.value) for keyword in keywords if isinstance(keyword.value, ast.Constant)
    }


def test_the_example_arguments_pass_the_checks_of_the_model() -> None:
    make_product("all-types")
    checker = ModelChecker(read_sample("all-types"))
    for name in ("Echo", "EchoAsync"):
        service = checker.find_service(name)
        assert service is not None
        args = read_literal_object(handed(write("python", name))["args"])
        assert len(args) == len(service.service.input_data) == 13
        assert service.check_input(args) is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_makes_the_same_call(language: str) -> None:
    access_key_id = make_product("lamp")
    args = handed(write("python", "RunScene"))["args"]
    call = ActionCall(
        scheme="http",
        endpoint="127.0.0.1:8686",
        action="InvokeThingService",
        arguments={"ProductKey": PRODUCT_KEY, "DeviceName": "lamp-01", "Identifier": "RunScene", "Args": args},
        access_key_id=access_key_id,
    )
    assert find_service(read_sample("lamp"), "RunScene") is not None
    assert write(language, "RunScene") == action_snippet(language, call)


def test_a_service_without_inputs_is_called_with_an_empty_object() -> None:
    make_product("lamp")
    assert handed(write("python", "SelfTest"))["args"] == "{}"


def test_a_service_is_found_by_its_name_on_the_wire() -> None:
    make_product("multi-module.default", "multi-module.testFb")
    assert handed(write("python", "testFb:testService"))["identifier"] == "testFb:testService"
    default = read_sample("multi-module").modules[0].services[0].identifier
    assert handed(write("python", f"default:{default}"))["identifier"] == default


def test_the_program_calls_the_server_that_is_named() -> None:
    make_product("lamp")
    fields = handed(write("python", "Blink", "--endpoint", "https://[::1]:8443"))
    assert (fields["protocol"], fields["endpoint"]) == ("https", "[::1]:8443")
    assert "--endpoint takes http" in told(
        2, "product", "show", PRODUCT_KEY, "--code", "go", "Blink", "--endpoint", "ftp://x"
    )


def test_a_product_of_an_instance_is_called_there() -> None:
    done("account", "create", "shop")
    done("account", "add-instance", "shop", "iot-060a0001")
    make_product("lamp", arguments=("--instance", "iot-060a0001"))
    assert handed(write("python", "Blink"))["iot_instance_id"] == "iot-060a0001"


# --- the device ---


def put_online(device_name: str) -> None:
    """What a running server writes when a device connects."""

    async def write_presence() -> None:
        clock = SystemClock()
        store = SqliteStore(Path("linkstead-data") / DATABASE_FILE, clock)
        await store.open()
        store.record_presence(PresenceChange(DeviceKey(PRODUCT_KEY, device_name), True, int(clock.time_s() * 1000)))
        await store.close()

    asyncio.run(write_presence())


def test_a_device_that_is_online_is_called_before_others() -> None:
    make_product("lamp", devices=("lamp-01", "lamp-02", "lamp-03"))
    put_online("lamp-02")
    assert handed(write("python", "Blink"))["device_name"] == "lamp-02"
    assert handed(write("python", "Blink", "--device", "lamp-01"))["device_name"] == "lamp-01"


def test_only_the_newest_devices_are_looked_at() -> None:
    make_product("lamp", devices=("lamp-old",))
    names = [f"lamp-{number:03}" for number in range(DEVICES_LOOKED_AT_MAX - 1)]
    Path("devices.csv").write_text("\n".join(["product_key,device_name", *(f"{PRODUCT_KEY},{name}" for name in names)]))
    done("device", "create", "--csv", "devices.csv")
    put_online("lamp-old")
    assert handed(write("python", "Blink"))["device_name"] == "lamp-old"
    done("device", "create", PRODUCT_KEY, "lamp-new")
    assert handed(write("python", "Blink"))["device_name"] == "lamp-new"


def test_without_a_device_there_is_no_program() -> None:
    make_product("lamp", devices=())
    show = ("product", "show", PRODUCT_KEY, "--code", "node", "Blink")
    assert f"{PRODUCT_KEY} has no device; `linkstead device create` makes one" in told(1, *show)
    assert f"there is no device {PRODUCT_KEY}/lamp-01" in told(1, *show, "--device", "lamp-01")


# --- the key ---


def test_the_oldest_key_that_is_enabled_is_named_and_its_secret_is_not() -> None:
    keys = [("first", "first-secret"), ("second", "second-secret")]
    done("account", "create", "shop", "--access-key-id", keys[0][0], "--access-key-secret", keys[0][1])
    done("account", "add-key", "shop", "--access-key-id", keys[1][0], "--access-key-secret", keys[1][1])
    make_product("lamp")
    for access_key_id, _ in keys:
        program = write("python", "Blink")
        assert handed(program)["access_key_id"] == access_key_id
        assert 'access_key_secret=os.environ["LINKSTEAD_ACCESS_KEY_SECRET"]' in program
        assert not any(secret in program for _, secret in keys)
        done("account", "disable-key", access_key_id)
    assert "no key that is enabled" in told(1, "product", "show", PRODUCT_KEY, "--code", "python", "Blink")


# --- what does not do ---


def test_a_service_that_is_not_there_is_told_with_those_that_are() -> None:
    make_product("lamp")
    line = told(1, "product", "show", PRODUCT_KEY, "--code", "curl", "Blank")
    assert line == "linkstead: there is no service Blank; there is: Blink, SelfTest, RunScene\n"
    assert "there is no service set" in told(1, "product", "show", PRODUCT_KEY, "--code", "curl", "set")


def test_a_model_has_to_be_published() -> None:
    make_product()
    show = ("product", "show", PRODUCT_KEY, "--code", "curl", "Blink")
    assert f"no thing model of {PRODUCT_KEY} is published" in told(1, *show)
    done("product", "import-model", PRODUCT_KEY, GOLDEN / "lamp.tsl.json", "--no-publish")
    assert f"no thing model of {PRODUCT_KEY} is published" in told(1, *show)
    assert "there is no product gone" in told(1, "product", "show", "gone", "--code", "curl", "Blink")


def test_options_that_do_not_fit_are_refused() -> None:
    make_product("lamp")
    show = ("product", "show", PRODUCT_KEY)
    assert "not with --json or --secret" in told(2, *show, "--code", "go", "Blink", "--json")
    assert "not with --json or --secret" in told(2, *show, "--code", "go", "Blink", "--secret")
    assert "--device is for --code" in told(2, *show, "--device", "lamp-01")
    assert "'perl' is not one of" in told(2, *show, "--code", "perl", "Blink")
    assert "requires 2 arguments" in told(2, *show, "--code", "go")
