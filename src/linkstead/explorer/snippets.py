"""Programs that call an action, to be pasted as they are: with the vendor's SDKs, and with curl in bash.

Every value stands in a program as a literal of its language, so that it arrives whatever signs it is made of: any but
NUL. But for bash the literals are ASCII: the programs can be saved in whatever encoding.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from linkstead.api.openapi import VERSION
from linkstead.explorer.arguments import Argument, Arguments, Scalar, flatten_arguments
from linkstead.explorer.literals import (
    write_bash_literal,
    write_go_literal,
    write_java_literal,
    write_js_literal,
    write_php_literal,
    write_python_literal,
)

ID_VARIABLE, SECRET_VARIABLE = "LINKSTEAD_ACCESS_KEY_ID", "LINKSTEAD_ACCESS_KEY_SECRET"
"""Where the programs take the key from, and its secret unless that may be seen."""

REGION = "cn-shanghai"
"""What the old SDKs want to be told; the server does not look at it."""

READ_TIMEOUT_MS = 10_000
"""How long the programs wait for the answer, which a device has 8 s for: some SDKs would hang up after 3 s.

Source: `real-clients.md` 1.5.
"""


@dataclass(frozen=True, slots=True)
class ActionCall:
    """A request of an action, as a program is to send it.

    Attributes:
        scheme, endpoint: of the server's OpenAPI: `http` or `https`, and `HOST:PORT`.
        action: by its name on the wire.
        arguments: its parameters.
        access_key_id: the key to call with; "" where the program is to take it from the environment.
        secret_shown: a secret that everybody may know; "" where the program is to take it from the environment.
    """

    scheme: str
    endpoint: str
    action: str
    arguments: Arguments = field(default_factory=dict)
    access_key_id: str = ""
    secret_shown: str = ""


# --- the vendor's SDKs ---

_PYTHON = """\
# pip install alibabacloud_iot20180120
import os
from alibabacloud_iot20180120 import models
from alibabacloud_iot20180120.client import Client
from alibabacloud_tea_openapi.models import Config
client = Client(Config(
    access_key_id={access_key_id},
    access_key_secret={secret},
    endpoint={endpoint},
    protocol={scheme},
    read_timeout={read_timeout_ms},
))
answer = client.{method}(models.{action_name}Request({request}))
print(answer.body)
"""

PYTHON_LACKS = {
    "CreateProduct": {"CategoryId"},
    "GetThingModelTsl": {"ResourceGroupId"},
    "ListThingModelVersion": {"ResourceGroupId"},
}
"""Parameters that the SDK of today does not know, by action; they are left out of its programs.

Source: alibabacloud_iot20180120 5.1.0. The server takes them, without effect.
"""

_PYTHON_CORE = """\
# pip install aliyun-python-sdk-core
import os
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
client = AcsClient({access_key_id}, {secret}, {region}, timeout={read_timeout_s})
request = CommonRequest(domain={endpoint}, version={version}, action_name={action})
request.set_protocol_type({scheme})
request.set_method("POST")
request.set_accept_format("JSON")
{pairs}print(client.do_action_with_exception(request).decode())
"""

_NODE = """\
// npm install @alicloud/pop-core
const {{ RPCClient }} = require("@alicloud/pop-core");
const client = new RPCClient({{
  accessKeyId: {access_key_id},
  accessKeySecret: {secret},
  endpoint: {url},
  apiVersion: {version},
}});
client.request({action}, {{
{pairs}}}, {{ method: "POST", timeout: {read_timeout_ms} }}).then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => {{
    console.error(`${{error.code}}: ${{error.message}}`);
    process.exitCode = 1;
  }},
);
"""

_JAVA = """\
// Maven: com.aliyun:aliyun-java-sdk-core; to be saved as CallAction.java
import com.aliyuncs.CommonRequest;
import com.aliyuncs.DefaultAcsClient;
import com.aliyuncs.http.MethodType;
import com.aliyuncs.http.ProtocolType;
import com.aliyuncs.profile.DefaultProfile;

public class CallAction {{
    public static void main(String[] arguments) throws Exception {{
        DefaultAcsClient client = new DefaultAcsClient(DefaultProfile.getProfile({region},
            {access_key_id}, {secret}));
        CommonRequest request = new CommonRequest();
        request.setSysMethod(MethodType.POST);
        request.setSysProtocol(ProtocolType.{scheme_name});
        request.setSysDomain({endpoint});
        request.setSysVersion({version});
        request.setSysAction({action});
        request.setSysReadTimeout({read_timeout_ms});
{pairs}        System.out.println(client.getCommonResponse(request).getData());
    }}
}}
"""

_GO = """\
// go get github.com/aliyun/alibaba-cloud-sdk-go
package main

