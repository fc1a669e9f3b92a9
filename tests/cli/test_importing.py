import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkstead.cli import demo_data
from linkstead.cli.importing import REPORT_FILE, Report
from linkstead.cli.installation import Installation, open_installation
from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Settings
from linkstead.registry import DeviceKey
from tests.cli.clouds import Cloud, running_cloud
from tests.cli.processes import ServerProcess, done, invoke, serving, started, told, wait_for

PK = "a1Move00001"
SECRET = "a-secret-of-the-source"
KEY = ("--access-key-id", DEMO_ACCESS_KEY_ID, "--access-key-secret", DEMO_ACCESS_KEY_SECRET)
FAST = ("--requests-per-second", "1000")
MANY = 10_000


def fill(data: Path) -> None:
    """A product as an owner has them, beside the demo product."""
    done(
        *("product", "create", "Moved-lamp", "--product-key", PK, "--product-secret", SECRET, "--net-type", "CELLULAR"),
        *("--aliyun-commodity-code", "iothub_senior", "--description", "of the hall", "--data", data),
    )
    done("product", "import-model", PK, demo_data.MODEL_PATH, "--data", data)
    module = ("--module", "extra", "--module-name", "Extra")
    done("product", "import-model", PK, demo_data.MODEL_PATH, *module, "--data", data)
    done("product", "add-topic", PK, "report", "PUB", "--data", data)
    for name in ("lamp-a", "lamp-b"):
        done("device", "create", PK, name, "--nickname", name.replace("-", "_"), "--data", data)

    async def change(installation: Installation) -> None:
        await installation.store.add_product_tags(PK, {"room": "hall"}, 100)
        await installation.registry.set_product_released(PK, True)
        await installation.registry.set_device_enabled(DeviceKey(PK, "lamp-b"), False, installation.now_ms)
        (update, *_) = await installation.store.list_topics(PK)
        await installation.registry.delete_topic(update)

    in_installation(data, change)


def in_installation(data: Path, work: Any) -> Any:
    async def run() -> Any:
        async with open_installation(Settings(data=str(data))) as installation:
            return await work(installation)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("source")
    with serving("dev", folder=folder) as server:
        fill(folder / "data")
        yield server


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        yield cloud


