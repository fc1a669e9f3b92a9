"""The actions of the OpenAPI, one module a chapter of the vendor's reference; here is their list."""

from linkstead.action import AnyAction
from linkstead.actions import (
    device,
    device_data,
    device_shadow,
    device_topic,
    messaging,
    product,
    product_tag,
    product_topic,
    subscription,
    thing_model,
    thing_script,
    thing_service,
    topology,
)

ACTIONS: dict[str, AnyAction] = {
    action.name: action
    for action in (
        *messaging.ACTIONS,
        *thing_service.ACTIONS,
        *product.ACTIONS,
        *product_tag.ACTIONS,
        *product_topic.ACTIONS,
        *device.ACTIONS,
        *device_data.ACTIONS,
        *device_shadow.ACTIONS,
        *device_topic.ACTIONS,
        *thing_model.ACTIONS,
        *thing_script.ACTIONS,
        *subscription.ACTIONS,
        *topology.ACTIONS,
    )
}
"""Every action served, by its name on the wire."""
