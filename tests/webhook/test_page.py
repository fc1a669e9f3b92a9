"""The receivers of `docs/webhooks.md`, as printed there, take what is ours and nothing else."""

import os
import re
import sys
from dataclasses import replace

import pytest

from linkstead.server import SystemClock
from linkstead.subscription import Letter
from linkstead.subscription.webhooks import decode_secret
from linkstead.testing.clock import ManualClock
from linkstead.webhook.post import HttpPost
from linkstead.webhook.signature import make_headers
from tests.sdk.child import REPOSITORY, Child
from tests.webhook.receiver import SECRET, TOPIC

COMMANDS = {"python": [sys.executable, "-c"], "javascript": ["node", "--input-type=module", "-e"]}
LETTER = Letter(7, 889_455_942_124_347_392, TOPIC, '{"name":"灯"}'.encode(), 1_700_000_000_123, 1, 1)


def program(language: str) -> str:
    page = (REPOSITORY / "docs" / "webhooks.md").read_text(encoding="utf-8")
    [found] = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return str(found)


@pytest.mark.asyncio
@pytest.mark.parametrize("language", COMMANDS)
async def test_a_receiver_of_the_page_takes_what_is_signed_and_fresh(language: str) -> None:
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": "0", "PYTHONIOENCODING": "utf-8"}
    now_s = int(SystemClock().time_s())
    good = make_headers(LETTER, decode_secret(SECRET), now_s)
    bad = {
        "another key": make_headers(LETTER, b"x" * 32, now_s),
        "another message": make_headers(replace(LETTER, payload=b"{}"), decode_secret(SECRET), now_s),
        "too old": make_headers(LETTER, decode_secret(SECRET), now_s - 301),
        "no signature": {name: value for name, value in good.items() if name != "webhook-signature"},
        "nothing": {},
    }
    command = [*COMMANDS[language], program(language)]
    with Child(command, missing="make test", environment=environment) as child:
        ready, port = child.line().split()
        assert ready == "ready"
        post = HttpPost(ManualClock())
        url = f"http://127.0.0.1:{port}/hook"
        refused = {name: (await post.post(url, headers, LETTER.payload)).status for name, headers in bad.items()}
        assert refused == dict.fromkeys(bad, 401)
        assert (await post.post(url, good, LETTER.payload)).status == 204
        assert child.line() == f'{TOPIC} {{"name":"灯"}}'
        await post.close()