def bring(source: ServerProcess, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what was said, and the report."""
    result = invoke("import", "--from", source.endpoint, *KEY, *FAST, "--data", "here", *options)
    assert DEMO_ACCESS_KEY_SECRET not in result.output
    assert SECRET not in result.output + Path(REPORT_FILE).read_text()
    return result.exit_code, result.stderr, json.loads(Path(REPORT_FILE).read_text())


def everything(data: Path) -> Any:
    """What an import brings. The API does not tell whether the devices of a product may register by themselves."""
    not_told = ("account_id", "dynamic_registration")

    async def read(installation: Installation) -> Any:
        store = installation.store
        found = []
        for product_key in (PK, demo_data.PRODUCT_KEY):
            product = await installation.find_product(product_key)
            devices = (await store.list_devices(product_key, 0, 100)).records
            topics = await store.list_topics(product_key)
            found.append(
                (
                    [getattr(product, name) for name in product.__slots__ if name not in not_told],
                    await installation.models.find_published(product_key),
                    sorted((each.topic, each.operation, each.description) for each in topics),
                    await store.list_product_tags(product_key),
                    sorted(
                        (
                            each.device_name,
                            each.iot_id,
                            each.device_secret,
                            each.nickname,
                            each.enabled,
                            each.created_ms,
                        )
                        for each in devices
                    ),
                )
            )
        return found

    return in_installation(data, read)


def test_everything_comes_along(source: ServerProcess) -> None:
    status, said, report = bring(source)
    assert status == 0, said
    assert "made the account default" in said
    assert everything(Path("here")) == everything(source.folder / "data")
    assert report["products_made"] == 2
    assert report["devices_made"] == 2 + len(demo_data.DEVICES)
    assert report["models_made"] == 2
    assert report["devices_sampled"] == 2
    assert report["differences"] == report["problems"] == []


def test_a_second_run_passes_over_what_is_equal(source: ServerProcess) -> None:
    bring(source)
    before = everything(Path("here"))
    status, _, report = bring(source)
    assert status == 0
    assert report["products_made"] == report["devices_made"] == report["topics_made"] == report["tags_made"] == 0
    assert report["devices_equal"] == report["devices"] == 2 + len(demo_data.DEVICES)
    assert everything(Path("here")) == before


def test_a_dry_run_writes_nothing(source: ServerProcess) -> None:
    status, said, report = bring(source, "--dry-run")
    assert status == 0, said
    assert report["dry_run"] is True
    assert f"{PK}: 2 devices, 2 would be made" in said
    assert report["devices_made"] == 2 + len(demo_data.DEVICES)
    assert not Path("here").exists()
    done("product", "create", "Other", "--data", "here")
    bring(source, "--dry-run")
    assert json.loads(done("product", "list", "--json", "--data", "here"))[0]["product_name"] == "Other"
    assert len(json.loads(done("product", "list", "--json", "--data", "here"))) == 1


def test_a_product_that_is_named_comes_alone(source: ServerProcess) -> None:
    status, _, report = bring(source, "--product", PK)
    assert (status, report["products"], report["devices"]) == (0, 1, 2)


def test_what_is_here_with_other_values_stays_and_is_told(source: ServerProcess) -> None:
    done(
        *("product", "create", "Moved-lamp", "--product-key", PK, "--product-secret", "another", "--data", "here"),
        *("--aliyun-commodity-code", "iothub_senior"),
    )
    done("device", "create", PK, "lamp-a", "--device-secret", "of-another", "--data", "here")
    status, said, report = bring(source, "--product", PK)
    assert status == 1
    assert any(text.startswith(f"{PK}: product_secret, net_type, description") for text in report["differences"])
    assert f"{PK}/lamp-a: iot_id, device_secret, nickname" in report["differences"]
    assert "differs: " in said
    assert report["devices_made"] == 1
    shown = json.loads(done("product", "show", PK, "--secret", "--json", "--data", "here"))
    assert shown["product_secret"] == "another"
    key = DeviceKey(PK, "lamp-a")
    device = in_installation(Path("here"), lambda installation: installation.find_device(key))
    assert device.device_secret == "of-another"


def test_a_product_of_another_account_is_left_alone(source: ServerProcess) -> None:
    done("account", "create", "first", "--data", "here")
    done("account", "create", "second", "--data", "here")
    done("product", "create", "Moved-lamp", "--product-key", PK, "--account", "first", "--data", "here")
    status, _, report = bring(source, "--product", PK, "--account", "second")
    assert status == 1
    assert report["problems"] == [f"{PK}: is here already, in another account or instance"]
    assert report["devices"] == 0


def test_a_wrong_key_is_told_and_nothing_is_made(source: ServerProcess) -> None:
    arguments = ("import", "--from", source.endpoint, "--access-key-id", DEMO_ACCESS_KEY_ID, "--data", "here")
    line = told(1, *arguments, "--access-key-secret", "wrong")
    assert "SignatureDoesNotMatch: the secret is not that of the access key" in line
    assert "InvalidAccessKeyId" in told(1, *arguments, "--access-key-id", "nobody", "--access-key-secret", "wrong")
    assert "takes http://" in told(2, *arguments, "--from", "ftp://x", "--access-key-secret", "wrong")
    assert json.loads(done("account", "list", "--json", "--data", "here")) == []


def test_a_product_that_is_not_there_is_told(source: ServerProcess) -> None:
    status, _, report = bring(source, "--product", "a1Nowhere00")
    assert status == 1
    assert report["problems"][0].startswith("a1Nowhere00: QueryProduct failed there: iot.prod.NotExistedProduct")


def test_a_throttled_source_is_waited_for(tmp_path: Path) -> None:
    with serving("dev", "--quota", "QueryProductTopic=1", "--quota", "QueryProduct=1", folder=tmp_path) as server:
        fill(tmp_path / "data")
        status, said, report = bring(server)
        assert status == 0, said
        assert report["devices_made"] == 2 + len(demo_data.DEVICES)


def test_an_import_that_was_killed_is_made_up_for(source: ServerProcess, tmp_path: Path) -> None:
    with started(
        *("import", "--from", source.endpoint, *KEY, "--data", "here", "--requests-per-second", "5"), folder=tmp_path
    ) as process:
        wait_for(lambda: "2 of 2" in process.stderr)
        process.send(signal.SIGKILL)
        process.end()
    status, said, report = bring(source)
    assert status == 0, said
    assert report["devices_made"] + report["devices_equal"] == 2 + len(demo_data.DEVICES)
    assert everything(Path("here"))[0][1:] == everything(source.folder / "data")[0][1:]


def answer_as_another_cloud(action: str, parameters: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """A service that lacks something, tells something that cannot be kept, and keeps secrets out of its lists."""
    name = parameters.get("DeviceName", "")
    product = {"ProductKey": PK, "ProductName": "Elsewhere", "ProductSecret": SECRET, "NodeType": 0}
    operations = (("${deviceName}/user/x", "0"), ("${deviceName}/user/y", "7"), ("broadcast/z", "1"))
    topics = [{"TopicShortName": f"/{PK}/{rest}", "Operation": operation} for rest, operation in operations]
    devices = [
        {"DeviceName": "with-all", "IotId": "one", "DeviceSecret": "first", "DeviceStatus": "OFFLINE"},
        {"DeviceName": "same-iot-id", "IotId": "one", "DeviceSecret": "second", "DeviceStatus": "ONLINE"},
        {"DeviceName": "asked-alone", "IotId": "two", "DeviceStatus": "UNACTIVE"},
        {"DeviceName": "no-secret", "IotId": "three", "DeviceStatus": "UNACTIVE"},
        {"DeviceName": "bad-iot-id", "IotId": "?", "DeviceSecret": "third", "DeviceStatus": "UNACTIVE"},
        {"DeviceName": "bad", "IotId": "four", "DeviceSecret": "fourth", "DeviceStatus": "UNACTIVE"},
    ]
    alone = {
        "with-all": {**devices[0], "Status": "OFFLINE"},
        "asked-alone": {**devices[2], "DeviceSecret": "by-itself", "Status": "UNACTIVE"},
    }
    answers: dict[str, dict[str, Any]] = {
        "QueryProduct": {"Data": {**product, "AliyunCommodityCode": "iothub_senior", "NetType": 8, "GmtCreate": 1}},
        "GetThingModelTslPublished": {"Data": {"TslStr": '{"properties": 7}'}},
        "QueryProductTopic": {"Data": {"ProductTopicInfo": topics}},
        "QueryDevice": {"Total": len(devices), "Data": {"DeviceInfo": devices}},
        "QueryDeviceDetail": {"Data": alone.get(name, {"DeviceName": name})},
    }
    if action not in answers:
        return 404, {"Code": "InvalidAction.NotFound", "Message": "not there"}
    return 200, {"Success": True, **answers[action]}


def test_what_cannot_be_kept_is_told_and_the_rest_comes_along(cloud: Cloud) -> None:
    cloud.answer = answer_as_another_cloud
    result = invoke("import", "--from", cloud.url, *KEY, *FAST, "--data", "here", "--product", PK)
    assert result.exit_code == 1
    report = json.loads(Path(REPORT_FILE).read_text())
    assert report["is_complete"] is True
    assert report["differences"] == []
    begins = [
        f"{PK}: thing model: properties",
        f"{PK}: topic class /{PK}/${{deviceName}}/user/y is none",
        f"{PK}: topic class /{PK}/broadcast/z is none",
        f"{PK}: tags: InvalidAction.NotFound",
        f"{PK}/no-secret: the key that is used is not told its secret",
        f"{PK}/bad-iot-id: IotId takes",
        f"{PK}/bad: ",
        f"{PK}/same-iot-id: its iot_id is taken",
        f"{PK}: 6 devices there, 2 here",
    ]
    assert len(report["problems"]) == len(begins), report["problems"]
    for begin in begins:
        assert any(problem.startswith(begin) for problem in report["problems"]), (begin, report["problems"])
    find = DeviceKey(PK, "asked-alone")
    device = in_installation(Path("here"), lambda installation: installation.find_device(find))
    assert (device.device_secret, device.iot_id) == ("by-itself", "two")
    listed = in_installation(Path("here"), lambda installation: installation.store.list_topics(PK))
    assert [each.topic for each in listed] == [f"/{PK}/${{deviceName}}/user/x"]


def test_an_import_that_breaks_off_says_so_in_its_report(cloud: Cloud) -> None:
    cloud.answer = lambda _action, _parameters: (403, {"Code": "Forbidden.RAM", "Message": "not you"})
    result = invoke("import", "--from", cloud.url, *KEY, "--data", "here")
    assert result.exit_code == 1
    report = json.loads(Path(REPORT_FILE).read_text())
    assert report["is_complete"] is False
    assert report["problems"] == ["import: Forbidden.RAM: not you"]


@pytest.mark.long
def test_ten_thousand_devices_come_along_killed_on_the_way(tmp_path: Path) -> None:
    with serving("dev", folder=tmp_path) as server:
        rows = "".join(f"{PK},meter-{number:05}\n" for number in range(MANY))
        Path("many.csv").write_text(f"product_key,device_name\n{rows}")
        done("product", "create", "Meters", "--product-key", PK, "--data", tmp_path / "data")
        done("device", "create", "--csv", "many.csv", "--data", tmp_path / "data")
        arguments = ("import", "--from", server.endpoint, *KEY, "--product", PK, "--data", "here")
        with started(*arguments, "--requests-per-second", "50", folder=tmp_path, name="import") as process:
            wait_for(lambda: count_here() > MANY // 50)
            process.send(signal.SIGKILL)
            process.end()
        assert 0 < count_here() < MANY
        status, said, report = bring(server, "--product", PK)
        assert status == 0, said
        assert (report["devices"], count_here()) == (MANY, MANY)
        assert report["devices_made"] + report["devices_equal"] == MANY
        assert report["devices_sampled"] == 20


def count_here() -> int:
    if not (Path("here") / "linkstead.db").exists():
        return 0
    result = invoke("product", "list", "--json", "--data", "here")
    return sum(each["devices"] for each in json.loads(result.stdout)) if result.exit_code == 0 else 0


def test_findings_beyond_the_bound_are_counted() -> None:
    report = Report("http://x", False)
    for number in range(10_001):
        report.differ(f"d-{number}", ["nickname"])
    assert (len(report.differences), report.findings_left_out) == (10_000, 1)
