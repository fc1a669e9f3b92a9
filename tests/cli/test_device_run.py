"""`device run` with a thing model and a behaviour file."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from linkstead.cli import demo_data
from tests.cli.processes import ServerProcess, done, started, told, wait_for
from tests.tsl.documents import GOLDEN

LAMP = GOLDEN / "lamp.tsl.json"
MODULE, DEFAULT_MODULE = GOLDEN / "multi-module.testFb.tsl.json", GOLDEN / "multi-module.default.tsl.json"
RUN = ("device", "run", "a1Lamp00001", "lamp-01", "--device-secret", "secret")


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def test_what_belongs_to_a_model_needs_one() -> None:
    behaviour = write("own.py", "")
    for options in (("--behaviour", behaviour), ("--post-every-s", "5")):
        assert "--behaviour and --post-every-s need --model FILE" in told(2, *RUN, *options)


@pytest.mark.parametrize("seconds", ["0.09", "86400.1", "-1", "nan", "inf"])
def test_posts_past_the_bounds_are_refused(seconds: str) -> None:
    line = told(2, *RUN, "--model", LAMP, "--post-every-s", seconds)
    assert "--post-every-s takes 0.1 to 86400, or 0" in line


def test_a_file_that_is_not_there_is_named() -> None:
    assert "gone.json" in told(2, *RUN, "--model", "gone.json")
    assert "gone.py" in told(2, *RUN, "--model", LAMP, "--behaviour", "gone.py")


def test_a_fault_in_a_model_is_told_with_file_and_place() -> None:
    path = write("model.json", '{"services": [{"identifier": "a-b"}]}')
    assert told(1, *RUN, "--model", path).startswith("linkstead: model.json: services[0].identifier: must be 1-50 of")
    assert told(1, *RUN, "--model", write("text.json", "x")).startswith(
        "linkstead: text.json: the document: must be JSON"
    )


def test_a_module_can_be_there_but_once() -> None:
    assert told(1, *RUN, "--model", MODULE, "--model", MODULE) == (
        "linkstead: --model: functionBlockId: testFb is there twice\n"
    )
    assert "the default module is there twice" in told(1, *RUN, "--model", LAMP, "--model", DEFAULT_MODULE)


def test_a_fault_in_a_behaviour_is_told_with_file_and_line() -> None:
    path = write("own.py", "x = 1\nBlink = y\n")
    assert told(1, *RUN, "--model", LAMP, "--behaviour", path) == (
        "linkstead: own.py: line 2: NameError: name 'y' is not defined\n"
    )
    # A module alone has a default module that is empty.
    path = write("own.py", "def Blink(inputs, state): pass\n")
    assert "Blink: the thing model has no such service" in told(1, *RUN, "--model", MODULE, "--behaviour", path)


def test_a_device_does_what_model_and_behaviour_say(dev: ServerProcess, tmp_path: Path) -> None:
    secret, data = "my-own-device-secret", ("--data", dev.folder / "data")
    done("device", "create", demo_data.PRODUCT_KEY, "lamp-model", "--device-secret", secret, *data)
    shutil.copy(LAMP, tmp_path / "lamp.json")
    shutil.copy(MODULE, tmp_path / "module.json")
    write("own.py", "def Blink(inputs, state):\n    return {'Executed': inputs['Times'] + 1}\n")

    def call(identifier: str, params: object) -> dict[str, object]:
        payload = json.dumps({"id": "1", "method": f"thing.service.{identifier}", "params": params})
        target = (demo_data.PRODUCT_KEY, "lamp-model", payload)
        verdict, reply = done("call", "rrpc", *target, "--endpoint", dev.endpoint).splitlines()[:2]
        assert verdict == "RrpcCode SUCCESS"
        read: dict[str, object] = json.loads(reply)
        return read

    files = ("--model", "module.json", "--model", "lamp.json", "--behaviour", "own.py")
    options = ("--mqtt", str(dev.mqtt), "--post-every-s", "0", "--carrier", "sys")
    arguments = ("device", "run", demo_data.PRODUCT_KEY, "lamp-model", *options, *files)
    with started(*arguments, folder=tmp_path, env={"LINKSTEAD_DEVICE_SECRET": secret}) as device:
        wait_for(lambda: "\n" in device.stdout or device.child.poll() is not None)
        assert "is connected to" in device.stdout, device.stderr
        assert call("Blink", {"Times": 3, "IntervalSec": 0.5}) == {"id": "1", "code": 200, "data": {"Executed": 4}}
        assert call("testFb:testService", {"param1": 3, "ratio": 0.5})["code"] == 200
        assert call("Blink", {})["code"] == 460
        device.send(signal.SIGINT)
        assert device.end() == 0
        assert secret not in device.stderr
        assert "answered" in device.stderr
        assert "service=Blink code=460" in device.stderr
