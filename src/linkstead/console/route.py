"""Which page answers at which path."""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from linkstead.api.exchange import HttpReply
from linkstead.console.visit import Visit

Handler = Callable[[Visit], Awaitable[HttpReply]]

_NAME = re.compile(r"\{([a-z_]+)\}")


class Route(NamedTuple):
    """A page.

    Args:
        method: GET for what shows, POST for what changes something.
        path: below `/console`; `{name}` stands for one part of it.
        handler: makes the answer; raises Refused, or ApiError.
        is_open: shown to those who have not logged in too.
    """

    method: str
    path: str
    handler: Handler
    is_open: bool = False

    def compile(self) -> re.Pattern[str]:
        """The paths that it answers at."""
        return re.compile(_NAME.sub(r"(?P<\1>[^/]+)", self.path.replace(".", r"\.")))
