"""Another endpoint of this API, read at a polite pace: products, thing models, topic classes, tags and devices."""

import asyncio
import codecs as text_codecs
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import click

from linkstead.cli.endpoint import Endpoint, RefusedError, UnreachableError
from linkstead.clock import Clock
from linkstead.errors import codes
from linkstead.tsl import ThingModel, read_tsl
from linkstead.tsl.reading import check_modules

TRIES_MAX = 8
"""How often a request is made in all that is throttled, not answered, or failed on the other side."""

WAIT_S_MIN, WAIT_S_MAX = 1.0, 16.0
"""Before the second try and at most; each wait is twice the one before."""

PRODUCTS_OF_A_PAGE, DEVICES_OF_A_PAGE = 200, 50
"""The most that the API gives. Source: QueryProductList and QueryDevice references, row PageSize."""

PAGED_DEVICES_MAX = 10_000
"""How far page numbers reach; from there on a NextToken is demanded. Source: `cloud-api.md` 9.3."""

MODULES_MAX = 200
"""Of one thing model that is read."""

THROTTLING = "Throttling"
"""What codes of throttled requests begin with. Source: `cloud-api.md` 3.2."""

PASSING_CODES = frozenset({"ServiceUnavailable", "InternalError", codes.SYSTEM_EXCEPTION.code})
"""Of failures on the other side that may be over at the next try."""


