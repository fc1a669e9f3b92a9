"""A consumer of server-side subscription made of qpid-proton, for the system's own Python, which has it.

It says on stdout, in lines of JSON, what happens to it, and does what the lines on stdin tell it.
Usage: python3 proton_consumer.py '{"port":…,"user":…,"password":…,"ca":…,"options":{…}}'
"""

import json
import os
import sys
import threading
from typing import Any

from proton import Delivery, SSLDomain
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def problem(condition: Any) -> dict[str, str]:
    if condition is None:
        return {"condition": "", "description": ""}
    return {"condition": str(condition.name), "description": str(condition.description)}


class Consumer(MessagingHandler):  # type: ignore[misc]
    def __init__(self, settings: dict[str, Any], injector: EventInjector) -> None:
        super().__init__(prefetch=0, auto_accept=False)
        self.settings = settings
        self.injector = injector
        self.deliveries: dict[str, Any] = {}

    def on_start(self, event: Any) -> None:
        event.container.selectable(self.injector)
        settings = self.settings
        domain = None
        if settings.get("ca"):
            domain = SSLDomain(SSLDomain.MODE_CLIENT)
            domain.set_trusted_ca_db(settings["ca"])
            domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
        scheme = "amqps" if domain else "amqp"
        self.container = event.container
        self.connection = event.container.connect(
            f"{scheme}://localhost:{settings['port']}",
            user=settings["user"],
            password=settings["password"],
            allowed_mechs="PLAIN",
            allow_insecure_mechs=True,
            reconnect=False,
            ssl_domain=domain,
            **{"heartbeat": 60, **settings.get("options", {})},
        )
        self.receiver = event.container.create_receiver(self.connection, settings.get("source"))

    def on_connection_opened(self, event: Any) -> None:
        say("open")

    def on_link_opened(self, event: Any) -> None:
        if event.link == self.receiver:
            say("attached")

    def on_message(self, event: Any) -> None:
        message, link = event.message, event.link
        own = dict(message.properties)
        self.deliveries[own["messageId"]] = event.delivery
        body = bytes(message.body)
        text = "" if len(body) > 4096 else body.decode()
        say(
            "message",
            **{key: int(value) if isinstance(value, int) else value for key, value in own.items()},
            types={key: type(value).__name__ for key, value in own.items()},
            body=text,
            bytes=len(body),
            id=message.id,
            created=round(message.creation_time * 1000),
            durable=message.durable,
            deliveryCount=message.delivery_count,
            credit=link.credit,
        )

    def on_settled(self, event: Any) -> None:
        say("settled")

    def on_link_flow(self, event: Any) -> None:
        # proton does not say that a link is drained: the sender's flow has taken the credit back by then
        if event.link == self.receiver and event.link.drain_mode and event.link.credit == 0:
            say("drained")

    def on_link_error(self, event: Any) -> None:
        say("sender_error" if event.link.is_sender else "link_error", **problem(event.link.remote_condition))

    def on_link_closed(self, event: Any) -> None:
        say("link_closed")

    def on_connection_error(self, event: Any) -> None:
        say("connection_error", **problem(event.connection.remote_condition))

    def on_connection_closed(self, event: Any) -> None:
        say("closed")

    def on_transport_error(self, event: Any) -> None:
        say("transport_error", **problem(event.transport.condition))

    def on_disconnected(self, event: Any) -> None:
        say("disconnected")

    def on_command(self, event: Any) -> None:
        command = event.subject
        delivery: Any = self.deliveries.get(command.get("messageId", ""))
        match command["do"]:
            case "credit":
                self.receiver.flow(command["count"])
            case "drain":
                self.receiver.drain(0)
            case "accept":
                self.accept(delivery)
            case "release":
                self.release(delivery, delivered=False)
            case "modify":
                self.release(delivery, delivered=True)
            case "reject":
                self.reject(delivery)
            case "update":
                # the outcome alone, for the sender to settle
                delivery.update(Delivery.ACCEPTED)
            case "second":
                self.container.create_receiver(self.connection, name="second")
            case "sender":
                self.container.create_sender(self.connection, "anywhere")
            case "detach":
                self.receiver.close()
            case "close":
                self.connection.close()
                self.injector.close()
            case "die":
                os._exit(9)


def main() -> None:
    injector = EventInjector()
    consumer = Consumer(json.loads(sys.argv[1]), injector)

    def read() -> None:
        for line in sys.stdin:
            injector.trigger(ApplicationEvent("command", subject=json.loads(line)))

    threading.Thread(target=read, daemon=True).start()
    Container(consumer).run()


if __name__ == "__main__":
    main()
