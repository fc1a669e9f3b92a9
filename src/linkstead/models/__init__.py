"""What calls of a product go by: its thing model, drafts and published versions, and its data-parsing script."""

from linkstead.models.scripts import (
    SCRIPT_BYTES_MAX,
    Script,
    ScriptEngine,
    ScriptError,
    ScriptRunner,
    ScriptShelf,
    ScriptStore,
)
from linkstead.models.shelf import VERSIONS_KEPT_MAX, ModelShelf
from linkstead.models.store import ThingModelStore, ThingModelVersion

__all__ = [
    "SCRIPT_BYTES_MAX",
    "VERSIONS_KEPT_MAX",
    "ModelShelf",
    "Script",
    "ScriptEngine",
    "ScriptError",
    "ScriptRunner",
    "ScriptShelf",
    "ScriptStore",
    "ThingModelStore",
    "ThingModelVersion",
]
