"""Texts as literals of programming languages, so that they arrive whatever signs they are made of.

All are ASCII but those of bash: the programs can be saved in whatever encoding.
"""

import json
import re
import shlex


def write_python_literal(text: str) -> str:
    """A text as Python has it."""
    return ascii(text)


def write_js_literal(text: str) -> str:
    """A text as JavaScript has it, in single quotes: JSON reads best in these."""
    return "'" + _escape(text).replace('\\"', '"').replace("'", "\\'") + "'"


def write_java_literal(text: str) -> str:
    """A text as Java and C# have it: what is beyond 16 bits in two halves, as in JSON.

    Source: JLS 17, 3.10.7; C# language specification, 6.4.5.6 String literals.
    """
    return f'"{_escape(text)}"'


def write_go_literal(text: str) -> str:
    """A text as Go has it: what is beyond 16 bits in one piece."""
    return re.sub(r"[^\x00-\x7f]", lambda found: f"\\U{ord(found[0]):08x}", json.dumps(text, ensure_ascii=False))


_PHP_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def write_php_literal(text: str) -> str:
    """A text as PHP 7 and later have it, in double quotes. Source: PHP manual, Strings, Double quoted."""
    return '"' + re.sub(r'[\\"$\x00-\x1f\x7f-\U0010ffff]', _escape_for_php, text) + '"'


def _escape_for_php(found: re.Match[str]) -> str:
    return _PHP_ESCAPES.get(found[0]) or f"\\u{{{ord(found[0]):x}}}"


def write_bash_literal(text: str) -> str:
    """A text without NUL as bash has it, in single quotes where it needs any."""
    return shlex.quote(text)


def _escape(text: str) -> str:
    return json.dumps(text)[1:-1]
