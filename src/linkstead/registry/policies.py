"""What a RAM user may do: policies in the vendor's form, and how a request is held against them.

Source: RAM reference, policy language (Version, Statement with Effect, Action, Resource; a Deny wins; what no statement
allows is refused). Conditions, NotAction and NotResource are not served: a policy with one of them is refused, so that
none is taken for wider or narrower than it is.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import translate
from typing import Literal

import msgspec

POLICY_CHARS_MAX = 6_144
"""Source: RAM reference, limits, length of a custom policy."""

POLICIES_PER_ACCOUNT_MAX = 1_000
"""RAM users of an account that have a policy. Source: RAM reference, limits, users of an account."""

RESOURCE_RULE = "*, a ProductKey (with * and ?), or acs:iot:REGION:ACCOUNT:product/PRODUCT_KEY"
ACTION_RULE = "*, an action like RRpc or iot:Query*, or linkstead:*"

_ACTION = re.compile(r"(?:(iot|linkstead):)?([A-Za-z*?]{1,64})", re.IGNORECASE)
_RESOURCE = re.compile(r"(?:acs:iot:[A-Za-z0-9\-*]*:([0-9]+|\*):)?(?:product/)?([A-Za-z0-9*?]{1,64})")


class PolicyMalformed(Exception):
    """A document that is no policy, or says more than is served; the text names the rule."""


class _Statement(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    effect: Literal["Allow", "Deny"]
    action: str | list[str]
    resource: str | list[str]


class _Document(msgspec.Struct, rename="pascal", forbid_unknown_fields=True):
    version: Literal["1"]
    statement: list[_Statement]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A statement made ready. `products` None means every one."""

    is_allowing: bool
    actions: re.Pattern[str]
    products: re.Pattern[str] | None


class Policy:
    """What the statements of one document allow. Without statements: nothing."""

    __slots__ = ("_rules",)

    def __init__(self, rules: Collection[_Rule] = ()) -> None:
        self._rules = tuple(rules)

    def allows_everywhere(self, action: str) -> bool:
        """True when the action may be done whatever product it is about, none excepted.

        Args:
            action: with its service in front, as `iot:RRpc`.
        """
        rules = [rule for rule in self._rules if rule.actions.fullmatch(action)]
        return any(rule.products is None for rule in rules) and all(rule.is_allowing for rule in rules)

    def allows(self, action: str, product_keys: Collection[str]) -> bool:
        """True when the action may be done on all of these products.

        A request that names no product may be about each, so `allows_everywhere` decides on it.
        """
        if not product_keys:
            return self.allows_everywhere(action)
        rules = [rule for rule in self._rules if rule.actions.fullmatch(action)]
        return all(_allows_product(rules, product_key) for product_key in product_keys)


def _allows_product(rules: list[_Rule], product_key: str) -> bool:
    matching = [rule for rule in rules if rule.products is None or rule.products.fullmatch(product_key)]
    return bool(matching) and all(rule.is_allowing for rule in matching)


def parse_policy(document: str, account_id: str) -> Policy:
    """Read a policy.

    Args:
        document: JSON, at most `POLICY_CHARS_MAX`, as `{"Version":"1","Statement":[{"Effect":"Allow",
            "Action":["iot:Query*","RRpc"],"Resource":"*"}]}`.
        account_id: whose user it is for; a resource that names another account is a mistake.

    Raises:
        PolicyMalformed: see `RESOURCE_RULE` and `ACTION_RULE`.
    """
    if len(document) > POLICY_CHARS_MAX:
        raise PolicyMalformed(f"a policy takes at most {POLICY_CHARS_MAX} characters")
    try:
        parsed = msgspec.json.decode(document, type=_Document)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise PolicyMalformed(str(error)) from None
    if not parsed.statement:
        raise PolicyMalformed("Statement: at least one")
    return Policy([_make_rule(statement, account_id) for statement in parsed.statement])


def _make_rule(statement: _Statement, account_id: str) -> _Rule:
    actions = [_read_action(action) for action in _listed("Action", statement.action)]
    products = [_read_resource(resource, account_id) for resource in _listed("Resource", statement.resource)]
    return _Rule(
        is_allowing=statement.effect == "Allow",
        # The vendor's RAM does not look at the case of an action, a ProductKey has one.
        actions=_any_of(actions, re.IGNORECASE),
        products=None if "*" in products else _any_of(products, re.NOFLAG),
    )


def _listed(name: str, value: str | list[str]) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not values:
        raise PolicyMalformed(f"{name}: at least one")
    return values


def _read_action(text: str) -> str:
    match = _ACTION.fullmatch(text)
    if match is None:
        raise PolicyMalformed(f"Action {text!r}: {ACTION_RULE}")
    service, name = match.groups()
    return "*" if service is None and name == "*" else f"{service or 'iot'}:{name}"


def _read_resource(text: str, account_id: str) -> str:
    match = _RESOURCE.fullmatch(text)
    if match is None or match[1] not in (None, "*", account_id):
        raise PolicyMalformed(f"Resource {text!r}: {RESOURCE_RULE}")
    return match[2]


def _any_of(patterns: list[str], flags: re.RegexFlag) -> re.Pattern[str]:
    # What `translate` makes takes time that grows with the text and the pattern, however many * there are.
    return re.compile("|".join(translate(pattern) for pattern in patterns), flags)
