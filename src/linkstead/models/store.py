"""The port for thing models, and the record it speaks of."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ThingModelVersion:
    """A published thing model of a product. `document` is the whole model as `tsl.writing.write_model` writes it."""

    product_key: str
    version: str
    description: str
    created_ms: int
    document: str


class ThingModelStore(Protocol):
    """Durable storage of drafts and published versions. A method that returns has written."""

    async def find_thing_model_draft(self, product_key: str) -> str | None:
        """The draft of a product's thing model, as `tsl.writing.write_model` wrote it, or None."""

    async def save_thing_model_draft(self, product_key: str, document: str) -> None:
        """Keep the draft in place of the one before. Raises ProductGone, ProductReleased."""

    async def publish_thing_model(self, version: ThingModelVersion, versions_kept_max: int) -> None:
        """Keep a version as the latest, and delete the oldest beyond `versions_kept_max`.

        Raises AlreadyExists("version"), ProductGone, ProductReleased.
        """

    async def find_thing_model_version(self, product_key: str, version: str | None) -> ThingModelVersion | None:
        """A published version, the latest when `version` is None, or None when there is no such."""

    async def list_thing_model_versions(self, product_key: str) -> list[ThingModelVersion]:
        """The published versions, newest first, their documents left empty."""
