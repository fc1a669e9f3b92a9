import json
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from linkstead.subscription.webhooks import WEBHOOKS_PER_PRODUCT_MAX, decode_secret
from tests.cli.processes import done, serving, told, wait_for

URL = "https://example.org/hook"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def product_key() -> str:
    made: dict[str, str] = json.loads(done("product", "create", "Lamp", "--json"))
    return made["product_key"]


def created(product_key: str, *arguments: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(
        done("webhook", "create", "--product", product_key, "--url", URL, *arguments, "--json")
    )
    return fields


def shown(webhook_id: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(done("webhook", "show", webhook_id, "--json"))
    return fields


def add_letter(
    webhook_id: str, *, is_dead: bool, died_ms: int = 1, attempts: int = 14, folder: Path = Path("linkstead-data")
) -> int:
    """Have a letter wait, or be dead, as the server leaves it; returns its number."""
    statement = (
        "INSERT INTO letter (destination, message_id, topic, payload, generated_ms, qos, attempts, due_ms, is_dead,"
        " last_error) VALUES (?, 889455942124347392, '/a1/lamp/user/x\n', x'7b7d', 5, 0, ?, ?, ?, 'HTTP 500')"
    )
    with closing(sqlite3.connect(folder / "linkstead.db")) as connection, connection:
        row_id = connection.execute(statement, (f"webhook/{webhook_id}", attempts, died_ms, is_dead)).lastrowid
    assert row_id is not None
    return row_id


def test_a_webhook_is_made_and_its_secret_shown_once(product_key: str) -> None:
    made = created(product_key)
    secret = made.pop("secret")
    assert len(decode_secret(secret)) == 32
    webhook_id = made["webhook_id"]
    assert made == {
        "webhook_id": webhook_id,
        "product_key": product_key,
        "url": URL,
        "kinds": ["device_data", "device_status_change"],
        "enabled": True,
        "created_ms": made["created_ms"],
    }
    assert shown(webhook_id) == {**made, "dead_letters": 0}
    assert json.loads(done("webhook", "list", "--json")) == [made]
    for command in (["list"], ["show", webhook_id], ["dead-letters", webhook_id]):
        assert secret not in done("webhook", *command) + done("webhook", *command, "--json")


def test_kinds_and_secret_may_be_given(product_key: str) -> None:
    made = created(product_key, "--kinds", "thing_history,device_tag", "--secret", SECRET)
    assert (made["kinds"], made["secret"]) == (["thing_history", "device_tag"], SECRET)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "https://user:pass@example.org/"], "url: no user and password"),
        (["--url", "ftp://example.org/"], "url: begins with https:// or http://"),
        (["--kinds", "all"], "kinds: 'all' is none; there are device_data,"),
        (["--secret", "topsecret"], "secret: whsec_ and then base64 of 24 to 64 bytes"),
        (["--product", "a1Gone00001"], "there is no product a1Gone00001"),
    ],
)
def test_a_bad_value_is_told_with_its_rule(product_key: str, arguments: list[str], said: str) -> None:
    line = told(1, "webhook", "create", "--product", product_key, "--url", URL, *arguments)
    assert said in line
    assert "pass@" not in line
    assert "topsecret" not in line
    assert json.loads(done("webhook", "list", "--json")) == []


def test_a_product_has_so_many_webhooks_and_no_more(product_key: str) -> None:
    for _ in range(WEBHOOKS_PER_PRODUCT_MAX):
        created(product_key)
    said = told(1, "webhook", "create", "--product", product_key, "--url", URL)
    assert "the product has 10 webhooks, and may have no more" in said


def test_a_webhook_is_disabled_enabled_and_deleted(product_key: str) -> None:
    webhook_id = created(product_key)["webhook_id"]
    assert done("webhook", "disable", webhook_id) == f"{webhook_id} is disabled\n"
    assert shown(webhook_id)["enabled"] is False
    assert done("webhook", "enable", webhook_id) == f"{webhook_id} is enabled\n"
    assert shown(webhook_id)["enabled"] is True
    assert done("webhook", "delete", webhook_id) == f"{webhook_id} is deleted\n"
    assert json.loads(done("webhook", "list", "--json")) == []


@pytest.mark.parametrize("command", ["show", "disable", "enable", "delete", "dead-letters", "retry"])
def test_one_that_is_not_there_is_told(product_key: str, command: str) -> None:
    assert "there is no webhook wh_gone; see `linkstead webhook list`" in told(1, "webhook", command, "wh_gone")


def test_dead_letters_are_listed_and_sent_again(product_key: str) -> None:
    webhook_id = created(product_key)["webhook_id"]
    first, second = (add_letter(webhook_id, is_dead=True, died_ms=at) for at in (10, 20))
    waiting = add_letter(webhook_id, is_dead=False)
    assert shown(webhook_id)["dead_letters"] == 2
    listed = json.loads(done("webhook", "dead-letters", webhook_id, "--json"))
    assert [each["letter"] for each in listed] == [second, first]
    assert listed[0] == {
        "letter": second,
        "message_id": "889455942124347392",
        "topic": "/a1/lamp/user/x\\n",
        "generated_ms": 5,
        "died_ms": 20,
        "attempts": 14,
        "last_error": "HTTP 500",
    }
    assert len(json.loads(done("webhook", "dead-letters", webhook_id, "--limit", "1", "--json"))) == 1
    assert len(done("webhook", "dead-letters", webhook_id).splitlines()) == 3
    assert f"{webhook_id} has no dead letter {waiting}" in told(1, "webhook", "retry", webhook_id, str(waiting))
    assert done("webhook", "retry", webhook_id, str(first)) == "1 to be sent again\n"
    assert done("webhook", "retry", webhook_id) == "1 to be sent again\n"
    assert done("webhook", "retry", webhook_id) == "0 to be sent again\n"
    assert shown(webhook_id)["dead_letters"] == 0


class _Hook(BaseHTTPRequestHandler):
    """Fails the first request, takes the others."""

    received: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.append((self.headers["webhook-id"], body))
        self.send_response(500 if len(self.received) == 1 else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_running_server_sends_what_waits_and_tries_again(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as hook, serving("dev", folder=tmp_path) as server:
        thread = threading.Thread(target=hook.serve_forever)
        thread.start()
        try:
            data = ("--data", tmp_path / "data")
            url = f"http://127.0.0.1:{hook.server_port}/"
            made = json.loads(done("webhook", "create", "--product", "a1LinkDemo0", "--url", url, "--json", *data))
            webhook_id = made["webhook_id"]
            done("webhook", "disable", webhook_id, *data)
            add_letter(webhook_id, is_dead=False, folder=tmp_path / "data", attempts=0)
            done("webhook", "enable", webhook_id, *data)
            wait_for(lambda: len(_Hook.received) == 2)
            assert set(_Hook.received) == {("889455942124347392", b"{}")}
            wait_for(lambda: "takes messages again" in server.stderr)
            assert f"webhook {webhook_id} did not take a message: HTTP 500" in server.stderr
            assert made["secret"] not in server.stderr
            assert server.stop() == 0
        finally:
            hook.shutdown()
            thread.join()
    assert "Traceback" not in server.stderr
