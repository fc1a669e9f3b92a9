"""The actions of the OpenAPI, one module a chapter of the vendor's reference; here is their list."""

from linkstead.action import AnyAction
from linkstead.actions import device, messaging, product

ACTIONS: dict[str, AnyAction] = {
    action.name: action for action in (*messaging.ACTIONS, *product.ACTIONS, *device.ACTIONS)
}
"""Every action served, by its name on the wire."""
