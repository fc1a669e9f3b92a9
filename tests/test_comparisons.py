"""No secret is compared byte by byte until the first that differs: how long that takes tells how many are right."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import linkstead

PACKAGE = Path(linkstead.__file__).parent
WORDS = "secret|password|passwd|signature|signed|sign|token|csrf|digest|mac|hmac|derived|wanted"
SECRET = re.compile(rf"(^|_)({WORDS})($|_|s$)", re.IGNORECASE)

HARMLESS = {
    # what TLS a peer speaks; the header of a protocol
    ("doctor/ports.py", "found != wanted"),
    ("amqp/protocol.py", "header != wanted"),
}
"""What is called like a secret and is none, with where it stands."""

NO_SECRETS = {"tsl/literal.py"}
"""Files in which these words mean something else: a sign is a character of an expression."""


def _names(node: ast.expr) -> Iterator[str]:
    """What the value is called: names and attributes, of a call those of the function, of a subscript the key."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Attribute(attr=name):
            yield name
        case ast.Call(func=function):
            yield from _names(function)
        case ast.Subscript(value=value, slice=key):
            yield from _names(value)
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value
        case ast.Await(value=value):
            yield from _names(value)


def _is_open(node: ast.expr) -> bool:
    """A constant, or one by its name: what everybody may read can be compared in any way."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper()
        case ast.Tuple(elts=elements) | ast.Set(elts=elements) | ast.List(elts=elements):
            return all(_is_open(element) for element in elements)
    return False


def find_comparisons(source: str) -> Iterator[str]:
    """Every == and != between two values of which one is called like a secret and neither is a constant."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        if not any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops) or any(map(_is_open, sides)):
            continue
        if any(SECRET.search(name) for side in sides for name in _names(side)):
            yield ast.unparse(node)


def test_secrets_are_compared_in_constant_time() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), comparison)
        for path in PACKAGE.rglob("*.py")
        if str(path.relative_to(PACKAGE)) not in NO_SECRETS
        for comparison in find_comparisons(path.read_text(encoding="utf-8"))
    }
    assert found <= HARMLESS, "use hmac.compare_digest"


def test_what_it_looks_for_is_found() -> None:
    found = list(
        find_comparisons(
            "a = password == other\n"
            "b = key.secret != given\n"
            "c = sign_login(x) == y\n"
            "d = fields['Signature'] == wanted\n"
            "e = token == ''\n"
            "f = version == METHOD_VERSION\n"
            "g = wanted is not None\n"
        )
    )
    assert len(found) == 4
