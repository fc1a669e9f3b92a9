"""That values come through whatever signs they are made of, and that the programs call a device."""

import ast
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from linkstead.api.signatures import sign_v1, string_to_sign_v1
from linkstead.cli.service_call import write_program
from linkstead.cli.snippets import (
    LANGUAGES,
    READ_TIMEOUT_MS,
    SECRET_VARIABLE,
    ServiceCall,
    service_snippet,
    write_go_literal,
    write_java_literal,
    write_js_literal,
)
from linkstead.config import Address, Settings
from linkstead.registry import DeviceKey
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
CALL = ServiceCall(
    scheme="https",
    address=Address("::1", 8443),
    access_key_id="mine",
    key=DeviceKey("a1Lamp00001", "lamp-01"),
    instance_id="iot-060a0001",
    identifier="testFb:testService",
    args=AWKWARD,
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


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_demo_key_needs_nothing_of_the_environment(language: str) -> None:
    program = service_snippet(language, replace(CALL, access_key_id="linkstead-dev"))
    assert "linkstead-dev-secret" in program
    assert SECRET_VARIABLE not in program
    assert "linkstead-dev-secret" not in service_snippet(language, CALL)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_public_instance_is_not_named(language: str) -> None:
    program = service_snippet(language, CALL)
    lines = service_snippet(language, replace(CALL, instance_id="")).splitlines()
    assert len(lines) == len(program.splitlines()) - 1
    assert "iot-060a0001" in program
    assert not any("instance" in line.lower() for line in lines)


# --- Python, Node, bash ---


@given(texts)
def test_python_reads_back_what_was_written(text: str) -> None:
    program = service_snippet("python", replace(CALL, args=text))
    (request,) = (
        node
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "InvokeThingServiceRequest"
    )
    assert {keyword.arg: ast.literal_eval(keyword.value) for keyword in request.keywords} == {
        "product_key": "a1Lamp00001",
        "device_name": "lamp-01",
        "identifier": "testFb:testService",
        "args": text,
        "iot_instance_id": "iot-060a0001",
    }


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
    """Run the program with a `curl` of ours, which tells what it was to fetch."""
    program = service_snippet("curl", replace(CALL, args=args))
    said = run("bash", folder=folder, text='curl() { printf %s "$2"; }\n' + program, **variables)
    url = urlsplit(said.removesuffix("\n"))
    assert (url.scheme, url.netloc, url.path) == ("https", "[::1]:8443", "/")
    query = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True))
    assert query.pop("Signature") == sign_v1(string_to_sign_v1("GET", query), SECRET)
    assert re.fullmatch(r"[0-9a-f]{32}", query.pop("SignatureNonce"))
    assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", query.pop("Timestamp"))
    assert query == {
        "Action": "InvokeThingService",
        "Version": "2018-01-20",
        "Format": "JSON",
        "AccessKeyId": "mine",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "ProductKey": "a1Lamp00001",
        "DeviceName": "lamp-01",
        "Identifier": "testFb:testService",
        "Args": args,
        "IotInstanceId": "iot-060a0001",
    }


# --- Java, Go ---

CONFIG = {
    "AccessKeyId": "mine",
    "AccessKeySecret": SECRET,
    "Endpoint": "[::1]:8443",
    "Protocol": "https",
    "ReadTimeout": str(READ_TIMEOUT_MS),
}
REQUEST = {
    "ProductKey": "a1Lamp00001",
    "DeviceName": "lamp-01",
    "Identifier": "testFb:testService",
    "Args": AWKWARD,
    "IotInstanceId": "iot-060a0001",
}
"""What the programs hand to the SDK, by the names of its setters."""

ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
"""Those that both languages have. Source: JLS 17, 3.10.7; The Go Programming Language Specification, Rune literals."""


def read_java_literal(literal: str) -> str:
    """As a compiler does: first `\\uXXXX` anywhere, where an even number of backslashes stands before (JLS 17, 3.3)."""
    units = re.sub(
        r"(?<!\\)((?:\\\\)*)\\u+([0-9a-fA-F]{4})", lambda found: found[1] + chr(int(found[2], 16)), literal[1:-1]
    )
    return read_escapes(units, r"(?!)").encode("utf-16", "surrogatepass").decode("utf-16")


