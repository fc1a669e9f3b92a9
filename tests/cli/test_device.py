import csv
import io
import json
import signal
import time
from pathlib import Path

import pytest

from linkstead.cli import demo_data
from linkstead.cli.endpoint import Endpoint
from linkstead.server import SystemClock
from linkstead.system_ids import SystemIds
from tests.cli.processes import ServerProcess, done, invoke, run, started, told, wait_for

ROWS = 20_000
SECONDS_MAX = 20.0


@pytest.fixture
def product_key() -> str:
    done("product", "create", "Lamp", "--product-key", "a1Lamp00001")
    return "a1Lamp00001"


def created(*arguments: str) -> dict[str, str]:
    fields: dict[str, str] = json.loads(done("device", "create", *arguments, "--json"))
    return fields


def listed(product_key: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in done("device", "list", product_key, "--json").splitlines()]


def test_a_device_is_made_with_drawn_name_and_secret(product_key: str) -> None:
    device = created(product_key)
    assert (len(device["device_name"]), len(device["device_secret"]), len(device["iot_id"])) == (20, 32, 25)
    assert listed(product_key) == [
        {
            "product_key": product_key,
            "device_name": device["device_name"],
            "iot_id": device["iot_id"],
            "nickname": "",
            "status": "UNACTIVE",
        }
    ]


def test_the_state_of_each_device_is_listed(dev: ServerProcess) -> None:
    data = ("--data", dev.folder / "data")
    done("device", "create", demo_data.PRODUCT_KEY, "lamp-off", *data)
    clock = SystemClock()
    endpoint = Endpoint(dev.endpoint, "linkstead-dev", "linkstead-dev-secret", None, clock, SystemIds(clock))
    endpoint.invoke("DisableThing", {"ProductKey": demo_data.PRODUCT_KEY, "DeviceName": "lamp-off"})

    def states() -> dict[str, str]:
        lines = done("device", "list", demo_data.PRODUCT_KEY, *data).splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    assert states()["lamp-off"] == "DISABLE"
    wait_for(lambda: states()["lamp-01"] == "ONLINE")


def test_a_device_is_carried_over_as_it_was(product_key: str) -> None:
    device = created(product_key, "lamp-01", "--device-secret", "old-secret", "--nickname", "hall_lamp")
    assert (device["device_name"], device["device_secret"]) == ("lamp-01", "old-secret")
    text = done("device", "list", product_key)
    assert text == f"{'lamp-01':<32}  UNACTIVE  hall_lamp\n"
    assert "old-secret" not in text + done("device", "list", product_key, "--json")


def test_what_does_not_do_is_refused(product_key: str) -> None:
    created(product_key, "lamp-01")
    assert "DeviceName=lamp-01" in told(1, "device", "create", product_key, "lamp-01")
    assert "DeviceName=x; 4-32 of" in told(1, "device", "create", product_key, "x")
    assert "Nickname=x; 4-64" in told(1, "device", "create", product_key, "--nickname", "x")
    line = told(1, "device", "create", product_key, "--device-secret", "my secret")
    assert "DeviceSecret=***; 1-64 printable ASCII" in line
    assert "my secret" not in line
    assert "there is no product gone" in told(1, "device", "create", "gone")
    assert "there is no product gone" in told(1, "device", "list", "gone")


def test_devices_are_made_from_a_file(product_key: str) -> None:
    Path("devices.csv").write_text(
        f"product_key,device_name,device_secret,nickname\n{product_key},lamp-01,old-secret,hall_lamp\n"
        f"{product_key},lamp-02,,\n{product_key},,,\n"
    )
    result = invoke("device", "create", "--csv", "devices.csv")
    assert result.exit_code == 0
    assert result.stderr == "3 devices made, 0 were there already\n"
    drawn = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["product_key"], len(row["device_secret"])) for row in drawn] == [(product_key, 32)] * 2
    assert drawn[0]["device_name"] == "lamp-02"
    assert {device["device_name"] for device in listed(product_key)} == {"lamp-01", "lamp-02", drawn[1]["device_name"]}


def test_the_file_of_drawn_devices_is_one_that_can_be_read_again(product_key: str) -> None:
    Path("devices.csv").write_text(f"product_key\n{product_key}\n")
    Path("drawn.csv").write_text(done("device", "create", "--csv", "devices.csv"))
    result = invoke("device", "create", "--csv", "drawn.csv", "--skip-existing")
    assert (result.stdout, result.stderr) == ("", "0 devices made, 1 were there already\n")


