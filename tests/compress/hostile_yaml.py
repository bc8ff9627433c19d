"""What hostile recipes are made of: values, keys and tokens, and texts made to hang, swell or break a YAML reader."""

from __future__ import annotations

import random
from collections.abc import Callable

Make = Callable[[random.Random], str]
LONG = "9" * 5000
VALUES = (
    "null", "true", "0", "-1", "1e999", ".nan", "-.inf", "0x" + "f" * 5000, LONG, "-" + LONG, "18446744073709551616",
    "9223372036854775808", "1:2:3:4:5:6:7:8:9:" * 40 + "1", "2024-01-01", "2024-13-45", "2024-01-01T25:61:61Z", "''",
    "' '", "'/'", "'~'", "~nobody/x", "'~/x'", "'.'", "'..'", "/dev/zero", "/dev/null", "/etc", "'a b/c'", "a/b/c",
    "owner/name:split:x", "builtin:", "builtin:x", "!!int a", "!!int ''", "!!float ''", "!!bool 5", "!!null x",
    "!!set [a]", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!binary YQ==", "!!binary '*'", "!!timestamp x",
    "!!timestamp 2024-01-01", "!!str [a]", "!!seq {a: 1}", "!!map [a]", "!!python/name:os.system", "!!merge <<", "=",
    "<<", "!", "!x y", "*nowhere", "&a [*a]", "&b {c: *b}", "{? [a] : 1}", "{? {a: 1} : 1}", "{[a]: 1}", "{1: 1}",
    "{null: 1}", "{2024-01-01: 1}", "{!!binary YQ==: 1}", "{.nan: 1}", "{'': 1}", "[]", "{}", "[[]]", "[{}]", "[null]",
    '"\\0"', '"\\e[31mred"', '"\\ud800"', '"\\u202egnp"', '"\\x9b0m"', '"a\\nb"', '"\\UFFFFFFFF"', '"\\U00110000"',
    "'${HOME}'", "'${NOT_SET_ANYWHERE}'", "'${NOT_SET_ANYWHERE:-}'", "'${PATH:-x'", "'${A:-${B:-}}'", "'$'",
    "'" + "x" * 300 + "'", "'" + "x/" * 2500 + "'", "['[/x]']", "'[red]'", "'%s{}'", "[" * 40 + "]" * 40,
    "[" + "1, " * 2000 + "]", "{" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}", "'" + "${A:-" * 2000 + "'",
)  # fmt: skip
KEYS = (
    "null", "true", "1", "1.5", ".nan", "2024-01-01", "2024-13-45", "!!binary YQ==", "!!int a", "''", '"\\e[31mred"',
    '"\\0"', '"a\\nerror: b"', '"\\ud800"', "<<", "=", "? [a]", "? {a: 1}", "*nowhere", "&a k", LONG, "x" * 5000,
    "'[/x]'", "'[red]'", "model_config", "__class__", "self", "digest", "'a.b'", "'0'",
)  # fmt: skip
TOKENS = (
    "\t", "\n", "\r", "\0", "\x1b[31m", "\x85", "\ufeff", "\u2028", "\ud800", "---\n", "...\n", "%YAML 1.1\n---\n",
    "%YAML 9" + "9" * 5000 + ".1\n---\n", "%TAG ! tag:x,2000:\n---\n", "&a ", "*a ", "!!set ", "!<x> ", "!%ff ", "? ",
    ": ", "- ", "{", "}", "[", "]", ",", "#", "'", '"', "|", ">", "|9\n", "@", "`", "\\", "<<: *a\n", "🦜", "\n" * 5000,
    "<<: {a: 1}\n", "<<: [{a: 1}, {b: 2}]\n",
)  # fmt: skip
START = "name: tiny\ntask: text-classification\ndata: {train: data/train.jsonl}\nteacher: {model: teacher}\n"


def bomb(dice: random.Random) -> str:
    """Levels of aliases, each some times the one before."""
    width = dice.randrange(2, 20)
    kind = dice.choice(("[%s]", "{%s}"))
    lines = ["a0: &a0 [x]"]
    for level in range(1, dice.randrange(3, 60)):
        parts = [f"*a{level - 1}" if kind == "[%s]" else f"k{part}: *a{level - 1}" for part in range(width)]
        lines.append(f"a{level}: &a{level} " + kind % ", ".join(parts))
    return START + "\n".join(lines)


