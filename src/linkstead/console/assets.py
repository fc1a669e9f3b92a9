"""The files that pages load: our own, and those of npm packages that the set-up has put into `vendor`."""

import hashlib
import importlib.resources
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(str(importlib.resources.files(__package__).joinpath("static")))
TYPES = {".css": "text/css;charset=utf-8", ".js": "text/javascript;charset=utf-8", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """One file as it is sent; `version` changes with its content."""

    content_type: str
    body: bytes
    version: str


class Assets:
    """All files of the folder, read at the first question after them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._found: dict[str, Asset] | None = None

    def find(self, name: str) -> Asset | None:
        """A file by its path inside the folder, or None."""
        if self._found is None:
            self._found = dict(self._read())
        return self._found.get(name)

    def address(self, name: str) -> str:
        """The path a page loads a file from; a browser may keep what it gets there."""
        asset = self.find(name)
        return f"/console/static/{name}" + (f"?v={asset.version}" if asset else "")

    def _read(self) -> list[tuple[str, Asset]]:
        found = []
        for path in sorted(self._folder.rglob("*")):
            content_type = TYPES.get(path.suffix)
            if content_type is not None and path.is_file():
                body = path.read_bytes()
                version = hashlib.sha256(body).hexdigest()[:16]
                found.append((path.relative_to(self._folder).as_posix(), Asset(content_type, body, version)))
        return found