def test_a_file_with_faults_makes_nothing(product_key: str) -> None:
    created(product_key, "lamp-09")
    Path("devices.csv").write_text(
        f"product_key,device_name,device_secret,nickname\n{product_key},lamp-01,s,\n{product_key},x,s,\n"
        f"gone,lamp-02,s,\n{product_key},lamp-01,s,\n{product_key},lamp-09,s,\n{product_key},lamp-03,a secret,\n"
        f"{product_key},lamp-04,s,x\n"
    )
    result = invoke("device", "create", "--csv", "devices.csv")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "linkstead: nothing was written; the file has faults"
    assert "DeviceName=x; 4-32 of" in lines[1]
    assert lines[2] == "line 4: there is no product gone"
    assert lines[3] == f"line 5: {product_key}/lamp-01 stands in line 2 already"
    assert lines[4] == f"line 6: {product_key}/lamp-09 is there already; --skip-existing passes it over"
    assert lines[5].startswith("line 7: ")
    assert "a secret" not in lines[5]
    assert "Nickname=x" in lines[6]
    assert [device["device_name"] for device in listed(product_key)] == ["lamp-09"]


def test_devices_that_are_there_can_be_passed_over(product_key: str) -> None:
    created(product_key, "lamp-01", "--device-secret", "kept")
    Path("devices.csv").write_text(
        f"device_name,product_key,device_secret\nlamp-01,{product_key},other\nlamp-02,{product_key},s\n"
    )
    result = invoke("device", "create", "--csv", "devices.csv", "--skip-existing")
    assert (result.stdout, result.stderr) == ("", "1 devices made, 1 were there already\n")


def test_twenty_thousand_devices_take_seconds(product_key: str) -> None:
    rows = "".join(f"{product_key},lamp-{number},secret-{number}\n" for number in range(ROWS))
    Path("devices.csv").write_text("product_key,device_name,device_secret\n" + rows)
    before_s = time.monotonic()
    result = invoke("device", "create", "--csv", "devices.csv")
    assert time.monotonic() - before_s < SECONDS_MAX
    assert result.stderr == f"{ROWS} devices made, 0 were there already\n"
    assert len(done("device", "list", product_key).splitlines()) == ROWS


def test_a_product_and_a_file_exclude_each_other() -> None:
    assert "give PRODUCT_KEY or --csv FILE" in told(2, "device", "create")
    assert "give PRODUCT_KEY or --csv FILE" in told(2, "device", "create", "a1Lamp00001", "--csv", "x.csv")


def test_a_simulated_device_answers_calls_until_it_is_interrupted(dev: ServerProcess, tmp_path: Path) -> None:
    name, secret, data = "lamp-run", "my-own-device-secret", ("--data", dev.folder / "data")
    done("device", "create", demo_data.PRODUCT_KEY, name, "--device-secret", secret, *data)
    call = ("call", "rrpc", demo_data.PRODUCT_KEY, name, "ping", "--endpoint", dev.endpoint)
    arguments = ("device", "run", demo_data.PRODUCT_KEY, name, "--mqtt", str(dev.mqtt))
    with started(*arguments, folder=tmp_path, env={"LINKSTEAD_DEVICE_SECRET": secret}) as device:
        wait_for(lambda: "\n" in device.stdout)
        assert device.stdout == (
            f"{demo_data.PRODUCT_KEY}/{name} is connected to {dev.mqtt} and answers calls; Ctrl-C ends it\n"
        )
        assert done(*call).startswith("RrpcCode SUCCESS\nping\n")
        device.send(signal.SIGINT)
        assert device.end() == 0
        assert secret not in device.stderr
    with started(*arguments, "--from-store", *data, folder=tmp_path) as device:
        wait_for(lambda: "\n" in device.stdout)
        assert done(*call).startswith("RrpcCode SUCCESS\nping\n")
        assert device.stop() == 0


def test_a_simulated_device_that_is_refused_says_so(dev: ServerProcess, tmp_path: Path) -> None:
    name = demo_data.OWN.device_name
    ran = run(
        *("device", "run", demo_data.PRODUCT_KEY, name, "--mqtt", str(dev.mqtt), "--device-secret", "wrong"),
        cwd=tmp_path,
    )
    assert ran.returncode == 1
    assert ran.stderr == (
        f"linkstead: {dev.mqtt} refused {demo_data.PRODUCT_KEY}/{name} (CONNACK 5): "
        "is it registered there, enabled, and this its secret?\n"
    )


def test_a_simulated_device_needs_a_secret(product_key: str) -> None:
    assert "give --device-secret or --from-store" in told(2, "device", "run", product_key, "lamp-01")
    assert f"there is no device {product_key}/lamp-01" in told(
        1, "device", "run", product_key, "lamp-01", "--from-store"
    )