def read_go_literal(literal: str) -> str:
    """As a compiler does: `\\uXXXX` and `\\UXXXXXXXX` are whole characters, never halves."""
    text = read_escapes(literal[1:-1], r"u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}")
    assert not re.search("[\ud800-\udfff]", text)
    return text


def read_escapes(text: str, numeric: str) -> str:
    assert re.fullmatch(rf'(?:[^"\\\n\r]|\\(?:[bfnrt"\\]|{numeric}))*', text)
    return re.sub(
        rf"\\({numeric}|.)",
        lambda found: ESCAPES[found[1]] if found[1] in ESCAPES else chr(int(found[1][1:], 16)),
        text,
    )


LITERALS: list[tuple[Callable[[str], str], Callable[[str], str]]] = [
    (write_java_literal, read_java_literal),
    (write_go_literal, read_go_literal),
]


@pytest.mark.parametrize(("write", "read"), LITERALS, ids=["java", "go"])
@given(text=texts)
def test_java_and_go_read_back_what_was_written(
    write: Callable[[str], str], read: Callable[[str], str], text: str
) -> None:
    literal = write(text)
    assert literal.isascii()
    assert literal[0] == literal[-1] == '"'
    assert read(literal) == text


# The vendor's classes as far as the programs use them; they tell what they were handed, a line each, values in hex.

JAVA_CLASSES = {
    "com/aliyun/teaopenapi/models/Config.java": """
        package com.aliyun.teaopenapi.models;
        public class Config { public final com.aliyun.Said said = new com.aliyun.Said(); %s
            public Config setReadTimeout(Integer value) { said.add("ReadTimeout", value); return this; } }
    """,
    "com/aliyun/iot20180120/models/InvokeThingServiceRequest.java": """
        package com.aliyun.iot20180120.models;
        public class InvokeThingServiceRequest { public final com.aliyun.Said said = new com.aliyun.Said(); %s }
    """,
    "com/aliyun/iot20180120/models/InvokeThingServiceResponse.java": """
        package com.aliyun.iot20180120.models;
        public class InvokeThingServiceResponse {
            public InvokeThingServiceResponseBody body;
            public InvokeThingServiceResponseBody getBody() { return body; } }
    """,
    "com/aliyun/iot20180120/models/InvokeThingServiceResponseBody.java": """
        package com.aliyun.iot20180120.models;
        public class InvokeThingServiceResponseBody {
            public String text;
            public String toMap() throws IllegalAccessException { return text; } }
    """,
    "com/aliyun/iot20180120/Client.java": """
        package com.aliyun.iot20180120;
        import com.aliyun.iot20180120.models.*;
        public class Client {
            private final com.aliyun.teaopenapi.models.Config config;
            public Client(com.aliyun.teaopenapi.models.Config config) throws Exception { this.config = config; }
            public InvokeThingServiceResponse invokeThingService(InvokeThingServiceRequest request) throws Exception {
                InvokeThingServiceResponse response = new InvokeThingServiceResponse();
                response.body = new InvokeThingServiceResponseBody();
                response.body.text = config.said.toString() + request.said;
                return response; } }
    """,
    "com/aliyun/Said.java": """
        package com.aliyun;
        public class Said {
            private final StringBuilder lines = new StringBuilder();
            public void add(String name, Object value) {
                lines.append(name).append("=");
                for (byte each : value.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8))
                    lines.append(String.format("%02x", each));
                lines.append("\\n"); }
            public String toString() { return lines.toString(); } }
    """,
}
JAVA_SETTER = 'public %s set%s(String value) { said.add("%s", value); return this; }'

