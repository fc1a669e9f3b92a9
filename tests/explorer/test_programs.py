"""Every program that is written for every action is run with the vendor's SDK against a server, which hears it all."""

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_iot20180120 import models
from alibabacloud_iot20180120.client import Client

from linkstead.action import ActionContext, Answer, AnyAction, Request
from linkstead.actions import ACTIONS
from linkstead.api.parameters import bind
from linkstead.config import Address
from linkstead.explorer.arguments import Arguments, flatten_arguments, make_example
from linkstead.explorer.reference import describe_action
from linkstead.explorer.snippets import PYTHON_LACKS, ActionCall, action_snippet, write_python_name
from linkstead.server import SystemClock
from tests.rig import KEY, running
from tests.sdk.child import NODE_PROGRAMS, Child

ENVIRONMENT = {
    **os.environ,
    "LINKSTEAD_ACCESS_KEY_ID": KEY.access_key_id,
    "LINKSTEAD_ACCESS_KEY_SECRET": KEY.secret,
}

# Run the programs they are told, one after the other: `{program}` in, `{said}` out.

PYTHON_RUNNER = """
import contextlib, io, json, sys
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(json.loads(line)["program"], "program", "exec"), {"__name__": "__main__"})
        except Exception as error:
            print(repr(error))
    print(json.dumps({"said": said.getvalue()}), flush=True)
"""

NODE_RUNNER = """
const require = (await import("node:module")).createRequire(FOLDER);
const lines = (await import("node:readline")).createInterface({ input: process.stdin });
for await (const line of lines) {
  const said = await new Promise((resolve) => {
    const run = new Function("require", "console", JSON.parse(line).program);
    run(require, { log: resolve, error: resolve });
  });
  console.log(JSON.stringify({ said }));
}
"""

BASH_RUNNER = """
import json, subprocess, sys
for line in sys.stdin:
    program = json.loads(line)["program"]
    ran = subprocess.run(["bash"], input=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(json.dumps({"said": ran.stdout}), flush=True)
"""

RUNNERS = {
    "python": [sys.executable, "-W", "ignore", "-c", PYTHON_RUNNER],
    "python-core": [sys.executable, "-W", "ignore", "-c", PYTHON_RUNNER],
    "node": ["node", "--input-type=module", "-e", NODE_RUNNER.replace("FOLDER", f'"{NODE_PROGRAMS}/"')],
    "curl": [sys.executable, "-c", BASH_RUNNER],
}

AWKWARD = "'\"`\\ $HOME %41 + & = ; \t灯 é \U0001f600"


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> Iterator[tuple[str, Child]]:
    """A language, and what runs its programs."""
    with Child(RUNNERS[request.param], missing="make test", environment=ENVIRONMENT) as child:
        yield request.param, child


def listen(action: AnyAction, heard: dict[str, Request]) -> AnyAction:
    """An action of the same shapes that does nothing but hear what it is asked."""

    async def hear(_: ActionContext, request: Any) -> Answer:
        heard[action.name] = request
        answer: Answer = action.answer()
        return answer

    return replace(action, function=hear, is_call=False)


@asynccontextmanager
async def listening(
    monkeypatch: pytest.MonkeyPatch, filled_database: Path, folder: Path
) -> AsyncIterator[tuple[Address, dict[str, Request]]]:
    """A server of which every action only hears; the requests by action."""
    heard: dict[str, Request] = {}
    monkeypatch.setattr("linkstead.server.ACTIONS", {name: listen(each, heard) for name, each in ACTIONS.items()})
    async with running(filled_database, folder, clock=SystemClock(), strict=True) as rig:
        yield rig.http, heard


def make_awkward(arguments: Arguments) -> Arguments:
    """The same with texts that are hard to write down."""
    return {name: AWKWARD + value if isinstance(value, str) else value for name, value in arguments.items()}


@pytest.mark.asyncio
async def test_every_action_hears_every_parameter(
    monkeypatch: pytest.MonkeyPatch, filled_database: Path, tmp_path: Path, runner: tuple[str, Child]
) -> None:
    language, child = runner
    async with listening(monkeypatch, filled_database, tmp_path) as (http, heard):
        for name, action in ACTIONS.items():
            arguments = make_awkward(make_example(describe_action(name), whole=True))
            program = action_snippet(language, ActionCall("http", str(http), name, arguments))
            said = await asyncio.to_thread(child.ask, {"program": program})
            assert "RequestId" in said["said"], said
            assert heard.pop(name) == bind(action.request, flatten_arguments(arguments), {})


@pytest.mark.asyncio
async def test_many_entries_keep_their_order(
    monkeypatch: pytest.MonkeyPatch, filled_database: Path, tmp_path: Path, runner: tuple[str, Child]
) -> None:
    language, child = runner
    arguments: Arguments = {
        "ProductKey": "a1",
        "ProductTag": [{"TagKey": f"k{number}", "TagValue": AWKWARD} for number in range(12)],
    }
    async with listening(monkeypatch, filled_database, tmp_path) as (http, heard):
        program = action_snippet(language, ActionCall("http", str(http), "CreateProductTags", arguments))
        said = await asyncio.to_thread(child.ask, {"program": program})
        assert "RequestId" in said["said"], said
        assert heard == {
            "CreateProductTags": bind(ACTIONS["CreateProductTags"].request, flatten_arguments(arguments), {})
        }


def test_the_python_sdk_lacks_what_is_left_out_and_nothing_else() -> None:
    lacking: dict[str, set[str]] = {}
    for name in ACTIONS:
        assert callable(getattr(Client, write_python_name(name)))
        known = inspect.signature(getattr(models, f"{name}Request").__init__).parameters
        for parameter in describe_action(name).parameters:
            if write_python_name(parameter.name) not in known:
                lacking.setdefault(name, set()).add(parameter.name)
            elif parameter.fields:
                entry = inspect.signature(getattr(models, f"{name}Request{parameter.name}").__init__).parameters
                assert {write_python_name(field.name) for field in parameter.fields} <= set(entry)
    assert lacking == PYTHON_LACKS


def test_what_the_python_sdk_lacks_is_not_written() -> None:
    call = ActionCall("http", "h", "GetThingModelTsl", {"ProductKey": "a1", "ResourceGroupId": "rg"})
    assert "resource_group_id" not in action_snippet("python", call)
    assert "ResourceGroupId" in action_snippet("python-core", call)
