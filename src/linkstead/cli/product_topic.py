"""`product topics`, `add-topic`, `delete-topic`: topic classes, straight in the database."""

import asyncio

import click

from linkstead.cli.installation import open_installation
from linkstead.cli.options import with_storage
from linkstead.cli.tables import JSON_OPTION, print_records
from linkstead.config import Settings
from linkstead.registry import AlreadyExists, ProductTopic, TopicOperation
from linkstead.registry.topic_classes import DEVICE_NAME_PLACE, TOPIC_CLASSES_MAX, fits_bounds, is_path


@click.command("topics")
@click.argument("product_key", metavar="KEY")
@JSON_OPTION
@with_storage
def list_topics(settings: Settings, product_key: str, as_json: bool) -> None:
    """List the topic classes of a product: what its devices may publish on (PUB), subscribe to (SUB), or both (ALL)."""

    async def run() -> list[ProductTopic]:
        async with open_installation(settings) as installation:
            await installation.find_product(product_key)
            return await installation.store.list_topics(product_key)

    records = [
        {"topic_id": topic.topic_id, "operation": str(topic.operation), "topic": topic.topic}
        for topic in asyncio.run(run())
    ]
    print_records(["topic_id", "operation", "topic"], records, as_json)


@click.command("add-topic")
@click.argument("product_key", metavar="KEY")
@click.argument("path", metavar="PATH")
@click.argument("operation", type=click.Choice([str(operation) for operation in TopicOperation]))
@with_storage
def add_topic(settings: Settings, product_key: str, path: str, operation: str) -> None:
    """Add a topic class: PATH is what comes below /KEY/${deviceName}/, user/submit for example.

    Unlike in CreateProductTopic it need not begin with user/: the classes of old products do not.
    """
    topic = f"/{product_key}/{DEVICE_NAME_PLACE}/{path}"
    if not is_path(path, TopicOperation(operation)) or not fits_bounds(topic):
        raise click.UsageError("PATH takes levels joined by /, in all at most 128 characters and 7 /; + and # for SUB")

    async def run() -> int | None:
        async with open_installation(settings) as installation:
            await installation.find_product(product_key)
            return await installation.registry.add_topic(ProductTopic(0, product_key, topic, TopicOperation(operation)))

    try:
        topic_id = asyncio.run(run())
    except AlreadyExists:
        raise click.ClickException(f"{product_key} has a class {topic} already") from None
    if topic_id is None:
        raise click.ClickException(f"{product_key} has {TOPIC_CLASSES_MAX} topic classes already")
    click.echo(f"{topic_id}: {operation} {topic}")


@click.command("delete-topic")
@click.argument("topic_id", type=int, metavar="TOPIC_ID")
@with_storage
def delete_topic(settings: Settings, topic_id: int) -> None:
    """Delete a topic class; `product topics` tells its id."""

    async def run() -> bool:
        async with open_installation(settings) as installation:
            return await installation.store.delete_topic(topic_id)

    if not asyncio.run(run()):
        raise click.ClickException(f"there is no topic class {topic_id}")
    click.echo(f"{topic_id} is deleted")
