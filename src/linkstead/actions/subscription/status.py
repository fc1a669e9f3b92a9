"""What waits for a consumer group, and how fast it is taken."""

from msgspec import UNSET, UnsetType

from linkstead.action import Action, ActionContext, Answer, Shape
from linkstead.actions.subscription.addressing import GroupRequest, find_group
from linkstead.registry.times import utc_text
from linkstead.subscription import ConsumerStatus


class ConsumerGroupClientConnectionInfo(Shape):
    """A consumer that is connected. `online_time` is milliseconds; counts are those of the last minute."""

    client_id: str
    client_ip_port: str
    online_time: int
    real_time_consume_count_per_minute: int
    accumulated_consume_count_per_minute: int


class ClientConnectionStatusList(Shape):
    """The list itself."""

    consumer_group_client_connection_info: list[ConsumerGroupClientConnectionInfo]


class QueryConsumerGroupStatusAnswer(Answer):
    """Source: QueryConsumerGroupStatus reference, returned data.

    `accumulation_count` is what waits. Counts per minute are those of the last one: `consumer_speed` is the other two
    together. `last_consumer_time` as `2018-08-06T02:48:41.000Z`; left out where nothing was consumed since the server's
    start.
    """

    accumulation_count: int | UnsetType = UNSET
    consumer_speed: int | UnsetType = UNSET
    real_time_consume_count_per_minute: int | UnsetType = UNSET
    accumulated_consume_count_per_minute: int | UnsetType = UNSET
    last_consumer_time: str | UnsetType = UNSET
    client_connection_status_list: ClientConnectionStatusList | UnsetType = UNSET


async def query_consumer_group_status(context: ActionContext, request: GroupRequest) -> QueryConsumerGroupStatusAnswer:
    """Show how a group gets on.

    Raises:
        ApiError: see `find_group`.
    """
    group = await find_group(context, request.group_id)
    waiting_count = await context.subscriptions.backlog.count_letters(group.destination)
    desks = await context.subscriptions.dispatcher.ask([group.destination])
    status = desks[group.destination]
    consumption = status.consumption
    return QueryConsumerGroupStatusAnswer(
        accumulation_count=waiting_count,
        consumer_speed=consumption.per_minute,
        real_time_consume_count_per_minute=consumption.real_time_per_minute,
        accumulated_consume_count_per_minute=consumption.accumulated_per_minute,
        last_consumer_time=utc_text(consumption.last_accepted_ms) if consumption.last_accepted_ms else UNSET,
        client_connection_status_list=ClientConnectionStatusList(
            consumer_group_client_connection_info=[_show(consumer) for consumer in status.consumers]
        ),
    )


def _show(consumer: ConsumerStatus) -> ConsumerGroupClientConnectionInfo:
    return ConsumerGroupClientConnectionInfo(
        client_id=consumer.client_id,
        client_ip_port=consumer.peer,
        online_time=consumer.attached_ms,
        real_time_consume_count_per_minute=consumer.consumption.real_time_per_minute,
        accumulated_consume_count_per_minute=consumer.consumption.accumulated_per_minute,
    )


async def reset_consumer_group_position(context: ActionContext, request: GroupRequest) -> Answer:
    """Forget all that waits for a group now, what its consumers hold included; of the default group as well.

    Raises:
        ApiError: see `find_group`.

    Source: ResetConsumerGroupPosition reference.
    """
    group = await find_group(context, request.group_id)
    await context.subscriptions.backlog.clear_letters(group.destination)
    return Answer()


ACTIONS = (
    Action(
        name="QueryConsumerGroupStatus",
        request=GroupRequest,
        answer=QueryConsumerGroupStatusAnswer,
        function=query_consumer_group_status,
    ),
    Action(
        name="ResetConsumerGroupPosition", request=GroupRequest, answer=Answer, function=reset_consumer_group_position
    ),
)
