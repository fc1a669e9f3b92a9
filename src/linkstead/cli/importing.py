"""`import`: what another endpoint of this API keeps, written into this installation with its keys and secrets."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from linkstead.actions.product import NET_TYPE_NUMBERS, RELEASE_STATUS
from linkstead.actions.product_tag import TAGS_MAX
from linkstead.actions.product_topic import OPERATION_NUMBERS
from linkstead.cli.account import describe_key
from linkstead.cli.endpoint import Endpoint, RefusedError, parse_endpoint
from linkstead.cli.installation import DEFAULT_ACCOUNT_NAME, Installation, open_installation
from linkstead.cli.options import ACCESS_KEY_ID, ACCESS_KEY_SECRET, FILE, with_storage
from linkstead.cli.source import Source, SourceError, take
from linkstead.config import Settings
from linkstead.errors import ApiError
from linkstead.registry import (
    PUBLIC_INSTANCE,
    Account,
    AlreadyExists,
    Device,
    DeviceKey,
    Product,
    ProductGone,
    ProductReleased,
    ProductTopic,
    creation,
    names,
)
from linkstead.registry.topic_classes import fits_bounds
from linkstead.server import DATABASE_FILE, SystemClock
from linkstead.system_ids import SystemIds
from linkstead.tsl import ModelError, ThingModel, read_model

SECRET_VARIABLE = "LINKSTEAD_IMPORT_SECRET"
"""The environment variable for the secret of the other endpoint's key: other users of the machine do not see it."""

REQUESTS_PER_SECOND, REQUESTS_PER_SECOND_MAX = 10, 1_000
REPORT_FILE = "linkstead-import.json"
DEVICES_SAMPLED_MAX = 20
"""Devices of a product that are read once more at the end and compared."""

FINDINGS_MAX = 10_000
"""Differences and problems that are kept for the report; what is beyond is counted."""

FINDINGS_SHOWN_MAX = 20

PRODUCT_FIELDS = (
    "product_name",
    "product_secret",
    "node_type",
    "data_format",
    "net_type",
    "aliyun_commodity_code",
    "auth_type",
    "protocol_type",
    "validate_type",
    "category_key",
    "description",
    "id2",
    "released",
)
DEVICE_FIELDS = ("iot_id", "device_secret", "nickname", "enabled")
"""What is compared. A difference is told by these names, never by the values."""

_NET_TYPES = {number: name for name, number in reversed(NET_TYPE_NUMBERS.items())} | {8: "OTHER"}
_OPERATIONS = {number: operation for operation, number in OPERATION_NUMBERS.items()}


@dataclass(slots=True)
class Report:
    """What an import did, to its end where `is_complete`. `differences` and `problems` are lines without secrets."""

    source: str
    dry_run: bool
    is_complete: bool = False
    products: int = 0
    products_made: int = 0
    models_made: int = 0
    topics_made: int = 0
    tags_made: int = 0
    devices: int = 0
    devices_made: int = 0
    devices_equal: int = 0
    devices_sampled: int = 0
    findings_left_out: int = 0
    differences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """True when all that is there is here too, and equal."""
        return not self.differences and not self.problems

    @property
    def made(self) -> str:
        """The word behind what is counted as made."""
        return "would be made" if self.dry_run else "made"

    def differ(self, what: str, names: Sequence[str]) -> None:
        """Tell that something is here already and is not the same in some fields."""
        self._add(self.differences, f"{what}: {', '.join(names)}")

    def fail(self, what: str, reason: str) -> None:
        """Tell that something could not be imported or verified."""
        self._add(self.problems, f"{what}: {reason}")

    def _add(self, findings: list[str], text: str) -> None:
        if len(self.differences) + len(self.problems) < FINDINGS_MAX:
            findings.append(text)
        else:
            self.findings_left_out += 1

    def write(self, path: Path) -> None:
        """Write it as JSON, atomically. Raises click.ClickException."""
        draft = path.with_name(path.name + ".new")
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        try:
            draft.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise click.ClickException(f"--report {path}: {error.strerror}") from None