GO_FILES = {
    "go.mod": """
module program
go 1.18
require (
	github.com/alibabacloud-go/darabonba-openapi/v2 v2.0.0
	github.com/alibabacloud-go/iot-20180120/v6 v6.0.0
)
replace (
	github.com/alibabacloud-go/darabonba-openapi/v2 => ./openapi
	github.com/alibabacloud-go/iot-20180120/v6 => ./iot
)
""",
    "openapi/go.mod": "module github.com/alibabacloud-go/darabonba-openapi/v2\ngo 1.18\n",
    "openapi/client/client.go": """
package client
import "fmt"
type Config struct { Said string }
func (c *Config) SetReadTimeout(value int) *Config {
	c.Said += fmt.Sprintf("ReadTimeout=%x\\n", fmt.Sprint(value))
	return c
}
""",
    "iot/go.mod": "module github.com/alibabacloud-go/iot-20180120/v6\ngo 1.18\n",
    "iot/client/client.go": """
package client
import "fmt"
import openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
type Client struct { config *openapi.Config }
type InvokeThingServiceRequest struct { Said string }
type InvokeThingServiceResponse struct { Body *InvokeThingServiceResponseBody }
type InvokeThingServiceResponseBody struct { text string }
func (b InvokeThingServiceResponseBody) String() string { return b.text }
func NewClient(config *openapi.Config) (*Client, error) { return &Client{config}, nil }
func (c *Client) InvokeThingService(r *InvokeThingServiceRequest) (*InvokeThingServiceResponse, error) {
	return &InvokeThingServiceResponse{&InvokeThingServiceResponseBody{c.config.Said + r.Said}}, nil
}
""",
}
GO_SETTER = """
func (c *%s) Set%s(value string) *%s { c.Said += fmt.Sprintf("%s=%%x\\n", value); return c }
"""


def run_java(program: str, folder: Path) -> str:
    for path, text in JAVA_CLASSES.items():
        fields = {"Config": CONFIG, "InvokeThingServiceRequest": REQUEST}.get(Path(path).stem, {})
        setters = [JAVA_SETTER % (Path(path).stem, name, name) for name in fields if name != "ReadTimeout"]
        write(folder / path, text.replace("%s", "\n".join(setters)))
    write(folder / "CallService.java", program)
    run("javac", "-encoding", "US-ASCII", "-Xlint:all", "-Werror", "CallService.java", folder=folder)
    return run("java", "-cp", ".", "CallService", folder=folder)


def run_go(program: str, folder: Path) -> str:
    for path, text in GO_FILES.items():
        kind, fields = ("Config", CONFIG) if path.startswith("openapi") else ("InvokeThingServiceRequest", REQUEST)
        setters = [GO_SETTER % (kind, name, kind, name) for name in fields if name != "ReadTimeout"]
        write(folder / path, text + "".join(setters) if path.endswith(".go") else text)
    write(folder / "main.go", program)
    return run("go", "run", ".", folder=folder, GOFLAGS="-mod=mod", GOPROXY="off", GOTOOLCHAIN="local")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read_setters(program: str, read: Callable[[str], str]) -> dict[str, str]:
    """What a program hands to the SDK, by our own reading of its text."""
    assert program.isascii()
    found = re.findall(r'\b[sS]et(\w+)\((?:(\d+)|("(?:[^"\\]|\\.)*")|\w+\.\w+\("(\w+)"\))\)', program)
    assert [variable for *_, variable in found if variable] == [SECRET_VARIABLE]
    return {name: number or (read(literal) if literal else SECRET) for name, number, literal, _ in found}


@pytest.mark.parametrize(
    ("language", "compiler", "run_program", "read"),
    [("java", "javac", run_java, read_java_literal), ("go", "go", run_go, read_go_literal)],
    ids=["java", "go"],
)
def test_java_and_go_hand_every_awkward_sign_to_the_sdk(
    tmp_path: Path,
    language: str,
    compiler: str,
    run_program: Callable[[str, Path], str],
    read: Callable[[str], str],
) -> None:
    program = service_snippet(language, CALL)
    handed = read_setters(program, read)
    if shutil.which(compiler):
        pairs = [line.partition("=") for line in run_program(program, tmp_path).split()]
        assert handed == {name: bytes.fromhex(value).decode() for name, _, value in pairs}
    assert handed == {**CONFIG, **REQUEST}


# --- against a server ---

COMMANDS = {"python": [sys.executable, "-"], "node": ["node", "-"], "curl": ["bash"]}


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
        made = ServiceCall("http", rig.http, KEY.access_key_id, LAMP, "", "Echo", args)
        assert "424242" in await call(rig, language, service_snippet(language, made), args)
