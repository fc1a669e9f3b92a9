"""The thing models of products: drafts that are edited, and published versions that calls go by."""

from linkstead.models.shelf import VERSIONS_KEPT_MAX, ModelShelf
from linkstead.models.store import ThingModelStore, ThingModelVersion

__all__ = ["VERSIONS_KEPT_MAX", "ModelShelf", "ThingModelStore", "ThingModelVersion"]
