"""Recipes and cards beside a model: YAML that makes objects, grows without end, or never stops."""

from __future__ import annotations

from hostile.workshop import Hostile, nested


def _recipe(name: str, text: str | bytes, says: str = "recipe.yaml") -> Hostile:
    return Hostile(f"recipe: {name}", "model", lambda w: w.put("recipe.yaml", text), says)


_LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
_MAPS = "a0: &a0 {k: x, l: x}\n" + "".join(f"a{n}: &a{n} {{k: *a{n - 1}, l: *a{n - 1}}}\n" for n in range(1, 40))

_TAGS = [
    f"data: !!python/{tag}"
    for tag in ("object/apply:os.system ['true']", "object/new:os.system ['true']", "name:os.system",
                "module:canary_module", "object:canary_module.Thing {}", "tuple [1]", "bytes x", "unicode x",
                "object/apply:subprocess.Popen [['true']]")
] + [
    "data: !evil x", "!!python/object/apply:os.system ['true']", "data: !<tag:evil> x", "%TAG ! tag:evil,1:\n--- !x y"
]  # fmt: skip

#: Values that make PyYAML itself stumble.
_STUMBLES = {
    "a number that is none": "data: !!int x", "a hexadecimal of nothing": "data: 0x_", "a binary of nothing": "a: 0b_",
    "a float that is none": "data: !!float x", "a truth that is none": "data: !!bool x",
    "a stamp that is none": "data: !!timestamp x", "bytes that are none": "data: !!binary é",
    "a pair that is none": "data: !!pairs [1]", "an order that is none": "data: !!omap {a: 1}",
    "a number of ten thousand digits": "data: " + "1" * 10_000, "a set": "data: !!set {a, b}",
    "a key that is a list": "[1]: 2", "a key that is a map": "{a: 1}: 2", "a key twice": "a: 1\na: 2",
    "a merge": "a: &a {b: 1}\nc: {<<: *a}", "an alias of nothing": "a: *b", "a list": "[1, 2]", "text": "just text",
    "nothing": "", "two documents": "a: 1\n---\nb: 2", "a control letter": "a: \x07", "a tab": "a:\n\t- b",
    "a map in itself": "a: &a {b: *a}", "a list in itself": "a: &a [*a]", "a whole in itself": "&a [*a]",
}  # fmt: skip

_BOMBS = [
    _recipe("a billion laughs", _LAUGHS),
    _recipe("a billion maps", _MAPS),
    _recipe("a deep one", nested(50_000)),
    _recipe("a deep one of maps", "{a: " * 5_000 + "1" + "}" * 5_000),
    _recipe("a long number that is none", "data: " + "1" * 100_000 + "x", ""),
    _recipe("a large one", "data: {table: x}\n" + "# nothing\n" * 1_000_000),
    _recipe("many lines", "".join(f"k{n}: v\n" for n in range(300_000))),
    _recipe("bytes that are no text", b"\xff\xfe\xff"),
    _recipe("zeros", bytes(1000)),
]

_MEANING = [
    _recipe("a name that is code", "data: {table: t}\nbackbone: {name: 'os:system', weights: /etc/passwd}", ""),
    _recipe("a table that is an address", "data: {table: 'https://127.0.0.1:9/t.csv'}\nbackbone: timm", ""),
    _recipe("a date that is none", "data: 2024-99-99", ""),
    _recipe("infinity as a seed", "seed: .inf", ""),
    _recipe("a seed below any", "seed: -1", ""),
    _recipe("a time that is a number", "data: 1:99:99", ""),
    _recipe("plugins to install", "data: {table: t}\nbackbone: timm\nplugins: ['evil @ https://127.0.0.1:9/']", ""),
    Hostile("a card with a bomb", "model",
            lambda w: w.put("README.md", f"---\n{_LAUGHS}---\n# x\n<script>alert(1)</script>"), ""),
    Hostile("a card with a tag", "model", lambda w: w.put("README.md", "---\na: !!python/name:os.system\n---\n"), ""),
]  # fmt: skip

CASES = [
    *(_recipe(f"tag {number}", text) for number, text in enumerate(_TAGS)),
    *(_recipe(name, text) for name, text in _STUMBLES.items()),
    *_BOMBS,
    *_MEANING,
]
