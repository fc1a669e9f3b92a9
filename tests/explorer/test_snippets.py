"""That values come through whatever signs they are made of, in every language, and that the programs call a device."""

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import tree_sitter_c_sharp
import tree_sitter_go
import tree_sitter_java
import tree_sitter_php
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tree_sitter import Language, Node, Parser

from linkstead.actions import ACTIONS
from linkstead.api.parameters import bind
from linkstead.api.signatures import sign_v1, string_to_sign_v1
from linkstead.cli.service_call import write_program
from linkstead.config import Settings
from linkstead.explorer.arguments import flatten_arguments, make_example
from linkstead.explorer.literals import (
    write_go_literal,
    write_java_literal,
    write_js_literal,
    write_php_literal,
    write_python_literal,
)
from linkstead.explorer.reference import describe_action
from linkstead.explorer.snippets import (
    ID_VARIABLE,
    LANGUAGES,
    READ_TIMEOUT_MS,
    SECRET_VARIABLE,
    ActionCall,
    action_snippet,
)
from linkstead.server import SystemClock
from linkstead.tsl import ThingModel, find_service, make_example_arguments, write_literal
from tests.rig import KEY, LAMP, PRODUCT_KEY, RAM_KEY, Rig, running
from tests.sdk.child import NODE_PROGRAMS, Child
from tests.tsl.documents import document, parameter, read_module, read_sample, service

AWKWARD = "".join(
    [
        "'\"`\\ \\\" \\' \\\\ \\n \\u0041 \\\\u0041 \\U0001f600 \\x41 \\101 \\N{DEL} ",
        "$HOME ${HOME} $(id) `id` $'a' !! !x ~ * ? [a] {b,c} # ; & | < > % %s %% {0} {{x}} = + /* */ // --> </script> ",
        "\t\n\r\r\n\x00\x01\x08\x0b\x0c\x1b\x1f\x7f\x80\x85\xa0\xff\u2028\u2029\ufeff\ufffe\uffff",
        "灯具 é e\u0301 \U0001f600 \U0010ffff ",
    ]
)
IN_BASH = AWKWARD.replace("\x00", "")
SECRET = "of-my-own"
CALL = ActionCall(
    scheme="https",
    endpoint="[::1]:8443",
    action="InvokeThingService",
    arguments={
        "ProductKey": "a1Lamp00001",
        "DeviceName": "lamp-01",
        "Identifier": "testFb:testService",
        "Args": AWKWARD,
        "IotInstanceId": "iot-060a0001",
    },
    access_key_id="mine",
)
COMPILE_WAIT_S = 100.0

texts = st.text(st.characters(exclude_categories=["Cs"]))
texts_of_bash = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


