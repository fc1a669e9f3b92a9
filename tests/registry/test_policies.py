"""What policies allow, and what is none."""

import json
from typing import Any

import pytest

from linkstead.registry.policies import POLICY_CHARS_MAX, Policy, PolicyMalformed, parse_policy

ACCOUNT_ID = "1001"
LAMP, FAN = "a1Lamp00001", "a1Fan000001"


def statement(effect: str, action: Any, resource: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": action, "Resource": resource}


def policy(*statements: dict[str, Any], **fields: Any) -> Policy:
    return parse_policy(json.dumps({"Version": "1", "Statement": list(statements), **fields}), ACCOUNT_ID)


def test_without_a_policy_nothing_is_allowed() -> None:
    assert not Policy().allows("iot:QueryProduct", [LAMP])
    assert not Policy().allows("iot:QueryProductList", [])
    assert not Policy().allows_everywhere("iot:QueryProduct")


@pytest.mark.parametrize(
    ("action", "asked", "is_allowed"),
    [
        ("*", "iot:RRpc", True),
        ("*", "linkstead:QueryCalls", True),
        ("iot:*", "iot:RRpc", True),
        ("iot:*", "linkstead:QueryCalls", False),
        ("linkstead:*", "linkstead:QueryCalls", True),
        ("iot:Query*", "iot:QueryProduct", True),
        ("Query*", "iot:QueryProduct", True),
        ("iot:Query*", "iot:UpdateProduct", False),
        ("iot:Query*", "iot:BatchQueryDevice", False),
        ("RRpc", "iot:RRpc", True),
        ("iot:rrpc", "iot:RRpc", True),
        ("iot:RRp?", "iot:RRpc", True),
        ("iot:RRp?", "iot:RRp", False),
        ("iot:Pub", "iot:PubBroadcast", False),
        ("iot:*Topic", "iot:CreateProductTopic", True),
        (["iot:Pub", "RRpc"], "iot:RRpc", True),
        ("IOT:RRpc", "iot:RRpc", True),
    ],
)
def test_an_action_is_matched_whole_with_wildcards(action: Any, asked: str, is_allowed: bool) -> None:
    assert policy(statement("Allow", action, "*")).allows(asked, [LAMP]) is is_allowed


@pytest.mark.parametrize(
    ("resource", "is_allowed"),
    [
        ("*", True),
        (LAMP, True),
        (FAN, False),
        ("a1L*", True),
        ("a1Lamp0000?", True),
        ([FAN, LAMP], True),
        (LAMP.lower(), False),
        (f"product/{LAMP}", True),
        (f"acs:iot:*:*:product/{LAMP}", True),
        (f"acs:iot:cn-shanghai:{ACCOUNT_ID}:product/{LAMP}", True),
        (f"acs:iot:*:{ACCOUNT_ID}:*", True),
        ("acs:iot:*:*:*", True),
        (f"acs:iot:*:*:product/{FAN}", False),
    ],
)
def test_a_resource_is_a_product(resource: Any, is_allowed: bool) -> None:
    assert policy(statement("Allow", "*", resource)).allows("iot:RRpc", [LAMP]) is is_allowed


def test_a_deny_wins_wherever_it_stands() -> None:
    allow, deny = statement("Allow", "*", "*"), statement("Deny", "iot:Delete*", LAMP)
    for both in (policy(allow, deny), policy(deny, allow)):
        assert not both.allows("iot:DeleteDevice", [LAMP])
        assert both.allows("iot:DeleteDevice", [FAN])
        assert both.allows("iot:QueryDevice", [LAMP])


def test_all_products_of_a_request_must_be_allowed() -> None:
    both = policy(statement("Allow", "CopyThingModel", [LAMP, FAN]))
    assert both.allows("iot:CopyThingModel", [LAMP, FAN])
    assert not policy(statement("Allow", "CopyThingModel", LAMP)).allows("iot:CopyThingModel", [LAMP, FAN])


def test_a_request_without_a_product_may_be_about_each() -> None:
    assert policy(statement("Allow", "*", "*")).allows("iot:QueryProductList", [])
    assert not policy(statement("Allow", "*", LAMP)).allows("iot:QueryProductList", [])
    allow, deny = statement("Allow", "*", "*"), statement("Deny", "*", LAMP)
    assert not policy(allow, deny).allows("iot:QueryProductList", [])


def test_many_wildcards_take_no_longer() -> None:
    hostile = "*".join("a" * 30)
    assert not policy(statement("Allow", hostile, "*")).allows(f"iot:{'a' * 60}b", [LAMP])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "JSON is malformed|truncated"),
        ("[]", "object"),
        ('{"Version":"1","Statement":[]}', "Statement: at least one"),
        ('{"Version":"2","Statement":[]}', "Invalid enum value"),
        ('{"Version":"1"}', "Statement"),
    ],
)
def test_what_is_no_document_is_refused(document: str, said: str) -> None:
    with pytest.raises(PolicyMalformed, match=said):
        parse_policy(document, ACCOUNT_ID)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (statement("allow", "*", "*"), "Invalid enum value"),
        (statement("Allow", [], "*"), "Action: at least one"),
        (statement("Allow", "*", []), "Resource: at least one"),
        (statement("Allow", "ecs:*", "*"), "Action 'ecs:"),
        (statement("Allow", "iot:", "*"), "Action 'iot:'"),
        (statement("Allow", "iot:[Q]*", "*"), "Action"),
        (statement("Allow", "*", "acs:iot:*:1002:*"), "Resource 'acs:iot"),
        (statement("Allow", "*", "acs:ecs:*:*:*"), "Resource"),
        (statement("Allow", "*", "consumergroup/x"), "Resource"),
        ({**statement("Allow", "*", "*"), "Condition": {}}, "unknown field `Condition`"),
        ({"Effect": "Allow", "NotAction": "*", "Resource": "*"}, "NotAction|Action"),
    ],
)
def test_a_statement_that_says_what_is_not_served_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(PolicyMalformed, match=said):
        policy(wrong)


def test_a_document_has_its_bound() -> None:
    text = json.dumps({"Version": "1", "Statement": [statement("Allow", "*", "*")]})
    assert parse_policy(text.ljust(POLICY_CHARS_MAX), ACCOUNT_ID).allows("iot:RRpc", [LAMP])
    with pytest.raises(PolicyMalformed, match="at most 6144 characters"):
        parse_policy(text.ljust(POLICY_CHARS_MAX + 1), ACCOUNT_ID)
