"""The programs that `dev` prints: they call a device as they are pasted."""

import json

from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Address
from linkstead.explorer.snippets import SECRET_VARIABLE, ActionCall, sign_in_bash
from linkstead.registry import DeviceKey

_PYTHON_RRPC = """\
import base64, os
from alibabacloud_iot20180120.client import Client
from alibabacloud_iot20180120.models import RRpcRequest
from alibabacloud_tea_openapi.models import Config
client = Client(Config(access_key_id={access_key_id}, access_key_secret={secret},
                       endpoint="{http}", protocol="http"))
answer = client.r_rpc(RRpcRequest(product_key="{product_key}", device_name="{device_name}", timeout=5000,
                                  request_base_64byte=base64.b64encode(b"hello").decode()))
print(answer.body)
print(base64.b64decode(answer.body.payload_base_64byte))
"""


def python_snippet(http: Address, access_key_id: str, key: DeviceKey) -> str:
    """Call a device with `alibabacloud_iot20180120` and print the answer."""
    secret = find_known_secret(access_key_id)
    return _PYTHON_RRPC.format(
        access_key_id=json.dumps(access_key_id),
        secret=json.dumps(secret) if secret else f'os.environ["{SECRET_VARIABLE}"]',
        http=http,
        product_key=key.product_key,
        device_name=key.device_name,
    )


def bash_snippet(http: Address, access_key_id: str, key: DeviceKey) -> str:
    """Call a device with curl, the request signed by openssl (signature version 1), and print the answer."""
    pairs = [
        f"ProductKey={key.product_key}",
        f"DeviceName={key.device_name}",
        "Timeout=5000",
        '"RequestBase64Byte=$(printf hello | openssl base64)"',
    ]
    secret = find_known_secret(access_key_id)
    return sign_in_bash(ActionCall("http", str(http), "RRpc", access_key_id=access_key_id, secret_shown=secret), pairs)


def find_known_secret(access_key_id: str) -> str:
    """The secret of the demo key, which everybody knows; "" for any other: nobody's own secret is printed."""
    return DEMO_ACCESS_KEY_SECRET if access_key_id == DEMO_ACCESS_KEY_ID else ""