def merges(dice: random.Random) -> str:
    """A chain of merge keys, which the last value asks for first."""
    length = dice.choice((3, 50, 2000))
    chain = ", ".join(["&m0 {x: 1}", *(f"&m{n} {{<<: *m{n - 1}, k{n}: 1}}" for n in range(1, length))])
    return f"{START}a: {{b: {{c: [{chain}]}}}}\nd: {{<<: *m{length - 1}}}\n"


def chained_depth(dice: random.Random) -> str:
    """Nesting that aliases hide: each link is shallow."""
    depth = dice.choice((5, 20, 30))
    lines = [f"a0: &a0 {'[' * depth}{']' * depth}"]
    lines += [f"a{n}: &a{n} {'[' * depth}*a{n - 1}{']' * depth}" for n in range(1, dice.choice((3, 60)))]
    return START + "\n".join(lines)


def nested(dice: random.Random) -> str:
    depth = dice.choice((31, 33, 100, 1000, 20_000))
    kind = dice.choice(("flow list", "flow mapping", "block", "in a config"))
    if kind == "flow list":
        return f"{START}stages: {'[' * depth}{']' * depth}\n"
    if kind == "flow mapping":
        return f"{START}student: {'{a: ' * depth}1{'}' * depth}\n"
    if kind == "block":
        return START + "".join(f"{' ' * level}a:\n" for level in range(min(depth, 1000)))
    return START.replace("{model: teacher}", f"{{config: {'[' * depth}{']' * depth}}}")


def itself(dice: random.Random) -> str:
    return START + dice.choice(
        ("a: &a [*a]", "a: &a {b: *a}", "a: &a {<<: *a}", "&a b: *a", "stages: &s [*s, *s]", "a: &a [b, {c: [*a]}]")
    )


def many(dice: random.Random) -> str:
    """One thing a few hundred times too often."""
    count = dice.choice((200, 3000))
    return START + dice.choice(
        (
            "".join(f"key{n}: 1\n" for n in range(count)),
            f"stages: [{'quantize, ' * count}]\n",
            f"stages: [{'x, ' * count}]\n",
            f"targets: [{'pytorch, ' * count}]\n",
            f"targets: [{'{pytorch: {a: 1}}, ' * count}]\n",
            f"benchmark: {{sequences: [{'x, ' * count}]}}\n",
            f"student: {{layers: [{'-1, ' * count}]}}\n",
            "".join(f"dat{'a' * (n % 9)}{n}: 1\n" for n in range(count)),
        )
    )


def bytes_of_any_kind(dice: random.Random) -> str:
    return "".join(chr(dice.choice((dice.randrange(128), dice.randrange(0xD7FF)))) for _ in range(dice.randrange(400)))


def soup(dice: random.Random) -> str:
    """Tokens of YAML in any order."""
    return START + "".join(
        dice.choice((*TOKENS, *VALUES[:40], *KEYS[:12], "a", "\n")) for _ in range(dice.randrange(60))
    )


def no_recipe(dice: random.Random) -> str:
    return dice.choice(
        ("", "5", "[]", "null", "text", "- a\n- b", "--- {}\n--- {}", "2024-01-01", "&a [*a]", "!!set {a}")
    )


def large(dice: random.Random) -> str:
    """Up to and over the size that is read."""
    size = dice.choice((10**6, 5 * 10**6))
    unit = dice.choice(("\n", "# \n", " ", "\r\n", "- a\n", "[", "a: ", "'' ", "&a ", "x\n\n", "\t"))
    return START + unit * (size // len(unit))


def full(dice: random.Random) -> str:
    """As many values as are read."""
    return START + dice.choice(
        (
            f"benchmark: {{batches: [{'x, ' * 90_000}]}}\n",
            "".join(f"k{n}: v\n" for n in range(45_000)),
            f"data: {{train: a, labels: [{'a, ' * 90_000}]}}\n",
            f"teacher: {{config: {{a: [{'[], ' * 90_000}]}}}}\n",
            "a: &a [" + "x, " * 900 + "]\nb: [" + "*a, " * 100 + "]\n",
        )
    )


CONSTRUCTED: tuple[Make, ...] = (
    bomb, merges, chained_depth, nested, itself, many, bytes_of_any_kind, soup, soup, no_recipe,
)  # fmt: skip
HEAVY: tuple[Make, ...] = (large, full)
