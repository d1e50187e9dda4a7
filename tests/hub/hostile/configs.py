"""Configs that ask for too much, or for something that is no component."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hostile.workshop import Hostile, nested, pickle_of

#: Where a name of a component is expected: modules, paths, addresses, expressions.
CODE = (
    "os:system", "os.system", "builtins:eval", "fashreg.heads.projection:ProjectionHead", "fashreg_evil", "../../evil",
    "/tmp/evil.py", "evil.py", "canary_module", "canary_module:run", "hf-hub:evil/model", "local-dir:/tmp",
    "https://127.0.0.1:9/x", "__import__('os').system('true')", "projection\n", "PROJECTION", "", "x" * 10**6,
    "projection;", "fashreg:projection", "\x1b[2Jprojection", "\ud800",
)  # fmt: skip
#: Where a network of timm is expected.
NETWORKS = (
    "hf-hub:evil/model", "hf_hub:evil/model", "local-dir:/tmp", "timm/resnet18", "../resnet18", "/tmp/x", "os:system",
    "resnet18.", "resnet18.evil", "test_efficientnet.../../x", "", "resnet18\x00", "http://127.0.0.1:9/resnet18",
)  # fmt: skip


def _set(name: str, place: str, value: Any, says: str, base: str = "model") -> Hostile:
    """One field of config.json has another value."""

    def change(config: Any) -> None:
        *way, last = place.split(".")
        for step in way:
            config = config[step]
        config[last] = value

    return Hostile(name, base, lambda w: w.json("config.json", change), says)


def _text(name: str, content: str | bytes, says: str = "config.json") -> Hostile:
    return Hostile(name, "model", lambda w: w.put("config.json", content), says)


def _edited(name: str, edit: Callable[[str], str], says: str) -> Hostile:
    return Hostile(name, "model", lambda w: w.put("config.json", edit((w.folder / "config.json").read_text())), says)


_NAMES = [_set(f"the head is {name[:24]!a}", "head.name", name, "head") for name in CODE]
_PLUGINS = [_set(f"the plugin is {name[:24]!a}", "head.plugin", name, "head|projection|plugin") for name in CODE[:14]]
_TIMM = [_set(f"the network is {name[:30]!a}", "backbone.config.model", name, "timm|backbone") for name in NETWORKS]

_FIELDS = [
    _set("a stranger's field", "run", "rm -rf /", "run"),
    _set("a field that colours the terminal", "\x1b[31mrun", 1, "run"),
    _set("a field that is no text", "\ud800", 1, "config.json"),
    _set("a stranger's field in the head", "head.module", "canary_module", "head.module"),
    _set("code that must be trusted", "trust_remote_code", True, "trust_remote_code"),
    _set("a map of classes", "auto_map", {"AutoModel": "evil.Model"}, "auto_map"),
    _set("no head", "head", None, "head"),
    _set("a head that is a list", "head", ["projection"], "head"),
    _set("options that are text", "head.config", "out_dim=8", "head.config"),
    _set("an option that is a hook", "head.config.hook", "canary_module:run", "hook"),
    _set("an option named as a method", "head.config.__class__", "x", "__class__"),
    _set("a width of text", "head.config.out_dim", "many", "out_dim"),
    _set("a width of none", "head.config.out_dim", 0, "out_dim"),
    _set("a width below none", "head.config.out_dim", -8, "out_dim"),
    _set("a width of half", "head.config.out_dim", 8.5, "out_dim"),
    _set("a width as large as a disk", "head.config.out_dim", 10**12, "far more than its weights|config.json"),
    _set("a width of a billion", "head.config.out_dim", 10**9, "far more than its weights|config.json"),
    _set("a width that is dear to make", "head.config.out_dim", 200_000, "config.json"),
    _set("a width beyond any machine", "head.config.out_dim", 10**30, "config.json|out_dim"),
    _set("features beyond any machine", "head.config.in_dim", 2**63, "config.json|in_dim"),
    _set("features of a billion", "head.config.in_dim", 10**9, "config.json"),
    _set("widths that do not meet", "head.config.in_dim", 9, "the head takes"),
    _set("a seed beyond any machine", "head.config.seed", 10**40, "seed|config.json"),
    _set("a seed below any machine", "backbone.config.seed", -(10**40), "seed|config.json"),
    _set("pictures of nothing", "backbone.config.image_size", 0, "image_size"),
    _set("pictures without end", "backbone.config.image_size", 10**30, "image_size"),
    _set("a last stage elsewhere", "backbone.config.last_stage", "__class__", "last_stage|stage"),
    _set("pooling by code", "backbone.config.pooling", "os.system", "pooling"),
    _set("a crop of nothing", "input_spec.crop", 1e-300, "input_spec.crop"),
    _set("a picture as large as a disk", "input_spec.size", [10**9, 10**9], "input_spec.size"),
    _set("a picture larger than memory", "input_spec.size", [16384, 16384], "input_spec.size"),
    _set("a size of three", "input_spec.size", [8, 8, 8], "input_spec.size"),
    _set("a deviation of zero", "input_spec.std", [1, 0, 1], "input_spec.std"),
    _set("interpolation by code", "input_spec.interpolation", "os.system", "input_spec.interpolation"),
    _set("another width than the head's", "embed_dim", 9, "embed_dim"),
    _set("a width that is text", "embed_dim", "8; import os", "embed_dim"),
    _set("another format", "format", "fashreg-model/99", "format"),
    _set("a format that is an object", "format", {"model": 1}, "format"),
    _set("a version of a million letters", "fashreg", "1" * 10**6, "fashreg"),
    _set("provenance that is a list", "provenance", ["x"], "provenance"),
]

_DEEP_OPTION = (
    '{"name": "multi-task", "plugin": "fashreg", "version": "0.1.0", "config": {"tasks": ["a", "b"], "head": '
)


_ZEROS, _COMMIT = "0" * 64, "0" * 40
_GOOD_BASE = {"repo": "ann/x", "commit": _COMMIT, "fingerprint": _ZEROS}
_BASES = [
    _set(f"a base {name}", "base", {**_GOOD_BASE, **change}, "base")
    for name, change in {
        "that is a path": {"repo": "../../etc"}, "that is an address": {"repo": "https://127.0.0.1:9/x"},
        "with a revision": {"repo": "ann/x@main"}, "of three parts": {"repo": "a/b/c"}, "of nobody": {"repo": ""},
        "that is a local model": {"repo": "/tmp/x"}, "that moves": {"commit": "main"},
        "of a short commit": {"commit": "0"},
        "at a path": {"commit": "../../../x"}, "without a print": {"fingerprint": ""}, "of a list": {"repo": ["a/b"]},
        "with a stranger's field": {"token": "hf_x"}, "with an end of line": {"commit": _COMMIT + "\n"},
    }.items()
]  # fmt: skip


def _tower(depth: int) -> str:
    """Heads within heads, two at each floor."""
    bottom = '{"name": "projection", "plugin": "fashreg", "version": "0.1.0", "config": {"out_dim": 1, "in_dim": 256}}'
    return _DEEP_OPTION * depth + bottom + "}}" * depth


def _with_head(text: str) -> Callable[[str], str]:
    return lambda config: json.dumps({**json.loads(config), "head": "HEAD"}).replace('"HEAD"', text)


_BOMBS = [
    _edited("heads within heads, forty floors", _with_head(_tower(40)), "config.json"),
    _edited("heads within heads, three hundred floors", _with_head(_tower(300)), "config.json"),
    _edited("heads within heads without end", _with_head(_tower(30_000)), "config.json"),
    _set("a million tasks", "head.config.tasks", [f"t{i}" for i in range(300_000)], "config.json|tasks", "tasks"),
    _set("a task twice", "head.config.tasks", ["colour", "colour"], "task", "tasks"),
    _set("a task that is a list", "head.config.tasks", [["colour"]], "tasks", "tasks"),
    _set("a pattern that is a path", "head.config.head", "/tmp/evil.py", "head", "tasks"),
    _set("a pattern that is a class", "head.config.head", {"class": "os:system"}, "head", "tasks"),
    _set("a pattern that is a list", "head.config.head", ["projection"], "head", "tasks"),
    _set("a pattern that is a number", "head.config.head", 7, "head", "tasks"),
    _set("a pattern of another kind", "head.config.head", "timm", "head", "tasks"),
    _set("a pattern with a fetched network", "head.config.head",
         {"name": "timm", "plugin": "fashreg", "version": "0.1.0", "config": {"weights": "hub"}}, "head", "tasks"),
    _text("an empty config", b""),
    _text("a config that is a list", "[]"),
    _text("a config that is a number", "3"),
    _text("a config that is a pickle", pickle_of("true")),
    _text("a config that is YAML", "format: !!python/object/apply:os.system [true]"),
    _text("a deep config", nested(100_000)),
    _text("a config of empty lists", "[" + "[]," * 3_000_000 + "[]]"),
    _text("a config of a long number", '{"format": ' + "1" * 5000 + "}"),
    _text("a config of a long number with a point", '{"format": 1' + "0" * 5000 + ".5}"),
    _text("a config of NaN", '{"format": NaN}'),
    _edited("a field twice", lambda t: t.replace('"head":', '"head": null, "head":', 1), "twice"),
    _edited("an option twice", lambda t: t.replace('"out_dim":', '"out_dim": 4, "out_dim":', 1), "twice"),
    _edited("deep provenance", lambda t: t.replace('"provenance": {', '"provenance": {"x": ' + nested(400) + ", "), ""),
    _edited("deeper provenance", lambda t: t.replace('"provenance": {', '"provenance": {"x": ' + nested(900) + ", "),
            ""),
]  # fmt: skip

#: What is dropped or means nothing when a model is loaded: it must load, and nobody must be asked for anything.
_HARMLESS = [
    _set(f"weights from {source[:30]!a}", "backbone.config.weights", source, "")
    for source in ("hub", "/etc/passwd", "../../evil.pth", "https://127.0.0.1:9/x.safetensors", "evil.pkl")
] + [
    _set("an address in provenance", "provenance.url", "https://127.0.0.1:9/", ""),
    _set("a command in provenance", "provenance.run", "$(touch canary)", ""),
]  # fmt: skip

CASES = [*_NAMES, *_PLUGINS, *_TIMM, *_FIELDS, *_BASES, *_BOMBS, *_HARMLESS]
