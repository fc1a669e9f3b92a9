import importlib.util
import os
import runpy
import textwrap
import tomllib
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools" / "compile"
SETTINGS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
MODULES = ["linkstead." + name.replace("/", ".") for name in SETTINGS["tool"]["linkstead"]["compiled"]]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_in_the_form_that_is_tested(module: str) -> None:
    """`make test-compiled` says which: otherwise it might test the other form unnoticed."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert spec.origin.endswith(".so") == (os.environ.get("LINKSTEAD_COMPILED") == "1")


@pytest.mark.parametrize(
    ("body", "is_refused"),
    [
        ("try:\n await a()\nexcept ValueError:\n await b()\n raise", True),
        ("try:\n pass\nfinally:\n async with a():\n  pass", True),
        ("try:\n await a()\nexcept ValueError as error:\n noted = error\nawait b()\nraise noted", False),
    ],
)
def test_what_waits_in_a_handler_is_not_compiled(tmp_path: Path, body: str, is_refused: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text("async def work():\n" + textwrap.indent(body, " "))
    check_waits = runpy.run_path(str(TOOL))["check_waits"]
    if is_refused:
        with pytest.raises(SystemExit, match="waits in an except or a finally"):
            check_waits(path)
    else:
        check_waits(path)