class SourceError(click.ClickException):
    """The other endpoint cannot tell something; `code` is what it said, empty where it said nothing."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class DevicePage:
    """Devices in the words of QueryDevice, and how many the product has in all."""

    devices: list[dict[str, Any]]
    total: int


class Source:
    """Reads an endpoint, a bounded number of requests a second, one after the other.

    Args:
        endpoint: the other server and the key to call it with.
        instance_id: sent as IotInstanceId where it is not empty.
        requests_per_second: at most.
        clock: paces the requests.
    """

    def __init__(self, endpoint: Endpoint, instance_id: str, requests_per_second: int, clock: Clock) -> None:
        self._endpoint = endpoint
        self._instance = {"IotInstanceId": instance_id} if instance_id else {}
        self._pause_s = 1.0 / requests_per_second
        self._clock = clock
        self._next_s = clock.monotonic_s()

    @property
    def url(self) -> str:
        """Where it is."""
        return self._endpoint.url

    async def list_product_keys(self) -> list[str]:
        """The keys of all products, newest first."""
        keys: dict[str, None] = {}
        page = 1
        while True:
            answer = await self._ask("QueryProductList", CurrentPage=page, PageSize=PRODUCTS_OF_A_PAGE)
            keys |= {take(each, "ProductKey"): None for each in take(answer, "Data", "List", "ProductInfo")}
            if page >= take(answer, "Data", "PageCount"):
                return list(keys)
            page += 1

    async def find_product(self, product_key: str) -> dict[str, Any]:
        """A product in the words of QueryProduct."""
        data: dict[str, Any] = take(await self._ask("QueryProduct", ProductKey=product_key), "Data")
        return data

    async def list_tags(self, product_key: str) -> dict[str, str]:
        """The tags of a product."""
        data = (await self._ask("ListProductTags", ProductKey=product_key)).get("Data") or {}
        return {take(each, "TagKey"): take(each, "TagValue") for each in data.get("ProductTag", [])}

    async def list_topics(self, product_key: str) -> list[dict[str, Any]]:
        """The topic classes of a product in the words of QueryProductTopic."""
        data = (await self._ask("QueryProductTopic", ProductKey=product_key)).get("Data") or {}
        topics: list[dict[str, Any]] = data.get("ProductTopicInfo", [])
        return topics

    async def find_thing_model(self, product_key: str) -> ThingModel | None:
        """The thing model that is effective, all its modules; None when nothing was published.

        Raises:
            ModelError: it breaks a rule.
        """
        try:
            document = await self._find_tsl(product_key, "")
        except SourceError as error:
            if error.code == codes.QUERY_PRODUCT_ABILITIES_FAILED.code:
                return None
            raise
        blocks = (json.loads(document).get("functionBlocks") or [])[:MODULES_MAX]
        module_ids = [block["functionBlockId"] for block in blocks if block.get("functionBlockId")]
        others = [await self._find_tsl(product_key, module_id) for module_id in module_ids]
        modules = [read_tsl(text).module for text in (document, *others)]
        model = ThingModel(product_key, tuple(modules))
        check_modules(model)
        return model

    async def _find_tsl(self, product_key: str, module_id: str) -> str:
        block = {"FunctionBlockId": module_id} if module_id else {}
        answer = await self._ask("GetThingModelTslPublished", ProductKey=product_key, **block)
        text: str = take(answer, "Data", "TslStr")
        return text.removeprefix(text_codecs.BOM_UTF8.decode())

    async def list_devices(self, product_key: str) -> AsyncIterator[DevicePage]:
        """The devices of a product, page by page, newest first. A page may repeat some when others are made meanwhile.

        Raises:
            SourceError: there are more than page numbers reach, and no NextToken is given to go on with.
        """
        page, token = 1, ""
        while True:
            position = {"NextToken": token} if token else {}
            answer = await self._ask(
                "QueryDevice", ProductKey=product_key, CurrentPage=page, PageSize=DEVICES_OF_A_PAGE, **position
            )
            devices = (answer.get("Data") or {}).get("DeviceInfo") or []
            total = take(answer, "Total")
            yield DevicePage(devices, total)
            token = answer.get("NextToken") or ""
            if not devices or page * DEVICES_OF_A_PAGE >= total:
                return
            page += 1
            if page * DEVICES_OF_A_PAGE > PAGED_DEVICES_MAX and not token:
                raise SourceError("", f"{total} devices, and only {PAGED_DEVICES_MAX} are listed without a NextToken")

    async def find_device(self, product_key: str, device_name: str) -> dict[str, Any]:
        """A device in the words of QueryDeviceDetail."""
        answer = await self._ask("QueryDeviceDetail", ProductKey=product_key, DeviceName=device_name)
        data: dict[str, Any] = take(answer, "Data")
        return data

    async def _ask(self, action: str, **parameters: object) -> dict[str, Any]:
        """What an action answers.

        Raises:
            SourceError: it failed.
            click.ClickException: refused, not reached, or no answer of this API; what may pass is tried again.
        """
        texts = {name: str(value) for name, value in parameters.items()} | self._instance
        tries, wait_s = 1, WAIT_S_MIN
        while True:
            await self._pace()
            try:
                answer = await asyncio.to_thread(self._endpoint.invoke, action, texts)
                if answer.get("Success") is True:
                    return answer
                code = str(answer.get("Code") or "")
                raise SourceError(code, f"{action} failed there: {code}: {answer.get('ErrorMessage') or ''}")
            except UnreachableError as error:
                if tries == TRIES_MAX:
                    raise click.ClickException(f"no answer from {self.url}: {error.reason} (--from)") from None
            except (SourceError, RefusedError) as error:
                if tries == TRIES_MAX or not (error.code.startswith(THROTTLING) or error.code in PASSING_CODES):
                    raise
            await self._clock.sleep(wait_s)
            tries, wait_s = tries + 1, min(2 * wait_s, WAIT_S_MAX)

    async def _pace(self) -> None:
        now_s = self._clock.monotonic_s()
        start_s = max(now_s, self._next_s)
        self._next_s = start_s + self._pause_s
        if start_s > now_s:
            await self._clock.sleep(start_s - now_s)


def take(answer: Any, *names: str) -> Any:
    """What stands at the end of a path of members. Raises SourceError where there is none."""
    for name in names:
        if not isinstance(answer, dict) or name not in answer:
            raise SourceError("", f"an answer has no {'.'.join(names)}")
        answer = answer[name]
    return answer