class Importer:
    """Brings products with all that belongs to them from a source into an installation. Nothing there is overwritten.

    Args:
        installation: where they go.
        source: where they come from.
        account: whose they become.
        instance_id: of the account.
        report: what is done is told there.
    """

    def __init__(
        self, installation: Installation, source: Source, account: Account, instance_id: str, report: Report
    ) -> None:
        self._installation = installation
        self._store = installation.store
        self._source = source
        self._account = account
        self._instance_id = instance_id
        self._report = report

    async def run(self, product_keys: Sequence[str]) -> None:
        """Import these products, or all that there are."""
        keys = product_keys or await self._source.list_product_keys()
        for place, product_key in enumerate(keys, 1):
            _tell(f"product {place} of {len(keys)}: {product_key}")
            self._report.products += 1
            try:
                await self._import_product(product_key)
            except (ApiError, SourceError) as error:
                self._report.fail(product_key, _words(error))
            except ProductGone:
                self._report.fail(product_key, "was deleted here meanwhile")
        self._report.is_complete = True

    async def _import_product(self, product_key: str) -> None:
        wanted = self._read_product(await self._source.find_product(product_key))
        there = await self._store.find_product(product_key)
        if there is not None and (there.account_id, there.instance_id) != (wanted.account_id, wanted.instance_id):
            self._report.fail(product_key, "is here already, in another account or instance")
            return
        is_known = there is not None
        if there is None:
            self._report.products_made += 1
            if not self._report.dry_run:
                there = await creation.add_product(
                    self._installation.registry, self._installation.ids, replace(wanted, released=False), key_given=True
                )
        # One without devices is still on its way: what an import that was ended left out is made up for.
        is_new = not await self._store.count_devices(product_key)
        if wanted.aliyun_commodity_code == creation.WITH_THING_MODEL:
            await self._try(product_key, "thing model", self._import_model(product_key))
        await self._try(product_key, "topic classes", self._import_topics(product_key, is_new=is_new))
        await self._try(product_key, "tags", self._import_tags(product_key, is_new=is_new))
        if there is not None:
            if is_new and wanted.released and not there.released and not self._report.dry_run:
                await self._installation.registry.set_product_released(product_key, True)
                there = replace(there, released=True)
            if is_known:
                self._compare(product_key, there, wanted, PRODUCT_FIELDS)
        await self._import_devices(wanted)

    async def _try(self, product_key: str, what: str, work: Awaitable[None]) -> None:
        """Do a part that the rest does not need: where the source cannot tell it, that is told."""
        try:
            await work
        except (SourceError, RefusedError, ModelError) as error:
            self._report.fail(product_key, f"{what}: {_words(error)}")

    def _read_product(self, told: dict[str, Any]) -> Product:
        """Raises ApiError: a value breaks its rule."""
        product = creation.new_product(
            self._installation.ids,
            account_id=self._account.account_id,
            instance_id=self._instance_id,
            product_name=take(told, "ProductName"),
            node_type=take(told, "NodeType"),
            created_ms=int(told.get("GmtCreate") or self._installation.now_ms),
            aliyun_commodity_code=told.get("AliyunCommodityCode") or creation.WITHOUT_THING_MODEL,
            data_format=told.get("DataFormat"),
            net_type=_NET_TYPES.get(told.get("NetType", 0), "OTHER"),
            auth_type=told.get("AuthType") or "secret",
            protocol_type=told.get("ProtocolType") or "",
            validate_type=told.get("ValidateType", 1),
            category_key=told.get("CategoryKey") or "",
            description=told.get("Description") or "",
            id2=bool(told.get("Id2")),
            product_key=take(told, "ProductKey"),
            product_secret=take(told, "ProductSecret"),
        )
        return replace(product, released=told.get("ProductStatus") == RELEASE_STATUS)

    async def _import_model(self, product_key: str) -> None:
        model = await self._source.find_thing_model(product_key)
        models = self._installation.models
        here = await models.find_version_record(product_key, None)
        if here is not None or model is None:
            if (read_model(here.document) if here is not None else None) != model:
                self._report.differ(product_key, ["thing model"])
            return
        draft = await models.find_draft(product_key)
        if draft not in (ThingModel(product_key), model):
            self._report.differ(product_key, ["draft of the thing model"])
            return
        self._report.models_made += 1
        if not self._report.dry_run:
            try:
                await models.save_draft(model)
                await models.publish_draft(product_key, "", "", self._installation.now_ms)
            except ProductReleased:
                self._report.fail(product_key, "is released here, so its thing model does not change")

    def _read_topics(self, product_key: str, told: list[dict[str, Any]]) -> dict[str, ProductTopic]:
        topics = {}
        for each in told:
            topic, operation = take(each, "TopicShortName"), _OPERATIONS.get(take(each, "Operation"))
            if operation is None or not topic.startswith(f"/{product_key}/${{deviceName}}/") or not fits_bounds(topic):
                self._report.fail(product_key, f"topic class {topic} is none that can be kept here")
                continue
            topics[topic] = ProductTopic(0, product_key, topic, operation, each.get("Desc") or "")
        return topics

    async def _import_topics(self, product_key: str, *, is_new: bool) -> None:
        wanted = self._read_topics(product_key, await self._source.list_topics(product_key))
        registry, is_written = self._installation.registry, not self._report.dry_run
        here = {each.topic: each for each in await self._store.list_topics(product_key)}
        for topic in here.keys() - wanted.keys():
            if not is_new:
                self._report.differ(f"{product_key} {topic}", ["is not there"])
            elif is_written:
                await registry.delete_topic(here[topic])
        for topic, each in wanted.items():
            known = here.get(topic)
            if known is None:
                self._report.topics_made += 1
                if is_written and await registry.add_topic(each) is None:
                    self._report.fail(product_key, f"no room for topic class {topic}")
            elif replace(known, topic_id=0) != each:
                if not is_new:
                    self._report.differ(f"{product_key} {topic}", ["operation or description"])
                elif is_written:
                    await registry.update_topic(replace(each, topic_id=known.topic_id))

    async def _import_tags(self, product_key: str, *, is_new: bool) -> None:
        wanted = await self._source.list_tags(product_key)
        here = await self._store.list_product_tags(product_key)
        different = sorted(name for name in here if wanted.get(name) != here[name])
        if different:
            self._report.differ(f"{product_key} tags", different)
        missing = {name: value for name, value in wanted.items() if name not in here}
        if missing and not is_new and here:
            self._report.differ(f"{product_key} tags", sorted(missing))
            return
        self._report.tags_made += len(missing)
        if not missing or self._report.dry_run:
            return
        if await self._store.add_product_tags(product_key, missing, TAGS_MAX) is None:
            self._report.fail(product_key, f"tags: more than {TAGS_MAX}")

    async def _import_devices(self, product: Product) -> None:
        product_key, total, seen = product.product_key, 0, 0
        made_before, firsts = self._report.devices_made, list[str]()
        with click.progressbar(length=1, label=product_key, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
            async for page in self._source.list_devices(product_key):
                bar.length, total = max(page.total, 1), page.total
                devices = [each for each in [await self._read_device(product, told) for told in page.devices] if each]
                firsts += [each.device_name for each in devices[:1]]
                seen += len(page.devices)
                await self._import_page(devices)
                bar.update(len(page.devices))
        self._report.devices += seen
        made = f"{self._report.devices_made - made_before} {self._report.made}"
        _tell(f"{product_key}: {seen} devices, {made}")
        if not self._report.dry_run:
            await self._verify(product, total, firsts)

    async def _read_device(self, product: Product, told: dict[str, Any]) -> Device | None:
        key = DeviceKey(product.product_key, take(told, "DeviceName"))
        if not told.get("DeviceSecret"):
            told = told | await self._source.find_device(*key)
        if not told.get("DeviceSecret"):
            self._report.fail(str(key), "the key that is used is not told its secret")
            return None
        try:
            device = creation.new_device(
                self._installation.ids,
                product,
                created_ms=_read_moment(told.get("UtcCreate"), self._installation.now_ms),
                device_name=key.device_name,
                nickname=told.get("Nickname") or "",
                device_secret=told["DeviceSecret"],
            )
        except ApiError as error:
            self._report.fail(str(key), _words(error))
            return None
        iot_id = told.get("IotId") or ""
        if not names.is_iot_id(iot_id):
            self._report.fail(str(key), f"IotId takes {names.IOT_ID_RULE}")
            return None
        status = told.get("DeviceStatus") or told.get("Status")
        return msgspec.structs.replace(device, iot_id=iot_id, enabled=status != "DISABLE")

    async def _import_page(self, devices: list[Device]) -> None:
        here = {each.key: each for each in await self._store.find_devices([each.key for each in devices])}
        missing = []
        for each in devices:
            known = here.get(each.key)
            if known is None:
                missing.append(each)
            elif self._compare(str(each.key), known, each, DEVICE_FIELDS):
                self._report.devices_equal += 1
        if self._report.dry_run:
            self._report.devices_made += len(missing)
            return
        try:
            await self._installation.registry.add_devices(missing)
            self._report.devices_made += len(missing)
        except AlreadyExists:
            for each in missing:
                await self._add_device(each)

    async def _add_device(self, device: Device) -> None:
        try:
            await self._installation.registry.add_devices([device])
        except AlreadyExists as taken:
            self._report.fail(str(device.key), f"its {taken.args[0]} is taken by another device")
        else:
            self._report.devices_made += 1

    def _compare(self, what: str, here: object, wanted: object, names: Sequence[str]) -> bool:
        different = [name for name in names if getattr(here, name) != getattr(wanted, name)]
        if different:
            self._report.differ(what, different)
        return not different

    async def _verify(self, product: Product, total: int, firsts: Sequence[str]) -> None:
        """Count the devices once more, and compare a sample of them with what the source says of each alone."""
        count = await self._store.count_devices(product.product_key)
        if count != total:
            self._report.fail(product.product_key, f"{total} devices there, {count} here")
        step = -(-len(firsts) // DEVICES_SAMPLED_MAX) or 1
        for device_name in firsts[::step]:
            told = await self._source.find_device(product.product_key, device_name)
            wanted = await self._read_device(product, told)
            here = await self._store.find_device(DeviceKey(product.product_key, device_name))
            self._report.devices_sampled += 1
            if (
                wanted is None
                or here is None
                or any(getattr(here, name) != getattr(wanted, name) for name in DEVICE_FIELDS)
            ):
                self._report.fail(f"{product.product_key}/{device_name}", "is not the same here when read once more")


@click.command("import")
@click.option("--from", "url", required=True, metavar="URL", help="The endpoint to read: http(s)://HOST[:PORT].")
@click.option("--access-key-id", type=ACCESS_KEY_ID, required=True, help="A key of the account there.")
@click.option(
    "--access-key-secret",
    type=ACCESS_KEY_SECRET,
    envvar=SECRET_VARIABLE,
    show_envvar=True,
    required=True,
    help="Its secret.",
)
@click.option("--ca", type=FILE, help="Certificates to trust for https, PEM.")
@click.option("--instance", "instance_id", default="", metavar="ID", help="The instance there, sent as IotInstanceId.")
@click.option("--product", "product_keys", multiple=True, metavar="KEY", help="This product only; may be repeated.")
@click.option("--into-instance", default=PUBLIC_INSTANCE, metavar="ID", help="A named instance of the account here.")
@click.option("--account", "name_or_id", metavar="NAME_OR_ID", help="Whose; needed where there are several accounts.")
@click.option(
    "--requests-per-second",
    type=click.IntRange(1, REQUESTS_PER_SECOND_MAX),
    metavar="N",
    default=REQUESTS_PER_SECOND,
    show_default=True,
    help="At most.",
)
@click.option("--dry-run", is_flag=True, help="Read and compare everything, write nothing but the report.")
@click.option(
    "--report",
    "report_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=REPORT_FILE,
    show_default=True,
    metavar="FILE",
    help="What was done and found, as JSON.",
)
@with_storage
def import_all(
    settings: Settings,
    url: str,
    access_key_id: str,
    access_key_secret: str,
    ca: str | None,
    instance_id: str,
    product_keys: tuple[str, ...],
    into_instance: str,
    name_or_id: str | None,
    requests_per_second: int,
    dry_run: bool,
    report_path: Path,
) -> None:
    """Import products and devices, keys and secrets kept, from any endpoint that speaks this API.

    Thing models, topic classes and tags come along. What is here already is never overwritten: what is equal is passed
    over, what differs is told; so an import that was ended is run again. Exit status 1: something
    differs or is missing.
    """
    try:
        parse_endpoint(url)
    except click.UsageError:
        raise click.UsageError("--from takes http://HOST:PORT or https://HOST:PORT") from None
    clock = SystemClock()
    endpoint = Endpoint(url, access_key_id, access_key_secret, ca, clock, SystemIds(clock))
    source = Source(endpoint, instance_id, requests_per_second, clock)
    report = Report(url, dry_run)

    async def run() -> None:
        async with _open(settings, dry_run=dry_run) as installation:
            if not product_keys:
                # A key that is wrong must not leave an account behind.
                await source.list_product_keys()
            account = await _find_account(installation, name_or_id, dry_run=dry_run)
            if into_instance and into_instance not in await installation.registry.find_instances(account.account_id):
                raise click.ClickException(
                    f"the account has no instance {into_instance}; add it with `linkstead account add-instance`"
                )
            await Importer(installation, source, account, into_instance, report).run(product_keys)

    try:
        asyncio.run(run())
    except click.ClickException as error:
        report.fail("import", error.message)
        raise
    finally:
        report.write(report_path)
    _tell_result(report, report_path)


@asynccontextmanager
async def _open(settings: Settings, *, dry_run: bool) -> AsyncIterator[Installation]:
    """The installation; for a dry run where there is none yet, an empty one that is thrown away."""
    is_there = settings.database is not None or (Path(settings.data) / DATABASE_FILE).is_file()
    if not dry_run or is_there:
        async with open_installation(settings, is_new_allowed=not dry_run) as installation:
            yield installation
        return
    with tempfile.TemporaryDirectory() as folder:
        async with open_installation(Settings(data=folder), is_new_allowed=True) as installation:
            yield installation


async def _find_account(installation: Installation, name_or_id: str | None, *, dry_run: bool) -> Account:
    if name_or_id is not None:
        return await installation.find_account(name_or_id)
    account = await installation.find_only_account()
    if account is None and dry_run:
        account = Account("", DEFAULT_ACCOUNT_NAME, installation.now_ms)
    elif account is None:
        key = describe_key(await installation.add_account(DEFAULT_ACCOUNT_NAME))
        click.echo(f"made the account {DEFAULT_ACCOUNT_NAME}: {' '.join(key.values())}", err=True)
        account = await installation.find_account(DEFAULT_ACCOUNT_NAME)
    return account


def _tell_result(report: Report, path: Path) -> None:
    findings = [f"differs: {text}" for text in report.differences] + [f"problem: {text}" for text in report.problems]
    for text in findings[:FINDINGS_SHOWN_MAX]:
        _tell(text)
    if len(findings) > FINDINGS_SHOWN_MAX:
        _tell(f"and {len(findings) - FINDINGS_SHOWN_MAX} more, in {path}")
    click.echo(
        f"{report.products} products, {report.products_made} {report.made}; {report.devices} devices, "
        f"{report.devices_made} {report.made}, {report.devices_equal} equal already; "
        f"{len(report.differences)} differences, {len(report.problems)} problems; {path} tells all"
    )
    if not report.is_clean:
        raise click.exceptions.Exit(1)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _words(error: Exception) -> str:
    if isinstance(error, ApiError):
        return error.message("en")
    return error.message if isinstance(error, click.ClickException) else str(error)


def _read_moment(text: str | None, otherwise_ms: int) -> int:
    """Milliseconds of a moment like `2018-08-06T02:48:41.000Z`."""
    try:
        return int(datetime.fromisoformat(text or "").timestamp() * 1000)
    except ValueError:
        return otherwise_ms
