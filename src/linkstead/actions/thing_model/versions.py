"""Finding the published version that a request names."""

from typing import Any

from linkstead.action import ActionContext
from linkstead.errors import ApiError, codes
from linkstead.models import ThingModelVersion


async def find_version(context: ActionContext, product_key: str, parameter: str, version: str) -> ThingModelVersion:
    """The published version of this name with its document, the latest when the name is empty.

    Raises:
        ApiError(QUERY_PRODUCT_ABILITIES_FAILED): there is none; it names `parameter` and the versions there are.
    """
    found = await context.models.find_version_record(product_key, version or None)
    if found is None:
        known = [each.version for each in await context.models.list_versions(product_key)]
        values: dict[str, Any] = {parameter: version}
        rule = " | ".join(known) or "nothing is published"
        raise ApiError(codes.QUERY_PRODUCT_ABILITIES_FAILED, rule=rule, **values)
    return found
