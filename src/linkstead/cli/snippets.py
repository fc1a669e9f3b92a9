"""Programs that call a device, to be pasted as they are: with the vendor's SDKs, and with curl in bash.

Every value stands in a program as a literal of its language, so that it arrives whatever signs it is made of: any but
NUL. But for bash the literals are ASCII: the programs can be saved in whatever encoding.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from linkstead.config import DEMO_ACCESS_KEY_ID, DEMO_ACCESS_KEY_SECRET, Address, Settings
from linkstead.registry import DeviceKey

SECRET_VARIABLE = "LINKSTEAD_ACCESS_KEY_SECRET"
"""Where the snippets take the secret from unless it is the demo key's: nobody's own secret is printed."""

READ_TIMEOUT_MS = Settings().service_timeout_ms + 2_000
"""How long the programs wait for the answer to a service: both Node SDKs would hang up after 3 s.

Source: `real-clients.md` 1.5.
"""


@dataclass(frozen=True, slots=True)
class ServiceCall:
    """A call of a thing service, as InvokeThingService takes it.

    Attributes:
        scheme, address: of the server's OpenAPI, `http` or `https`.
        access_key_id: the key to call with.
        key: the device.
        instance_id: "" for the public instance.
        identifier: the service by its name on the wire.
        args: its arguments, a JSON object as text.
    """

    scheme: str
    address: Address
    access_key_id: str
    key: DeviceKey
    instance_id: str
    identifier: str
    args: str

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of the request, by their names on the wire."""
        parameters = {
            "ProductKey": self.key.product_key,
            "DeviceName": self.key.device_name,
            "Identifier": self.identifier,
            "Args": self.args,
        }
        return {**parameters, "IotInstanceId": self.instance_id} if self.instance_id else parameters


# --- literals ---


def write_js_literal(text: str) -> str:
    """A text as JavaScript has it, in single quotes: JSON reads best in these."""
    return "'" + _escape(text).replace('\\"', '"').replace("'", "\\'") + "'"


def write_java_literal(text: str) -> str:
    """A text as Java has it: what is beyond 16 bits in two halves, as in JSON."""
    return f'"{_escape(text)}"'


def write_go_literal(text: str) -> str:
    """A text as Go has it: what is beyond 16 bits in one piece."""
    return re.sub(r"[^\x00-\x7f]", lambda found: f"\\U{ord(found[0]):08x}", json.dumps(text, ensure_ascii=False))


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1]


# --- the vendor's SDKs ---

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

_PYTHON = """\
# pip install alibabacloud_iot20180120
import os
from alibabacloud_iot20180120.client import Client
from alibabacloud_iot20180120.models import InvokeThingServiceRequest
from alibabacloud_tea_openapi.models import Config
client = Client(Config(
    {config},
))
answer = client.invoke_thing_service(InvokeThingServiceRequest(
    {request},
))
print(answer.body)
"""

_NODE = """\
// npm install @alicloud/iot20180120 @alicloud/openapi-client
const {{ default: Client, InvokeThingServiceRequest }} = require("@alicloud/iot20180120");
const {{ Config }} = require("@alicloud/openapi-client");
const client = new Client(new Config({{
  {config},
}}));
client.invokeThingService(new InvokeThingServiceRequest({{
  {request},
}})).then((answer) => console.log(answer.body.toMap()));
"""

_JAVA = """\
// Maven: com.aliyun:iot20180120; to be saved as CallService.java
import com.aliyun.iot20180120.Client;
import com.aliyun.iot20180120.models.InvokeThingServiceRequest;
import com.aliyun.iot20180120.models.InvokeThingServiceResponse;
import com.aliyun.teaopenapi.models.Config;

public class CallService {{
    public static void main(String[] arguments) throws Exception {{
        Client client = new Client(new Config()
            .{config});
        InvokeThingServiceResponse answer = client.invokeThingService(new InvokeThingServiceRequest()
            .{request});
        System.out.println(answer.getBody().toMap());
    }}
}}
"""

_GO = """\
// go get github.com/alibabacloud-go/iot-20180120/v6 github.com/alibabacloud-go/darabonba-openapi/v2
package main

import (
	"fmt"
	"os"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	iot "github.com/alibabacloud-go/iot-20180120/v6/client"
)

func main() {{
	client, err := iot.NewClient(new(openapi.Config).
		{config})
	if err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
	answer, err := client.InvokeThingService(new(iot.InvokeThingServiceRequest).
		{request})
	if err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
	fmt.Println(answer.Body)
}}
"""


@dataclass(frozen=True, slots=True)
class _Language:
    """How a program in a language with an SDK is written.

    Attributes:
        template: with places for the fields of `config` and of `request`.
        field: one of them; `snake`, `camel` or `pascal` is its name, `value` an expression.
        between: what stands between two of them.
        literal: writes a text.
        variable: takes `SECRET_VARIABLE` from the environment.
    """

    template: str
    field: str
    between: str
    literal: Callable[[str], str]
    variable: str

    def join_fields(self, fields: Mapping[str, str]) -> str:
        """The fields, expressions by names on the wire."""
        return self.between.join(
            self.field.format(
                snake=re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(),
                camel=name[0].lower() + name[1:],
                pascal=name,
                value=value,
            )
            for name, value in fields.items()
        )


