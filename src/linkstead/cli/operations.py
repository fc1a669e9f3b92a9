"""The page that says of every operation of the vendor's API whether it is served, and why not."""

from collections.abc import Iterator, Mapping

from linkstead.actions import ACTIONS
from linkstead.explorer.operations import OPERATIONS

HEAD = """\
# Actions

<!-- Made by `python -m linkstead.cli.reference docs`; do not edit. -->

API version 2018-01-20 has {count} operations in the vendor's present SDKs; Linkstead serves {served} of them. One that
is not served is answered with `InvalidAction.NotFound`, HTTP status 404, as a mistyped name is: what cannot be done is
never answered as if it had been.
"""

NOT_YET = "not served yet"

CHAPTER_REASONS = {
    "Categories": "the vendor's own catalogue of categories and their thing models; there is none here",
    "Certificates": "private keys of devices are not kept; `device issue-certificate` writes them into files",
    "Data analysis": "storage and analysis beside the device data; a consumer group or a webhook gets all of it",
    "Edge computing": "runs on the vendor's own edge software",
    "Files": "devices cannot upload files",
    "Jobs": "no jobs over many devices",
    "Licences": "a matter of the vendor's sales",
    "Locations": "where devices are is not kept",
    "LoRaWAN": "devices are connected over MQTT",
    "OTA": "no firmware upgrades over the air",
    "Other services": "a service of its own of the vendor's",
    "Rules and data forwarding": "no rule engine; a consumer group or a webhook gets the messages",
    "Scripts": "the data-parsing script is that of CreateThingScript and its siblings",
    "Sharing and distribution": "products and devices stay in their account",
    "Speech and sound codes": "a service of its own of the vendor's",
    "Studio": "a service of its own of the vendor's",
    "Tunnels": "no remote access to devices",
    "Vehicles": "devices are connected over MQTT",
}
"""Why nothing more of a chapter is served."""

ACTION_REASONS = {
    "AsyncRRpc": "no source says how its answer comes; an asynchronous service of InvokeThingService does the same",
    "CopyThingModelAsync": "CopyThingModel does it at once",
    "GetThingModelStatusInner": "belongs to the asynchronous copies, which are not needed",
    "PublishThingModelAsync": "PublishThingModel does it at once",
    "QueryThingModelExtendConfig": "the extendConfig of a thing model is not kept, so there is nothing true to tell",
    "QueryThingModelExtendConfigPublished": "as QueryThingModelExtendConfig",
    "CreateTopicConfig": "topic classes are those of CreateProductTopic",
    "DeleteTopicConfig": "as CreateTopicConfig",
    "QueryTopicConfig": "as CreateTopicConfig",
    "UpdateTopicConfig": "as CreateTopicConfig",
    "QueryDeviceBySQL": "a query language of its own; QueryDeviceByStatus and QueryDeviceByTags find devices",
    "UpdateProductFilterConfig": "what is forwarded is never thinned out: every value that was reported is told",
}
"""Why a single operation is not served."""


def make_page() -> str:
    """The page."""
    served = sum(action in ACTIONS for action in OPERATIONS)
    return HEAD.format(count=len(OPERATIONS), served=served) + "".join(_list_chapters(OPERATIONS))


def _list_chapters(operations: Mapping[str, str]) -> Iterator[str]:
    chapters: dict[str, list[str]] = {}
    for action, chapter in operations.items():
        chapters.setdefault(chapter, []).append(action)
    # Those of which something is served come first.
    for chapter, actions in sorted(chapters.items(), key=lambda item: (ACTIONS.keys().isdisjoint(item[1]), item[0])):
        served = sum(action in ACTIONS for action in actions)
        yield f"\n## {chapter}\n\n{served} of {len(actions)}\n\n| operation | served | |\n| --- | --- | --- |\n"
        for action in actions:
            yield (
                f"| `{action}` | yes | |\n"
                if action in ACTIONS
                else f"| `{action}` | no | {_reason(action, chapter)} |\n"
            )


def _reason(action: str, chapter: str) -> str:
    return ACTION_REASONS.get(action) or CHAPTER_REASONS.get(chapter, NOT_YET)
