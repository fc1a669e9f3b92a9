"""The web console: pages to look at calls and to make them, for people with a browser.

Every button runs an action through `api`, with the rights, quotas and audit of a signed request.
"""

from linkstead.console.desk import Desk, Place
from linkstead.console.elsewhere import open_view
from linkstead.console.front import Console

__all__ = ["Console", "Desk", "Place", "open_view"]