_LANGUAGES = {
    "python": _Language(_PYTHON, "{snake}={value}", ",\n    ", ascii, f'os.environ["{SECRET_VARIABLE}"]'),
    "node": _Language(_NODE, "{camel}: {value}", ",\n  ", write_js_literal, f"process.env.{SECRET_VARIABLE}"),
    "java": _Language(
        _JAVA, "set{pascal}({value})", "\n            .", write_java_literal, f'System.getenv("{SECRET_VARIABLE}")'
    ),
    "go": _Language(_GO, "Set{pascal}({value})", ".\n\t\t", write_go_literal, f'os.Getenv("{SECRET_VARIABLE}")'),
}

LANGUAGES = (*_LANGUAGES, "curl")
"""What `service_snippet` writes."""


def service_snippet(language: str, call: ServiceCall) -> str:
    """Call a service and print the answer.

    Args:
        language: one of `LANGUAGES`.
        call: what to call.
    """
    if language == "curl":
        pairs = [shlex.quote(f"{name}={value}") for name, value in call.parameters.items()]
        return _sign_in_bash(call.scheme, call.address, call.access_key_id, "InvokeThingService", pairs)
    found = _LANGUAGES[language]
    is_demo = call.access_key_id == DEMO_ACCESS_KEY_ID
    config = {
        "AccessKeyId": found.literal(call.access_key_id),
        "AccessKeySecret": found.literal(DEMO_ACCESS_KEY_SECRET) if is_demo else found.variable,
        "Endpoint": found.literal(str(call.address)),
        "Protocol": found.literal(call.scheme),
        "ReadTimeout": str(READ_TIMEOUT_MS),
    }
    request = {name: found.literal(value) for name, value in call.parameters.items()}
    return found.template.format(config=found.join_fields(config), request=found.join_fields(request))


def python_snippet(http: Address, access_key_id: str, key: DeviceKey) -> str:
    """Call a device with `alibabacloud_iot20180120` and print the answer."""
    is_demo = access_key_id == DEMO_ACCESS_KEY_ID
    return _PYTHON_RRPC.format(
        access_key_id=json.dumps(access_key_id),
        secret=json.dumps(DEMO_ACCESS_KEY_SECRET) if is_demo else f'os.environ["{SECRET_VARIABLE}"]',
        http=http,
        product_key=key.product_key,
        device_name=key.device_name,
    )


# --- bash ---

# A byte above 127 is a negative number to some versions of printf, hence the mask.
_BASH = """\
( export LC_ALL=C; secret={secret}
  encode() {{ local i code; for ((i = 0; i < ${{#1}}; i++)); do case ${{1:i:1}} in
    [A-Za-z0-9._~-]) printf %s "${{1:i:1}}" ;;
    *) printf -v code %d "'${{1:i:1}}"; printf %%%02X $((code & 255)) ;; esac; done; }}
  query=$(for pair in Action={action} Version=2018-01-20 Format=JSON AccessKeyId={access_key_id} \\
    SignatureMethod=HMAC-SHA1 SignatureVersion=1.0 "SignatureNonce=$(openssl rand -hex 16)" \\
    "Timestamp=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \\
    {pairs}
  do printf '%s=%s\\n' "${{pair%%=*}}" "$(encode "${{pair#*=}}")"; done | sort | paste -sd '&' -)
  signature=$(printf %s "GET&%2F&$(encode "$query")" | openssl dgst -sha1 -hmac "$secret&" -binary | openssl base64)
  curl -sS {url}"?$query&Signature=$(encode "$signature")"; echo )
"""


def bash_snippet(http: Address, access_key_id: str, key: DeviceKey) -> str:
    """Call a device with curl, the request signed by openssl (signature version 1), and print the answer."""
    pairs = [
        f"ProductKey={key.product_key}",
        f"DeviceName={key.device_name}",
        "Timeout=5000",
        '"RequestBase64Byte=$(printf hello | openssl base64)"',
    ]
    return _sign_in_bash("http", http, access_key_id, "RRpc", pairs)


def _sign_in_bash(scheme: str, address: Address, access_key_id: str, action: str, pairs: Sequence[str]) -> str:
    """The parameters of the action come as words of the shell, `Name=value`; the snippet puts them in order."""
    is_demo = access_key_id == DEMO_ACCESS_KEY_ID
    return _BASH.format(
        secret=DEMO_ACCESS_KEY_SECRET if is_demo else f"${SECRET_VARIABLE}",
        action=action,
        access_key_id=access_key_id,
        pairs=" \\\n    ".join(pairs),
        url=shlex.quote(f"{scheme}://{address}/"),
    )
