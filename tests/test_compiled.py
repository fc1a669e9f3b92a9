import importlib.util
import os
import tomllib
from pathlib import Path

import pytest

SETTINGS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
MODULES = ["linkstead." + name.replace("/", ".") for name in SETTINGS["tool"]["linkstead"]["compiled"]]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_in_the_form_that_is_tested(module: str) -> None:
    """`make test-compiled` says which: otherwise it might test the other form unnoticed."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.endswith(".so") == (os.environ.get("LINKSTEAD_COMPILED") == "1")