import (
	"fmt"
	"os"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
)

func main() {{
	client, err := sdk.NewClientWithAccessKey({region}, {access_key_id}, {secret})
	if err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
	request := requests.NewCommonRequest()
	request.Method = "POST"
	request.Scheme = {scheme}
	request.Domain = {endpoint}
	request.Version = {version}
	request.ApiName = {action}
{pairs}	answer, err := client.ProcessCommonRequest(request)
	if err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
	fmt.Println(answer.GetHttpContentString())
}}
"""

_CSHARP = """\
// dotnet add package aliyun-net-sdk-core
using System;
using Aliyun.Acs.Core;
using Aliyun.Acs.Core.Http;
using Aliyun.Acs.Core.Profile;

class CallAction
{{
    static void Main()
    {{
        var client = new DefaultAcsClient(DefaultProfile.GetProfile({region},
            {access_key_id}, {secret}));
        var request = new CommonRequest();
        request.Method = MethodType.POST;
        request.Protocol = ProtocolType.{scheme_name};
        request.Domain = {endpoint};
        request.Version = {version};
        request.Action = {action};
        request.TimeoutInMilliSeconds = {read_timeout_ms};
{pairs}        Console.WriteLine(client.GetCommonResponse(request).Data);
    }}
}}
"""

_PHP = """\
<?php
// composer require alibabacloud/client
require __DIR__ . '/vendor/autoload.php';

use AlibabaCloud\\Client\\AlibabaCloud;

AlibabaCloud::accessKeyClient({access_key_id}, {secret})
    ->regionId({region})
    ->asDefaultClient();
$answer = AlibabaCloud::rpc()
    ->product('Iot')
    ->scheme({scheme})
    ->host({endpoint})
    ->version({version})
    ->action({action})
    ->method('POST')
    ->timeout({read_timeout_s})
    ->options(['query' => [
{pairs}    ]])
    ->request();
