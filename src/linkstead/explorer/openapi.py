"""The OpenAPI 3.1 description of what is served, made from the reference of the actions."""

import functools
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from linkstead.api.openapi import VERSION
from linkstead.api.parameters import FORM_TYPE
from linkstead.explorer.reference import ActionReference, AnswerField, Parameter, describe_actions

Schema = dict[str, Any]

INTRODUCTION = """\
The device-invocation protocol of Alibaba Cloud IoT Platform, served by Linkstead. Every action is a request of `/`, GET
or POST, its name in `Action` (signature version 1) or in the header `x-acs-action` (version 3); its parameters may
stand in the query and in the form alike. A repeated parameter is `Name.1`, `Name.2`, …, with `Name.1.Field` where its
entries have fields. What an action refuses is HTTP 200 with `"Success": false` and a `Code`; what the gateway refuses
has an HTTP status of its own."""

_ERROR = "GatewayError"


@functools.cache
def encode_openapi() -> bytes:
    """The description as JSON in UTF-8."""
    return msgspec.json.encode(make_openapi())


def make_openapi() -> Schema:
    """The description as an object. Source: OpenAPI Specification 3.1.1."""
    actions = describe_actions()
    chapters = sorted({reference.chapter for reference in actions.values()})
    return {
        "openapi": "3.1.0",
        "info": {"title": "Linkstead", "version": VERSION, "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{"v3": []}, {"v1": []}],
        "tags": [{"name": chapter} for chapter in chapters],
        "paths": {f"/?Action={name}": {"post": _describe_operation(each)} for name, each in actions.items()},
        "components": {
            "securitySchemes": {
                "v1": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "Signature",
                    "description": "HMAC-SHA1 over all parameters, with AccessKeyId, SignatureMethod, "
                    "SignatureVersion, SignatureNonce and Timestamp beside it.",
                },
                "v3": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "ACS3-HMAC-SHA256 over headers and query, with x-acs-action, x-acs-version, "
                    "x-acs-date, x-acs-signature-nonce and x-acs-content-sha256 beside it.",
                },
            },
            "schemas": {
                _ERROR: {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in ("RequestId", "HostId", "Code", "Message")},
                    "required": ["RequestId", "HostId", "Code", "Message"],
                },
                **{f"{name}Answer": _describe_object(reference.answer) for name, reference in actions.items()},
            },
        },
    }


def _describe_operation(reference: ActionReference) -> Schema:
    answer = {"schema": {"$ref": f"#/components/schemas/{reference.name}Answer"}}
    error = {"schema": {"$ref": f"#/components/schemas/{_ERROR}"}}
    operation: Schema = {
        "operationId": reference.name,
        "summary": reference.text["en"],
        "tags": [reference.chapter],
        "requestBody": {"content": {FORM_TYPE: {"schema": _describe_form(reference.parameters)}}},
        "responses": {
            "200": {"description": "Answered; `Success` tells how.", "content": {"application/json": answer}},
            "default": {"description": "Refused by the gateway.", "content": {"application/json": error}},
        },
        "x-codes": [row.code for row in reference.codes],
        "x-is-call": reference.is_call,
    }
    if reference.quota is not None:
        operation["x-quota-per-second"] = reference.quota
    return operation


def _describe_form(parameters: Iterable[Parameter]) -> Schema:
    properties: dict[str, Schema] = {}
    patterns: dict[str, Schema] = {}
    required: list[str] = []
    for parameter in parameters:
        if not parameter.is_repeated:
            properties[parameter.name] = _describe_parameter(parameter)
            required += [parameter.name] if parameter.is_required else []
            continue
        entries = {f".{field.name}": field for field in parameter.fields} or {"": parameter}
        for end, each in entries.items():
            patterns[rf"^{parameter.name}\.[1-9][0-9]*{re.escape(end)}$"] = _describe_parameter(each)
            required += [f"{parameter.name}.1{end}"] if parameter.is_required and each.is_required else []
    schema: Schema = {"type": "object", "properties": properties}
    if patterns:
        schema["patternProperties"] = patterns
    if required:
        schema["required"] = required
    return schema


_SPAN = re.compile(r"([0-9]+)\.\.([0-9]*)")


def _describe_parameter(parameter: Parameter) -> Schema:
    schema: Schema = {"type": parameter.kind, "description": parameter.text["en"]}
    if parameter.range and parameter.kind == "string":
        if " | " in parameter.range:
            schema["enum"] = parameter.range.split(" | ")
        else:
            schema["description"] += f" ({parameter.range})"
    elif span := _SPAN.fullmatch(parameter.range):
        schema["minimum"] = int(span[1])
        if span[2]:
            schema["maximum"] = int(span[2])
    elif parameter.range:
        schema["enum"] = [int(choice) for choice in parameter.range.split(" | ")]
    if parameter.default is not None:
        schema["default"] = parameter.default
    return schema


def _describe_object(fields: Iterable[AnswerField]) -> Schema:
    fields = tuple(fields)
    schema: Schema = {"type": "object", "properties": {field.name: _describe_field(field) for field in fields}}
    if required := [field.name for field in fields if not field.is_optional]:
        schema["required"] = required
    return schema


def _describe_field(field: AnswerField) -> Schema:
    schema: Schema = _describe_object(field.fields) if field.fields else {"type": field.kind}
    return {"type": "array", "items": schema} if field.is_repeated else schema
