"""The proxies that we ship: concepts that occur in source code, told by rules of the text."""

from typing import Any

from sparselex.atlas.proxies.classes import CharactersProxy
from sparselex.atlas.proxies.scripts import ScriptProxy
from sparselex.atlas.proxies.spans import RegexProxy, WordsProxy
from sparselex.base.registry import Registry

_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

SCRIPT = "script-"
"""What names of scripts begin with: `script-greek`."""

PROXIES: Registry[Any] = Registry(
    "proxy",
    {
        "hexadecimal-numbers": RegexProxy(
            pattern=r"\b0[xX][0-9a-fA-F_]+", said="tokens of numbers written in hexadecimal, such as 0x1F"
        ),
        "hexadecimal-digits": CharactersProxy(
            alphabet=_DIGITS + "abcdef", least_tokens=2, said="tokens in runs of lower case hexadecimal digits"
        ),
        "base64": CharactersProxy(
            alphabet=_LETTERS + _LETTERS.upper() + _DIGITS + "+/",
            least_tokens=2,
            said="tokens in runs of letters, digits, + and / alone that are unlikely as anything else",
        ),
        "digits": CharactersProxy(alphabet=_DIGITS, said="tokens of decimal digits alone"),
        "capitals": CharactersProxy(alphabet=_LETTERS.upper(), said="tokens of ASCII capital letters alone"),
        "string-escapes": RegexProxy(
            pattern=r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}\n]*\}|[0-7]{1,3}|[abfnrtv])",
            said="tokens of escapes in string literals, such as \\x0b and \\n",
        ),
        "docstring-english": RegexProxy(
            pattern=r'^[ \t]*[rRuU]?"""(?P<inside>(?:[^"\\]|\\.|"(?!""))*)',
            said="tokens of docstrings, in three double quotes that begin a line",
        ),
        "comments": RegexProxy(
            pattern=r"(?:^|[ \t])#[^\n]*", said="tokens of comments: # at the beginning of a line or behind a blank"
        ),
        "indentation-after-colon": RegexProxy(
            pattern=r":[ \t]*\n(?P<inside>[ \t]+)", said="tokens of the indentation of the line behind a colon"
        ),
        "self": WordsProxy(of=("self",), said="tokens of the name self"),
        "import-lines": RegexProxy(
            pattern=r"^[ \t]*(?:from[ \t]+[\w.]+[ \t]+import\b|import\b)[^\n]*", said="tokens of import statements"
        ),
        "urls": RegexProxy(pattern=r"\bhttps?://[^\s\"'<>)\]]+", said="tokens of URLs, http:// and https://"),
        "dunder-names": RegexProxy(
            pattern=r"\b__[A-Za-z0-9]\w*?__\b", said="tokens of names between two pairs of underscores"
        ),
        "camel-case": RegexProxy(
            pattern=r"\b(?:[A-Z][a-z0-9]+){2,}\b", said="tokens of names in CamelCase, of two words or more"
        ),
        "test-assertions": RegexProxy(
            pattern=r"\bself\.assert\w*|\bassert\b", said="tokens of self.assertEqual and its like, and of assert"
        ),
        "unicode-names": RegexProxy(
            pattern=r"\b[A-Z]{2,}(?:[ -][A-Z0-9]+){2,}\b",
            said="tokens of three or more words in capitals, as characters are named in Unicode",
        ),
        "constants": RegexProxy(
            pattern=r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", said="tokens of names in capitals with underscores"
        ),
        "decorators": RegexProxy(pattern=r"^[ \t]*@[\w.]+", said="tokens of decorators"),
        "function-names": RegexProxy(pattern=r"\bdef[ \t]+(?P<inside>\w+)", said="tokens of names that def defines"),
        "class-names": RegexProxy(pattern=r"^[ \t]*class[ \t]+(?P<inside>\w+)", said="tokens of names of classes"),
        "exceptions": RegexProxy(
            pattern=r"\b[A-Z]\w*(?:Error|Exception|Warning)\b", said="tokens of names of exceptions and warnings"
        ),
        "numbers": RegexProxy(
            pattern=r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?\b(?!\.\w)", said="tokens of decimal numbers"
        ),
        "format-fields": RegexProxy(
            pattern=r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]\b|\{\w*(?:![rsa])?(?::[^{}\n]*)?\}",
            said="tokens of fields in format strings, such as %s, %(name)d, {} and {0!r}",
        ),
        "doctest-prompts": RegexProxy(pattern=r"^[ \t]*(?:>>>|\.\.\.)(?= )", said="tokens of the prompts of doctests"),
        "none-true-false": WordsProxy(of=("None", "True", "False"), said="tokens of the words None, True and False"),
        "keyword-arguments": RegexProxy(
            pattern=r"[(,][ \t\n]*(?P<inside>[a-z_]\w*)=(?!=)", said="tokens of names of keyword arguments"
        ),
        "return": WordsProxy(of=("return", "yield"), said="tokens of the words return and yield"),
        "blank-lines": RegexProxy(pattern=r"\n[ \t]*\n+", said="tokens of ends of lines around blank lines"),
        "closing-brackets": RegexProxy(
            pattern=r"[)\]}](?:[ \t\n]*[)\]}])+", said="tokens of two or more closing brackets in a row"
        ),
        "accented-latin": RegexProxy(
            pattern=r"[^\P{Script=Latin}\p{ASCII}]+", said="tokens that hold letters of Latin script beyond ASCII"
        ),
    },
)
"""Proxies by name. A package adds one through an entry point of the group `sparselex.proxy`."""


def proxy_of(name: str) -> Any:
    """The proxy of that name, of the registry or of a script. Raises `UserError` for an unknown one."""
    if name.startswith(SCRIPT) and name not in PROXIES.names():
        return ScriptProxy(script="_".join(part.capitalize() for part in name.removeprefix(SCRIPT).split("_")))
    return PROXIES.get(name)