echo json_encode($answer->toArray()), PHP_EOL;
"""


@dataclass(frozen=True, slots=True)
class _Language:
    """How a program in a language with an SDK is written.

    Attributes:
        title: what a person calls it.
        template: with places for the fields of `_fill`.
        pair: a line for one parameter as the wire has it; `name` and `value` are literals.
        literal: writes a text.
        variable: takes a variable from the environment.
    """

    title: str
    template: str
    pair: str
    literal: Callable[[str], str]
    variable: str


_LANGUAGES = {
    "python": _Language("Python", _PYTHON, "", write_python_literal, 'os.environ["{}"]'),
    "python-core": _Language(
        "Python, old SDK",
        _PYTHON_CORE,
        "request.add_query_param({name}, {value})\n",
        write_python_literal,
        'os.environ["{}"]',
    ),
    "node": _Language("Node.js", _NODE, "  {name}: {value},\n", write_js_literal, "process.env.{}"),
    "java": _Language(
        "Java",
        _JAVA,
        "        request.putQueryParameter({name}, {value});\n",
        write_java_literal,
        'System.getenv("{}")',
    ),
    "go": _Language("Go", _GO, "\trequest.QueryParams[{name}] = {value}\n", write_go_literal, 'os.Getenv("{}")'),
    "csharp": _Language(
        "C#",
        _CSHARP,
        "        request.AddQueryParameters({name}, {value});\n",
        write_java_literal,
        'Environment.GetEnvironmentVariable("{}")',
    ),
    "php": _Language("PHP", _PHP, "        {name} => {value},\n", write_php_literal, "getenv('{}')"),
}

LANGUAGES = {**{name: language.title for name, language in _LANGUAGES.items()}, "curl": "curl"}
"""What `action_snippet` writes, and what a person calls it."""


def action_snippet(language: str, call: ActionCall) -> str:
    """A program that calls an action and prints the answer.

    Args:
        language: one of `LANGUAGES`.
        call: what to call.
    """
    if language == "curl":
        pairs = [write_bash_literal(f"{name}={value}") for name, value in flatten_arguments(call.arguments).items()]
        return sign_in_bash(call, pairs)
    found = _LANGUAGES[language]
    literal = found.literal
    flat = flatten_arguments(call.arguments)
    return found.template.format(
        access_key_id=literal(call.access_key_id) if call.access_key_id else found.variable.format(ID_VARIABLE),
        secret=literal(call.secret_shown) if call.secret_shown else found.variable.format(SECRET_VARIABLE),
        endpoint=literal(call.endpoint),
        url=literal(f"{call.scheme}://{call.endpoint}"),
        scheme=literal(call.scheme),
        scheme_name=call.scheme.upper(),
        region=literal(REGION),
        version=literal(VERSION),
        action=literal(call.action),
        action_name=call.action,
        method=write_python_name(call.action),
        read_timeout_ms=READ_TIMEOUT_MS,
        read_timeout_s=READ_TIMEOUT_MS // 1_000,
        pairs="".join(found.pair.format(name=literal(name), value=literal(value)) for name, value in flat.items()),
        request=_write_python_request(call.action, call.arguments),
    )


def write_python_name(name: str) -> str:
    """A name on the wire as the Python SDK of today spells it: `RequestBase64Byte` is `request_base_64byte`."""
    return re.sub(r"(?<!^)(?<![0-9])(?=[A-Z])|(?<=[a-z])(?=[0-9])", "_", name).lower()


def _write_python_request(action: str, arguments: Arguments) -> str:
    fields = [
        f"\n    {write_python_name(name)}={_write_python_value(action, name, value)},"
        for name, value in arguments.items()
        if name not in PYTHON_LACKS.get(action, ())
    ]
    return "".join(fields) + "\n" if fields else ""


def _write_python_value(action: str, name: str, value: Argument) -> str:
    if isinstance(value, str | int):
        return _write_python_scalar(value)
    entries = [
        _write_python_entry(f"{action}Request{name}", entry)
        if isinstance(entry, Mapping)
        else _write_python_scalar(entry)
        for entry in value
    ]
    return f"[{', '.join(entries)}]"


def _write_python_entry(class_name: str, entry: Mapping[str, Scalar]) -> str:
    fields = [f"{write_python_name(name)}={_write_python_scalar(value)}" for name, value in entry.items()]
    return f"models.{class_name}({', '.join(fields)})"


def _write_python_scalar(value: Scalar) -> str:
    return write_python_literal(value) if isinstance(value, str) else repr(value)


# --- bash ---

# A byte above 127 is a negative number to some versions of printf, hence the mask. Pairs are sorted by their names
# alone: in whole lines `Name.10=` would come before `Name.1=`. The body comes by a pipe, as a word has a bound.
_BASH = """\
( export LC_ALL=C; secret={secret}
  encode() {{ local i code; for ((i = 0; i < ${{#1}}; i++)); do case ${{1:i:1}} in
    [A-Za-z0-9._~-]) printf %s "${{1:i:1}}" ;;
    *) printf -v code %d "'${{1:i:1}}"; printf %%%02X $((code & 255)) ;; esac; done; }}
  query=$(for pair in Action={action} Version={version} Format=JSON {access_key_id} \\
    SignatureMethod=HMAC-SHA1 SignatureVersion=1.0 "SignatureNonce=$(openssl rand -hex 16)" \\
    "Timestamp=$(date -u +%Y-%m-%dT%H:%M:%SZ)"{pairs}
  do printf '%s=%s\\n' "${{pair%%=*}}" "$(encode "${{pair#*=}}")"; done | sort -t = -k 1,1 | paste -sd '&' -)
  signature=$(printf %s "POST&%2F&$(encode "$query")" | openssl dgst -sha1 -hmac "$secret&" -binary | openssl base64)
  printf %s "$query&Signature=$(encode "$signature")" | curl -sS {url} --data-binary @-; echo )
"""


def sign_in_bash(call: ActionCall, pairs: Sequence[str]) -> str:
    """Call an action with curl, the request signed by openssl (signature version 1), and print the answer.

    Args:
        call: what to call, but for its arguments.
        pairs: these, as words of the shell that make `Name=value`; the program puts them in order.
    """
    access_key_id = call.access_key_id
    return _BASH.format(
        secret=write_bash_literal(call.secret_shown) if call.secret_shown else f"${SECRET_VARIABLE}",
        action=call.action,
        version=VERSION,
        access_key_id=write_bash_literal(f"AccessKeyId={access_key_id}")
        if access_key_id
        else f'"AccessKeyId=${ID_VARIABLE}"',
        pairs="".join(f" \\\n    {pair}" for pair in pairs),
        url=write_bash_literal(f"{call.scheme}://{call.endpoint}/"),
    )
