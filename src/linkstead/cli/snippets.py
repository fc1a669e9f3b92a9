"""Two ways to call a device, to be pasted as they are: Python with the vendor's SDK, and curl in bash."""

import json

from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Address
from linkstead.registry import DeviceKey

SECRET_VARIABLE = "LINKSTEAD_ACCESS_KEY_SECRET"
"""Where the snippets take the secret from unless it is the demo key's: nobody's own secret is printed."""

_PYTHON = """\
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

_BASH = """\
( LC_ALL=C; secret={secret}
  encode() {{ local i; for ((i = 0; i < ${{#1}}; i++)); do case ${{1:i:1}} in
    [A-Za-z0-9._~-]) printf %s "${{1:i:1}}" ;; *) printf %%%02X "'${{1:i:1}}" ;; esac; done; }}
  query=
  for pair in AccessKeyId={access_key_id} Action=RRpc DeviceName={device_name} Format=JSON ProductKey={product_key} \\
    "RequestBase64Byte=$(printf hello | openssl base64)" SignatureMethod=HMAC-SHA1 \\
    "SignatureNonce=$(openssl rand -hex 16)" SignatureVersion=1.0 Timeout=5000 \\
    "Timestamp=$(date -u +%Y-%m-%dT%H:%M:%SZ)" Version=2018-01-20
  do query+="${{query:+&}}${{pair%%=*}}=$(encode "${{pair#*=}}")"; done
  signature=$(printf %s "GET&%2F&$(encode "$query")" | openssl dgst -sha1 -hmac "$secret&" -binary | openssl base64)
  curl -sS "http://{http}/?$query&Signature=$(encode "$signature")"; echo )
"""


def python_snippet(http: Address, access_key_id: str, key: DeviceKey) -> str:
    """Call a device with `alibabacloud_iot20180120` and print the answer."""
    is_demo = access_key_id == DEMO_ACCESS_KEY_ID
    return _PYTHON.format(
        access_key_id=json.dumps(access_key_id),
        secret=json.dumps(DEMO_ACCESS_KEY_SECRET) if is_demo else f'os.environ["{SECRET_VARIABLE}"]',
        http=http,
        product_key=key.product_key,
        device_name=key.device_name,
    )


def bash_snippet(http: Address, access_key_id: str, key: DeviceKey) -> str:
    """Call a device with curl, the request signed by openssl (signature version 1), and print the answer.

    The parameters stand in the order of their names, as the signature wants them.
    """
    is_demo = access_key_id == DEMO_ACCESS_KEY_ID
    return _BASH.format(
        access_key_id=access_key_id,
        secret=DEMO_ACCESS_KEY_SECRET if is_demo else f"${SECRET_VARIABLE}",
        http=http,
        product_key=key.product_key,
        device_name=key.device_name,
    )
