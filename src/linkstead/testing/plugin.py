"""The pytest plugin: the fixture `linkstead_server`, and what is said of a test that failed.

Nothing of the server is imported before a test asks for it.
"""

from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

FIXTURE = "linkstead_server"
SECTION = "Linkstead calls"


@pytest.fixture(scope="session")
def linkstead_thread() -> Iterator[Any]:
    """The thread that servers run in."""
    thread = import_module("linkstead.testing.kit").LoopThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def linkstead_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an empty database is kept, to be copied for each test."""
    return tmp_path_factory.mktemp("linkstead") / "linkstead.db"


@pytest.fixture
def linkstead_settings() -> dict[str, Any]:
    """Settings of the server, to be overridden: the options of `linkstead dev`, with underscores in their names."""
    return {}


@pytest.fixture
def linkstead_server(
    linkstead_thread: Any,
    linkstead_template: Path,
    linkstead_settings: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A Linkstead server of the test's own, on free ports: a `linkstead.testing.kit.LinksteadServer`."""
    folder = tmp_path_factory.mktemp("linkstead-data")
    kit = import_module("linkstead.testing.kit")
    server = kit.LinksteadServer(linkstead_thread, folder, linkstead_template, linkstead_settings)
    try:
        yield server
    finally:
        server.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """At the end of a test that passed, hold what came against what it expected."""
    result = yield
    server = getattr(item, "funcargs", {}).get(FIXTURE)
    if server is not None:
        try:
            server.verify()
        except AssertionError as error:
            pytest.fail(str(error), pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the calls of a test that failed, each with its timeline."""
    report = yield
    server = getattr(item, "funcargs", {}).get(FIXTURE)
    if call.when == "call" and report.failed and server is not None:
        draw_call = import_module("linkstead.cli.timeline").draw_call
        drawn = [draw_call(view, "en") for view in server.calls()]
        report.sections.append((SECTION, "\n\n".join(drawn) or "none"))
    return report
