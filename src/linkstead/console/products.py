"""Products, their thing models and scripts."""

import base64
import binascii
import difflib
import json
from typing import Any

import msgspec

from linkstead.api.authorization import authorize
from linkstead.api.exchange import HttpReply
from linkstead.console.features import find_line, list_features
from linkstead.console.route import Route
from linkstead.console.visit import Refused, Visit, refuse
from linkstead.models.scripts import PROTOCOL_TO_RAW, RAW_TO_PROTOCOL, TRANSFORM_PAYLOAD, ScriptError, write_bytes
from linkstead.tsl import (
    ModelError,
    Module,
    ThingModel,
    find_module,
    make_reduced_tsl,
    make_tsl,
    read_tsl,
    write_literal,
)

PAGE_SIZE = 20
FUNCTIONS = (RAW_TO_PROTOCOL, PROTOCOL_TO_RAW, TRANSFORM_PAYLOAD)
TRY_TOPIC = "/user/update?_sn=default"


async def show_products(visit: Visit) -> HttpReply:
    """The list, and a form to make another."""
    page_no = _read_page(visit)
    reply = await visit.ask("QueryProductList", CurrentPage=page_no, PageSize=PAGE_SIZE)
    data = reply.body["Data"]
    return visit.page("products.html", products=data["List"]["ProductInfo"], page=data)


def _read_page(visit: Visit) -> int:
    text = visit.fields.get("page", "1")
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 7 and int(text) > 0 else 1


async def add_product(visit: Visit) -> HttpReply:
    """Make a product."""
    form = visit.form
    reply = await visit.act(
        "CreateProduct",
        ProductName=form.get("name", "").strip(),
        NodeType=form.get("node", "0"),
        DataFormat=form.get("format", "1"),
        AliyunCommodityCode="iothub_senior",
        NetType="WIFI",
        Description=form.get("description", "").strip(),
    )
    if reply.code:
        refuse(reply)
    return visit.to(f"/products/{reply.body['ProductKey']}")


async def show_product(visit: Visit) -> HttpReply:
    """One product: what it is, its features, its topics."""
    product_key = visit.names["product"]
    product = (await visit.ask("QueryProduct", ProductKey=product_key)).body["Data"]
    # A page has no place for it: it is for devices that register themselves.
    product.pop("ProductSecret", None)
    model = None
    versions = (await visit.act("ListThingModelVersion", ProductKey=product_key)).body.get("Data") or {}
    if not (await visit.act("QueryThingModelPublished", ProductKey=product_key)).code:
        model = await visit.desk.models.find_published(product_key)
    topics = (await visit.act("QueryProductTopic", ProductKey=product_key)).body.get("Data") or {}
    return visit.page(
        "product.html",
        product=product,
        features=list_features(model) if model else [],
        versions=versions.get("ModelVersions", []),
        topics=topics.get("ProductTopicInfo", []),
    )


async def delete_product(visit: Visit) -> HttpReply:
    """Delete a product without devices."""
    await visit.ask("DeleteProduct", ProductKey=visit.names["product"])
    return visit.to("/products")


async def add_topic(visit: Visit) -> HttpReply:
    """Give a product another topic class."""
    product_key = visit.names["product"]
    await visit.ask(
        "CreateProductTopic",
        ProductKey=product_key,
        TopicShortName=visit.form.get("name", "").strip(),
        Operation=visit.form.get("operation", "ALL"),
    )
    return visit.to(f"/products/{product_key}")


async def delete_topic(visit: Visit) -> HttpReply:
    """Delete a topic class."""
    await visit.ask("DeleteProductTopic", TopicId=visit.names["topic"])
    return visit.to(f"/products/{visit.names['product']}")


# --- the thing model ---


async def show_model(visit: Visit) -> HttpReply:
    """The editor, with the draft; where there is none yet, with what is published."""
    return await _show_model(visit, None, "")


async def _show_model(visit: Visit, typed: str | None, error: str, status: int = 200) -> HttpReply:
    product_key = visit.names["product"]
    await visit.ask("QueryThingModel", ProductKey=product_key)
    module_id = visit.fields.get("module", "")
    draft = await visit.desk.models.find_draft(product_key)
    published = await visit.desk.models.find_published(product_key)
    has_draft = any(module.features for module in draft.modules)
    shown = draft if has_draft or published is None else published
    module = find_module(shown, module_id) or Module()
    text = typed if typed is not None else write_pretty(shown, module)
    return visit.page(
        "model.html",
        status,
        product_key=product_key,
        text=text,
        module_id=module_id,
        modules=[found.module_id for found in shown.modules],
        has_draft=has_draft,
        is_published=published is not None,
        difference=diff_models(published, draft) if has_draft else [],
        error=error,
    )