def run(*command: str | Path, folder: Path, text: str = "", **variables: str) -> str:
    """What a program says that has to succeed."""
    environment = {**os.environ, SECRET_VARIABLE: SECRET, **variables}
    ran = subprocess.run(
        command,
        input=text.encode(),
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=COMPILE_WAIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


def with_args(args: str, call: ActionCall = CALL) -> ActionCall:
    return replace(call, arguments={**call.arguments, "Args": args})


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_secret_that_everybody_knows_needs_nothing_of_the_environment(language: str) -> None:
    program = action_snippet(language, replace(CALL, secret_shown="known-to-all"))
    assert "known-to-all" in program
    assert "LINKSTEAD_" not in program


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_key_comes_from_the_environment_unless_it_is_named(language: str) -> None:
    program = action_snippet(language, replace(CALL, access_key_id=""))
    assert program.count(ID_VARIABLE) == program.count(SECRET_VARIABLE) == 1
    named = action_snippet(language, CALL)
    assert ID_VARIABLE not in named
    assert SECRET_VARIABLE in named


def test_programs_wait_longer_than_a_device_may_take() -> None:
    assert Settings().service_timeout_ms < READ_TIMEOUT_MS


# --- Python, Node, bash ---


@given(texts)
def test_python_reads_back_what_was_written(text: str) -> None:
    program = action_snippet("python", with_args(text))
    (request,) = (
        node
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "InvokeThingServiceRequest"
    )
    assert {keyword.arg: ast.literal_eval(keyword.value) for keyword in request.keywords} == {
        "product_key": "a1Lamp00001",
        "device_name": "lamp-01",
        "identifier": "testFb:testService",
        "args": text,
        "iot_instance_id": "iot-060a0001",
    }
    assert write_python_literal(text).isascii()


@pytest.fixture(scope="module")
def node() -> Iterator[Child]:
    """Evaluates literals: `{literal}` in, `{text}` out."""
    program = (
        "require('node:readline').createInterface({input: process.stdin}).on('line', (line) => "
        "console.log(JSON.stringify({text: eval(JSON.parse(line).literal)})))"
    )
    with Child(["node", "-e", program], missing="make test") as child:
        yield child


@hypothesis_settings(deadline=None)
@given(text=texts)
def test_node_reads_back_what_was_written(node: Child, text: str) -> None:
    literal = write_js_literal(text)
    assert literal.isascii()
    assert node.ask({"literal": literal}) == {"text": text}


def test_node_reads_back_every_awkward_sign(node: Child) -> None:
    assert node.ask({"literal": write_js_literal(AWKWARD)}) == {"text": AWKWARD}


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_bash_signs_and_sends_every_awkward_sign(tmp_path: Path, locale: str) -> None:
    check_bash(IN_BASH, tmp_path, LC_ALL=locale)


@hypothesis_settings(max_examples=25, deadline=None)
@given(text=texts_of_bash)
def test_bash_signs_and_sends_what_was_written(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    check_bash(text, tmp_path_factory.getbasetemp())


def check_bash(args: str, folder: Path, **variables: str) -> None:
    """Run the program with a `curl` of ours, which tells what it was to send where."""
    program = action_snippet("curl", with_args(args))
    said = run("bash", folder=folder, text="curl() { echo $2; cat; }\n" + program, **variables)
    url, body = said.removesuffix("\n").split("\n")
    assert url == "https://[::1]:8443/"
    sent = dict(parse_qsl(body, keep_blank_values=True, strict_parsing=True))
    assert sent.pop("Signature") == sign_v1(string_to_sign_v1("POST", sent), SECRET)
    assert re.fullmatch(r"[0-9a-f]{32}", sent.pop("SignatureNonce"))
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", sent.pop("Timestamp"))
    assert sent == {
        "Action": "InvokeThingService",
        "Version": "2018-01-20",
        "Format": "JSON",
        "AccessKeyId": "mine",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        **flatten_arguments(with_args(args).arguments),
    }


def test_bash_sorts_ten_devices_by_their_names(tmp_path: Path) -> None:
    names = [f"lamp-{number}" for number in range(1, 13)]
    call = ActionCall("http", "h", "BatchQueryDeviceDetail", {"ProductKey": "a1", "DeviceName": names}, "mine")
    said = run("bash", folder=tmp_path, text="curl() { cat; }\n" + action_snippet("curl", call))
    sent = dict(parse_qsl(said.removesuffix("\n"), strict_parsing=True))
    assert sent.pop("Signature") == sign_v1(string_to_sign_v1("POST", sent), SECRET)
    assert [sent[f"DeviceName.{number}"] for number in range(1, 13)] == names


# --- Java, Go, C#, PHP ---

ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
"""Of one letter. Source: JLS 17, 3.10.7; The Go Programming Language Specification, Rune literals; C# language
specification, 6.4.5.5; PHP manual, Strings, Double quoted, which has no b.
"""


def read_java_literal(literal: str) -> str:
    """As a compiler does: first `\\uXXXX` anywhere, where an even number of backslashes stands before (JLS 17, 3.3)."""
    units = re.sub(
        r"(?<!\\)((?:\\\\)*)\\u+([0-9a-fA-F]{4})", lambda found: found[1] + chr(int(found[2], 16)), literal[1:-1]
    )
    return read_escapes(units, r"(?!)", 'bfnrt"\\').encode("utf-16", "surrogatepass").decode("utf-16")


def read_csharp_literal(literal: str) -> str:
    """As a compiler does: `\\uXXXX` is a half of what is beyond 16 bits."""
    text = read_escapes(literal[1:-1], r"u[0-9a-fA-F]{4}", 'bfnrt"\\')
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def read_go_literal(literal: str) -> str:
    """As a compiler does: `\\uXXXX` and `\\UXXXXXXXX` are whole characters, never halves."""
    text = read_escapes(literal[1:-1], r"u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}", 'bfnrt"\\')
    assert not re.search("[\ud800-\udfff]", text)
    return text


def read_php_literal(literal: str) -> str:
    """As PHP 7 does; a `$` that begins no variable would stand for itself."""
    assert not re.search(r"(?<!\\)(?:\\\\)*\$", literal)
    return read_escapes(literal[1:-1], r"u\{[0-9a-fA-F]+\}", 'fnrt"\\$')


def read_escapes(text: str, numeric: str, letters: str) -> str:
    assert re.fullmatch(rf'(?:[^"\\\n\r]|\\(?:[{re.escape(letters)}]|{numeric}))*', text)
    return re.sub(
        rf"\\({numeric}|.)",
        lambda found: chr(int(found[1][1:].strip("{}"), 16)) if len(found[1]) > 1 else ESCAPES.get(found[1], found[1]),
        text,
    )


@dataclass(frozen=True)
class Compiled:
    """How a language without an SDK of its own here is read back.

    Attributes:
        grammar: of a real parser.
        literals: what that calls a text.
        write, read: a literal.
    """

    grammar: object
    literals: str
    write: Callable[[str], str]
    read: Callable[[str], str]


COMPILED = {
    "java": Compiled(tree_sitter_java.language(), "string_literal", write_java_literal, read_java_literal),
    "go": Compiled(tree_sitter_go.language(), "interpreted_string_literal", write_go_literal, read_go_literal),
    "csharp": Compiled(tree_sitter_c_sharp.language(), "string_literal", write_java_literal, read_csharp_literal),
    "php": Compiled(tree_sitter_php.language_php(), "encapsed_string", write_php_literal, read_php_literal),
}


@pytest.mark.parametrize("language", COMPILED)
@given(text=texts)
def test_what_was_written_is_read_back(language: str, text: str) -> None:
    literal = COMPILED[language].write(text)
    assert literal.isascii()
    assert literal[0] == literal[-1] == '"'
    assert COMPILED[language].read(literal) == text


def find_nodes(node: Node, kind: str) -> Iterator[Node]:
    if node.type == kind:
        yield node
    for child in node.children:
        yield from find_nodes(child, kind)


def read_texts(language: str, program: str) -> list[str]:
    """The texts of a program that a real parser finds no fault in."""
    found = COMPILED[language]
    root = Parser(Language(found.grammar)).parse(program.encode()).root_node
    assert not root.has_error
    return [found.read(node.text.decode()) for node in find_nodes(root, found.literals) if node.text]


@pytest.mark.parametrize("language", COMPILED)
def test_a_parser_finds_every_parameter_with_its_value(language: str) -> None:
    read = read_texts(language, action_snippet(language, CALL))
    pairs = [text for pair in flatten_arguments(CALL.arguments).items() for text in pair]
    assert read[-len(pairs) :] == pairs
    assert {"[::1]:8443", "2018-01-20", "InvokeThingService", "mine"} <= set(read[: -len(pairs)])


@pytest.mark.parametrize("language", COMPILED)
def test_a_parser_finds_what_the_shape_of_every_action_takes(language: str) -> None:
    for name, action in ACTIONS.items():
        flat = flatten_arguments(make_example(describe_action(name), whole=True))
        read = read_texts(language, action_snippet(language, ActionCall("http", "h:1", name, dict(flat))))
        sent = dict(zip(read[-2 * len(flat) :: 2], read[1 - 2 * len(flat) :: 2], strict=True))
        assert bind(action.request, sent, {}) == bind(action.request, flat, {})
        assert name in read


@pytest.mark.parametrize("language", COMPILED)
@hypothesis_settings(max_examples=25, deadline=None)
@given(text=texts)
def test_a_parser_reads_any_text_as_one_literal(language: str, text: str) -> None:
    assert read_texts(language, action_snippet(language, with_args(text)))[-3] == text


# The vendor's classes as far as the programs use them; they tell what they were handed, a line each, values in hex.

JAVA_CLASSES = {
    "com/aliyuncs/http/MethodType.java": "package com.aliyuncs.http; public enum MethodType { GET, POST }",
    "com/aliyuncs/http/ProtocolType.java": "package com.aliyuncs.http; public enum ProtocolType { HTTP, HTTPS }",
    "com/aliyuncs/profile/DefaultProfile.java": """
        package com.aliyuncs.profile;
        public class DefaultProfile {
            public static DefaultProfile getProfile(String region, String id, String secret) {
                System.out.println("key=" + id + "/" + secret);
                return new DefaultProfile(); } }
    """,
    "com/aliyuncs/CommonResponse.java": """
        package com.aliyuncs;
        public class CommonResponse { String data; public String getData() { return data; } }
    """,
    "com/aliyuncs/DefaultAcsClient.java": """
        package com.aliyuncs;
        public class DefaultAcsClient {
            public DefaultAcsClient(com.aliyuncs.profile.DefaultProfile profile) { }
            public CommonResponse getCommonResponse(CommonRequest request) throws Exception {
                CommonResponse response = new CommonResponse();
                response.data = request.said.toString();
                return response; } }
    """,
    "com/aliyuncs/CommonRequest.java": """
        package com.aliyuncs;
        public class CommonRequest {
            final StringBuilder said = new StringBuilder();
            public void setSysMethod(com.aliyuncs.http.MethodType value) { add("Method", value); }
            public void setSysProtocol(com.aliyuncs.http.ProtocolType value) { add("Protocol", value); }
            public void setSysDomain(String value) { add("Domain", value); }
            public void setSysVersion(String value) { add("Version", value); }
            public void setSysAction(String value) { add("Action", value); }
            public void setSysReadTimeout(Integer value) { add("ReadTimeout", value); }
            public void putQueryParameter(String name, String value) { add(name, value); }
            void add(String name, Object value) {
                said.append(name).append("=");
                for (byte each : value.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8))
                    said.append(String.format("%02x", each));
                said.append("\\n"); } }
    """,
}
"""Source: com.aliyun:aliyun-java-sdk-core 4.6, CommonRequest."""

GO_FILES = {
    "go.mod": """
module program
go 1.18
require github.com/aliyun/alibaba-cloud-sdk-go v1.62.0
replace github.com/aliyun/alibaba-cloud-sdk-go => ./vendored
""",
    "vendored/go.mod": "module github.com/aliyun/alibaba-cloud-sdk-go\ngo 1.18\n",
    "vendored/sdk/requests/requests.go": """
package requests
type CommonRequest struct {
	Method, Scheme, Domain, Version, ApiName string
	QueryParams map[string]string
}
func NewCommonRequest() *CommonRequest { return &CommonRequest{QueryParams: map[string]string{}} }
""",
    "vendored/sdk/client.go": """
package sdk
import "fmt"
import "github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
type Client struct { key string }
type CommonResponse struct { text string }
func (r *CommonResponse) GetHttpContentString() string { return r.text }
func NewClientWithAccessKey(region, id, secret string) (*Client, error) { return &Client{id + "/" + secret}, nil }
func (c *Client) ProcessCommonRequest(r *requests.CommonRequest) (*CommonResponse, error) {
	said := fmt.Sprintf("key=%s\\nMethod=%x\\nProtocol=%x\\nDomain=%x\\nVersion=%x\\nAction=%x\\n",
		c.key, r.Method, r.Scheme, r.Domain, r.Version, r.ApiName)
	for name, value := range r.QueryParams {
		said += fmt.Sprintf("%s=%x\\n", name, value)
	}
	return &CommonResponse{said}, nil
}
""",
}
"""Source: github.com/aliyun/alibaba-cloud-sdk-go, sdk/requests/common_request.go and sdk/client.go."""

PHP_CLASSES = r"""<?php
namespace AlibabaCloud\Client;
class AlibabaCloud {
    public $said = [];
    public static function accessKeyClient($id, $secret) { echo "key=$id/$secret\n"; return new self; }
    public static function rpc() { return new self; }
    public function __call($name, $values) { $this->said[ucfirst($name)] = $values[0] ?? null; return $this; }
    public function toArray() {
        $sent = ['Domain' => $this->said['Host'], 'Protocol' => $this->said['Scheme']]
            + $this->said['Options']['query'] + $this->said;
        unset($sent['Options']);
        foreach ($sent as $name => $value) echo $name, '=', bin2hex((string) $value), "\n";
        return [];
    }
}
"""
"""Source: alibabacloud/client 1.5."""


CSHARP_CLASSES = r"""
using System;
using System.Text;
namespace Aliyun.Acs.Core.Http {
    public enum MethodType { GET, POST }
    public enum ProtocolType { HTTP, HTTPS }
}
namespace Aliyun.Acs.Core.Profile {
    public interface IClientProfile { }
    public class DefaultProfile : IClientProfile {
        public static DefaultProfile GetProfile(string region, string id, string secret) {
            Console.WriteLine("key=" + id + "/" + secret);
            return new DefaultProfile(); } }
}
namespace Aliyun.Acs.Core {
    public class CommonResponse { public string Data { get; set; } }
    public class CommonRequest {
        internal StringBuilder said = new StringBuilder();
        public Http.MethodType? Method { set { Add("Method", value); } }
        public Http.ProtocolType? Protocol { set { Add("Protocol", value); } }
        public string Domain { set { Add("Domain", value); } }
        public string Version { set { Add("Version", value); } }
        public string Action { set { Add("Action", value); } }
        public int TimeoutInMilliSeconds { set { Add("ReadTimeout", value); } }
        public void AddQueryParameters(string name, string value) { Add(name, value); }
        void Add(string name, object value) {
            said.Append(name).Append("=");
            foreach (byte each in Encoding.UTF8.GetBytes(value.ToString())) said.Append(each.ToString("x2"));
            said.Append("\n"); } }
    public class DefaultAcsClient {
        public DefaultAcsClient(Profile.IClientProfile profile) { }
        public CommonResponse GetCommonResponse(CommonRequest request) {
            return new CommonResponse { Data = request.said.ToString() }; } }
}
"""
"""Source: aliyun-net-sdk-core 1.6."""


def run_java(program: str, folder: Path) -> str:
    for path, text in JAVA_CLASSES.items():
        write(folder / path, text)
    write(folder / "CallAction.java", program)
    run("javac", "-encoding", "US-ASCII", "-Xlint:all", "-Werror", "CallAction.java", folder=folder)
    return run("java", "-cp", ".", "CallAction", folder=folder)


def run_go(program: str, folder: Path) -> str:
    for path, text in GO_FILES.items():
        write(folder / path, text)
    write(folder / "main.go", program)
    return run("go", "run", ".", folder=folder, GOFLAGS="-mod=mod", GOPROXY="off", GOTOOLCHAIN="local")


def run_php(program: str, folder: Path) -> str:
    write(folder / "vendor" / "autoload.php", PHP_CLASSES)
    write(folder / "program.php", program)
    return run("php", "program.php", folder=folder).removesuffix("[]\n")


def run_csharp(program: str, folder: Path) -> str:
    write(folder / "Sdk.cs", CSHARP_CLASSES)
    write(folder / "CallAction.cs", program)
    run("mcs", "-warnaserror", "-out:call.exe", "Sdk.cs", "CallAction.cs", folder=folder)
    return run("mono", "call.exe", folder=folder)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


COMPILERS = {
    "javac": ("java", run_java),
    "go": ("go", run_go),
    "mcs": ("csharp", run_csharp),
    "php": ("php", run_php),
}


@pytest.mark.parametrize("compiler", [name for name in COMPILERS if shutil.which(name)])
def test_a_compiler_of_this_machine_hands_every_awkward_sign_to_the_sdk(tmp_path: Path, compiler: str) -> None:
    language, run_program = COMPILERS[compiler]
    key, *lines = run_program(action_snippet(language, CALL), tmp_path).split()
    assert key == f"key=mine/{SECRET}"
    handed = {name: bytes.fromhex(value).decode() for name, _, value in (line.partition("=") for line in lines)}
    sent = {"Method": "POST", "Domain": "[::1]:8443", "Version": "2018-01-20", "Action": "InvokeThingService"}
    assert sent.items() | flatten_arguments(CALL.arguments).items() <= handed.items()
    assert handed["Protocol"].lower() == "https"


# --- against a server ---

COMMANDS = {
    "python": [sys.executable, "-"],
    "python-core": [sys.executable, "-"],
    "node": ["node", "-"],
    "curl": ["bash"],
}


async def call(rig: Rig, language: str, program: str, args: str) -> str:
    """Run a program and be the device that it calls; what the program says."""
    (secret,) = (key.secret for key in (KEY, RAM_KEY) if key.access_key_id in program)
    folder = NODE_PROGRAMS if language == "node" else Path()
    device = await rig.connected(LAMP)
    ran = asyncio.create_task(
        asyncio.to_thread(run, *COMMANDS[language], folder=folder, text=program, **{SECRET_VARIABLE: secret})
    )
    request = await device.expect_call()
    assert request.topic.endswith("/thing/service/Echo")
    assert f'"params":{args}'.encode() in request.payload
    reply = {"id": json.loads(request.payload)["id"], "code": 200, "data": {"IntVal": 424242}}
    await device.answer(request, json.dumps(reply).encode())
    return await ran


@pytest.mark.asyncio
@pytest.mark.parametrize("language", COMMANDS)
async def test_the_program_calls_a_device(filled_database: Path, tmp_path: Path, language: str) -> None:
    model = replace(read_sample("all-types"), product_key=PRODUCT_KEY)
    echo = find_service(model, "Echo")
    assert echo is not None
    async with running(filled_database, tmp_path, clock=SystemClock()) as rig:
        await rig.server.models.publish(model, "1.0", "", 0)
        settings = Settings(data=str(tmp_path))
        program = await write_program(settings, PRODUCT_KEY, language, "Echo", LAMP.device_name, f"http://{rig.http}")
        said = await call(rig, language, program, write_literal(make_example_arguments(echo)))
    assert "RequestId" in said
    assert "424242" in said


@pytest.mark.asyncio
@pytest.mark.parametrize("language", COMMANDS)
async def test_every_awkward_sign_reaches_the_device(filled_database: Path, tmp_path: Path, language: str) -> None:
    module = read_module(document(services=[service("Echo", parameter("Text", {"type": "text"}))]))
    args = write_literal({"Text": AWKWARD})
    async with running(filled_database, tmp_path, clock=SystemClock()) as rig:
        await rig.server.models.publish(ThingModel(PRODUCT_KEY, (module,)), "1.0", "", 0)
        made = replace(
            CALL,
            scheme="http",
            endpoint=str(rig.http),
            arguments={"ProductKey": PRODUCT_KEY, "DeviceName": LAMP.device_name, "Identifier": "Echo", "Args": args},
            access_key_id=KEY.access_key_id,
        )
        assert "424242" in await call(rig, language, action_snippet(language, made), args)
