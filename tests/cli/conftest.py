import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import ENVIRONMENT, ServerProcess, serving


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither variables nor a file of whoever runs the tests have a say."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - ENVIRONMENT.keys():
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nobody_elses_logs() -> Iterator[None]:
    """A command run in this process sets the logs up for itself alone."""
    loggers = [logging.getLogger(), logging.getLogger("linkstead")]
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    loggers[0].handlers[:] = handlers


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A development server for all tests that only call."""
    with serving("dev", folder=tmp_path_factory.mktemp("dev")) as server:
        yield server