def write_pretty(model: ThingModel, module: Module) -> str:
    """The document of a module as people edit it: without what the platform makes of it."""
    document = make_tsl(model, module)
    return _pretty(
        document
        | {
            "events": [found for found in document["events"] if found["identifier"] != "post"],
            "services": [found for found in document["services"] if found["identifier"] not in ("set", "get")],
        }
    )


def _pretty(value: object) -> str:
    # By way of the fast writer: numbers of a model may be kept as they were written.
    return json.dumps(msgspec.json.decode(msgspec.json.encode(value)), ensure_ascii=False, indent=2)


def diff_models(before: ThingModel | None, after: ThingModel) -> list[tuple[str, str]]:
    """Lines of a difference, each with its sign: ` `, `+`, `-`, or `@` for a place."""
    old = _whole(before) if before is not None else []
    lines = difflib.unified_diff(old, _whole(after), lineterm="", n=2)
    return [(line[:1], line[1:]) for line in list(lines)[2:]]


def _whole(model: ThingModel) -> list[str]:
    return [line for module in model.modules for line in write_pretty(model, module).split("\n")]


def check_model(text: str) -> tuple[str, int]:
    """What is wrong with a document, and in which line; empty and 0 when nothing is."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"JSON: {error.msg}", error.lineno
    except RecursionError:
        return "JSON: too deep", 1
    try:
        read_tsl(text)
    except ModelError as error:
        return str(error), find_line(text, error.path)
    return "", 0


async def check_typed(visit: Visit) -> HttpReply:
    """What is wrong with what stands in the editor: asked for while somebody types."""
    rule, line = check_model(visit.form.get("tsl", ""))
    return visit.page("model_check.html", rule=rule, line=line)


async def save_model(visit: Visit) -> HttpReply:
    """Put what stands in the editor into the draft."""
    product_key, text = visit.names["product"], visit.form.get("tsl", "")
    rule, line = check_model(text)
    if rule:
        return await _show_model(visit, text, visit.words("model.fault", line=line) + " " + rule, 400)
    # A model that was another product's becomes this one's.
    module = read_tsl(text).module
    document = write_literal(make_tsl(ThingModel(product_key, (module,)), module))
    reply = await visit.act("ImportThingModelTsl", ProductKey=product_key, TslStr=document)
    if reply.code:
        return await _show_model(visit, text, f"{reply.code}: {reply.message}", 400)
    return visit.to(f"/products/{product_key}/model")


async def publish_model(visit: Visit) -> HttpReply:
    """Make the draft effective."""
    product_key = visit.names["product"]
    version = visit.form.get("version", "").strip()
    description = visit.form.get("description", "").strip()
    reply = await visit.act("PublishThingModel", ProductKey=product_key, ModelVersion=version, Description=description)
    if reply.code:
        return await _show_model(visit, None, f"{reply.code}: {reply.message}", 400)
    return visit.to(f"/products/{product_key}")


async def export_model(visit: Visit) -> HttpReply:
    """The published model, or the draft, as a file."""
    product_key = visit.names["product"]
    await visit.ask("QueryThingModel", ProductKey=product_key)
    models, of = visit.desk.models, visit.fields.get("of", "")
    model = await models.find_draft(product_key) if of == "draft" else await models.find_published(product_key)
    if model is None:
        raise Refused(404, "model.unpublished")
    module = find_module(model, visit.fields.get("module", ""))
    if module is None:
        raise Refused(404, "model.no-module")
    document = make_reduced_tsl(module) if of == "simple" else make_tsl(model, module)
    name = f"{product_key}{'-' + module.module_id if module.module_id else ''}.tsl.json"
    return visit.file(name, "application/json;charset=utf-8", _pretty(document).encode())


# --- the script ---


async def show_script(visit: Visit) -> HttpReply:
    """The editor of the script, and a try-out."""
    reply = await visit.act("GetThingScript", ProductKey=visit.names["product"])
    # The answer has the script in an address, see GetThingScript.
    script = "" if reply.code else base64.b64decode(reply.body["Data"]["ScriptUrl"].rpartition(",")[2]).decode()
    return _show_script(visit, script=script, is_kept=not reply.code)


def _show_script(visit: Visit, *, script: str, is_kept: bool, error: str = "", result: str = "") -> HttpReply:
    form = visit.form
    return visit.page(
        "script.html",
        400 if error else 200,
        product_key=visit.names["product"],
        functions=FUNCTIONS,
        script=script,
        is_kept=is_kept,
        error=error,
        result=result,
        function=form.get("function", RAW_TO_PROTOCOL),
        sample=form.get("sample", ""),
    )


async def save_script(visit: Visit) -> HttpReply:
    """Keep the script, or try it out as it stands there."""
    if visit.form.get("do") == "try":
        return await _try_script(visit)
    product_key, form = visit.names["product"], visit.form
    script = form.get("script", "").replace("\r\n", "\n")
    is_kept = form.get("kept") == "yes"
    reply = await visit.act(
        "UpdateThingScript" if is_kept else "CreateThingScript",
        ProductKey=product_key,
        ScriptContent=script,
        ScriptType="JavaScript",
    )
    if reply.code:
        return _show_script(visit, script=script, is_kept=is_kept, error=f"{reply.code}: {reply.message}")
    return visit.to(f"/products/{product_key}/script")


async def _try_script(visit: Visit) -> HttpReply:
    """Run a function of the script as it stands in the editor; nothing is kept."""
    product_key, form = visit.names["product"], visit.form
    await authorize(visit.desk.registry, visit.key, "UpdateThingScript", {"ProductKey": product_key})
    await visit.ask("QueryProduct", ProductKey=product_key)
    script, is_kept = form.get("script", ""), form.get("kept") == "yes"
    function, sample = form.get("function", ""), form.get("sample", "").strip()
    if function not in FUNCTIONS:
        raise Refused(400, "error.form")
    try:
        arguments = read_sample(function, sample)
        returned = await visit.desk.scripts.try_out(product_key, script, function, arguments)
    except (ScriptError, ValueError) as error:
        return _show_script(visit, script=script, is_kept=is_kept, error=str(error))
    return _show_script(visit, script=script, is_kept=is_kept, result=show_returned(function, returned))


def read_sample(function: str, sample: str) -> bytes:
    """The arguments of a script's function: of hex, or of JSON for the one that takes an Alink message.

    Raises:
        ValueError: the sample is neither; the text says what is wanted.
    """
    if function == PROTOCOL_TO_RAW:
        try:
            message: dict[str, Any] = msgspec.json.decode(sample.encode(), type=dict[str, Any])
            return msgspec.json.encode([message])
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"JSON: {error}") from None
    try:
        payload = bytes.fromhex(sample.removeprefix("0x"))
    except (ValueError, binascii.Error):
        raise ValueError("hex: 00 01 fe …") from None
    numbers = msgspec.Raw(write_bytes(payload))
    return msgspec.json.encode([numbers] if function == RAW_TO_PROTOCOL else [TRY_TOPIC, numbers])


def show_returned(function: str, returned: bytes) -> str:
    """What a script's function returned: bytes in hex, an object as JSON, and anything else as it came."""
    try:
        if function == PROTOCOL_TO_RAW:
            return bytes(number & 0xFF for number in msgspec.json.decode(returned, type=list[int])).hex(" ")
        return msgspec.json.format(returned, indent=2).decode()
    except (msgspec.DecodeError, RecursionError):
        return returned.decode("utf-8", "replace") or "undefined"


ROUTES = (
    Route("GET", "/products", show_products),
    Route("POST", "/products", add_product),
    Route("GET", "/products/{product}", show_product),
    Route("POST", "/products/{product}/delete", delete_product),
    Route("POST", "/products/{product}/topics", add_topic),
    Route("POST", "/products/{product}/topics/{topic}/delete", delete_topic),
    Route("GET", "/products/{product}/model", show_model),
    Route("POST", "/products/{product}/model", save_model),
    Route("POST", "/products/{product}/model/check", check_typed),
    Route("POST", "/products/{product}/model/publish", publish_model),
    Route("GET", "/products/{product}/model/export", export_model),
    Route("GET", "/products/{product}/script", show_script),
    Route("POST", "/products/{product}/script", save_script),
)
