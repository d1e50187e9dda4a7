"""Index folders that lie about their vectors, their rows, or the structure that FAISS would follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hostile.workshop import Hostile, Workshop, nested, pickle_of, safetensors

_ROWS = 64


def _about(name: str, change: Callable[[Any], object], says: str = "index", base: str = "exact") -> Hostile:
    return Hostile(f"index: {name}", base, lambda w: w.json("index.json", change), says)


def _spec(name: str, says: str = "", base: str = "lists", **config: Any) -> Hostile:
    """The component of the index has another option."""
    return _about(name, lambda a: a["spec"]["config"].update(config), says or "|".join(config), base)


def _named(name: Any, says: str = "index") -> Hostile:
    return _about(f"a component {name!r:.40}", lambda a: a["spec"].update(name=name), says)


_NAMES = [
    _named(name)
    for name in ("os:system", "builtins.eval", "canary_module:Index", "../../evil", "", "EXACT", "x" * 10**5, None, 3,
                 ["exact"], "pickle", "faiss.read_index", "https://127.0.0.1:9/index")
]  # fmt: skip

_ABOUT = [
    _about("another version", lambda a: a.update(version=99), "version"),
    _about("a version of truth", lambda a: a.update(version=True), "version|description"),
    _about("a stranger's field", lambda a: a.update(hook="os:system"), "index.json"),
    _about("no spec", lambda a: a.pop("spec"), "spec"),
    _about("a spec that is a list", lambda a: a.update(spec=["exact"]), "spec"),
    _about("a spec with a stranger's field", lambda a: a["spec"].update(module="canary_module"), "module|spec"),
    _about("a plugin that is a list", lambda a: a["spec"].update(plugin=["fashreg"]), "plugin|spec"),
    _about("a plugin that is code", lambda a: a["spec"].update(plugin="canary_module"), "index"),
    _about("options that are a list", lambda a: a["spec"].update(config=[]), "config"),
    _about("rows without end", lambda a: a.update(count=2**62), "vectors"),
    _about("rows below none", lambda a: a.update(count=-1), "-1"),
    _about("rows more than any", lambda a: a.update(count=10**40), "vectors"),
    _about("vectors of no width", lambda a: a.update(embed_dim=0), "width 0"),
    _about("vectors without end", lambda a: a.update(embed_dim=2**60), "width"),
    _about("another width", lambda a: a.update(embed_dim=5), "vectors"),
    _about("a width that is a float", lambda a: a.update(embed_dim=4.0), "embed_dim"),
    _about("a fingerprint that is a list", lambda a: a.update(model_fingerprint=["f"]), "model_fingerprint"),
    _about("recall that is a list", lambda a: a.update(recall=[]), "recall"),
    _about("it is a list", lambda a: [a], "index.json"),
    _about("a task that is a list", lambda a: a["extra"].update(task=["x"]), "extra.task"),
    Hostile("index: it is a pickle", "exact", lambda w: w.put("index.json", pickle_of("true")), "index.json"),
    Hostile("index: it is deep", "exact", lambda w: w.put("index.json", nested(100_000)), "index.json"),
    Hostile("index: no vectors", "exact", lambda w: w.drop("vectors.safetensors"), "vectors.safetensors"),
    Hostile("index: vectors that are a pickle", "exact",
            lambda w: w.put("vectors.safetensors", pickle_of("true")), "vectors.safetensors"),
    Hostile("index: a file of FAISS's own", "exact",
            lambda w: w.put("vectors.safetensors", b"IxFI" + bytes(64)), "vectors.safetensors"),
]  # fmt: skip

_OPTIONS = [
    _spec("an option that is none", hook="os:system"),
    _spec("a factory that is a number", factory=5),
    _spec("a factory that is a list", factory=["Flat"]),
    _spec("a factory that is a path", "Flat|FAISS|factory|index.json", factory="/etc/passwd"),
    _spec("a factory of a million lists", "", factory="IVF1000000000,Flat"),
    _spec("a factory of bits", "", factory="PQ4x24"),
    _spec("a factory of squares", "factory", factory="IMI2x20,Flat"),
    _spec("a factory of links", "factory", factory="HNSW1000000"),
    _spec("a factory of ids", "", factory="IDMap,Flat"),
    _spec("a factory of rotations", "LSH|factory", factory="LSH1000000"),
    _spec("a factory of residues", "factory", factory="RQ1000x20"),
    _spec("a factory of trees", "factory", factory="RCQ20x20,Flat"),
    _spec("a factory of brackets", "factory|FAISS", factory="IVF4(" * 5000 + "Flat" + ")" * 5000),
    _spec("a factory of commas", "factory|FAISS", factory="PCA4," * 20_000 + "Flat"),
    _spec("a factory of digits", "factory|FAISS", factory="IVF" + "9" * 10_000 + ",Flat"),
    _spec("a factory with a zero", "factory|FAISS", factory="IVF0,Flat"),
    _spec("a factory with an end", "factory|FAISS", factory="IVF4\x00,Flat"),
    _spec("a kind that is none", kind="os:system"),
    _spec("a kind and a factory", "", kind="hnsw"),
    _spec("a metric that is none", metric="eval"),
    _spec("lists without end", nprobe=10**30),
    _spec("lists below none", nprobe=-1),
    _spec("lists of half", nprobe=1.5),
    _spec("a beam without end", base="graph", ef_search=10**30),
    _spec("a beam below none", base="graph", ef_search=0),
    _spec("training without end", train_min=10**30),
    _spec("candidates without end", refine=10**30),
    _spec("threads without end", threads=10**30),
    _spec("threads of text", threads="many"),
    _spec("a width of another index", "width 5", embed_dim=5),
    _spec("a width without end", embed_dim=10**30),
]  # fmt: skip


def _huge(factory: str) -> Hostile:
    """No row at all, but very wide ones: what a structure allocates depends on the width alone."""

    def make(w: Workshop) -> None:
        wide = 1 << 20
        w.json("index.json", lambda a: a.update(count=0, embed_dim=wide))
        w.json("index.json", lambda a: a["spec"]["config"].update(embed_dim=wide, factory=factory, train_min=None))
        entries = {"ids": ("I64", [0]), "vectors": ("F32", [0, wide])}
        header = {n: {"dtype": d, "shape": s, "data_offsets": [0, 0]} for n, (d, s) in entries.items()}
        w.put("vectors.safetensors", safetensors(header))
        w.drop("structure.safetensors")
        w.put("items.jsonl", "")

    return Hostile(f"index: wide rows for {factory}", "lists", make, "factory|empty")


_WIDE = [_huge(factory) for factory in ("PQ1024x12", "LSH", "OPQ64,PQ64x12", "RQ64x12", "PCAR1048576,Flat", "ITQ,LSH")]


def _rows(name: str, edit: Callable[[list[Any]], object], says: str = "items.jsonl") -> Hostile:
    """items.jsonl has other lines."""

    def make(w: Workshop) -> None:
        lines = [json.loads(line) for line in (w.folder / "items.jsonl").read_text().splitlines()]
        edit(lines)
        w.put("items.jsonl", "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))

    return Hostile(f"items: {name}", "exact", make, says)


def _columns(lines: list[Any]) -> None:
    """Every row has columns of its own: few bytes, and a table of rows times columns."""
    for number, line in enumerate(lines):
        line.update({f"c{number}x{n}": 1 for n in range(3000)})


_ITEMS = [
    _rows("a row too few", lambda x: x.pop()),
    _rows("a row too many", lambda x: x.append({"id": 10**6})),
    _rows("a row twice", lambda x: x.append(x[0])),
    _rows("a row of another id", lambda x: x[0].update(id=-1)),
    _rows("an id that is a float", lambda x: x[0].update(id=0.0)),
    _rows("an id that is truth", lambda x: x[0].update(id=True)),
    _rows("an id without end", lambda x: x[0].update(id=10**400)),
    _rows("a row without id", lambda x: x[0].pop("id")),
    _rows("a row that is a list", lambda x: x.__setitem__(0, [])),
    _rows("a row that is no JSON", lambda x: x.__setitem__(0, "{")),
    _rows("a row that is a pickle", lambda x: x.__setitem__(0, pickle_of("true").decode())),
    _rows("a row with a key twice", lambda x: x.__setitem__(0, '{"id": 0, "id": 1}')),
    _rows("a deep row", lambda x: x.__setitem__(0, nested(100_000))),
    _rows("NaN in a row", lambda x: x.__setitem__(0, '{"id": 0, "image": NaN}')),
    _rows("a cell that is a list", lambda x: x[0].update(image=["/etc/passwd"])),
    _rows("a cell that is an object", lambda x: x[0].update(image={"__class__": "os.system"})),
    _rows("a column that is an id", lambda x: x[0].update(score=nested(3)), ""),
    _rows("columns by rows", _columns),
]


def _tensors(name: str, change: Callable[[Any], object], says: str, base: str = "graph", seed: int = 0) -> Hostile:
    """structure.safetensors holds other numbers: `change` gets name -> numpy array."""

    def make(w: Workshop) -> None:
        from safetensors.numpy import load, save

        arrays = {n: a.copy() for n, a in load((w.folder / "structure.safetensors").read_bytes()).items()}
        change(arrays)
        w.put("structure.safetensors", save(arrays))

    return Hostile(f"structure: {name}", base, make, says)


def _fill(array: str, value: Any) -> Callable[[Any], object]:
    return lambda a: a[array].fill(value)


def _set(array: str, place: int, value: Any) -> Callable[[Any], object]:
    return lambda a: a[array].__setitem__(place, value)


_STRUCTURES = [
    *(_tensors(f"{array} all {value}", _fill(array, value), "structure.safetensors")
      for array, value in [("links", 10**6), ("links", -2), ("levels", 0), ("levels", 99), ("levels", -1),
                           ("entry", 64), ("entry", -5), ("slots", 7), ("slots", -1), ("slots", 2**40),
                           ("made_for", -2), ("made_for", 2**62)]),
    *(_tensors(f"{array} all {value}", _fill(array, value), "structure.safetensors", "lists")
      for array, value in [("lists", 4), ("lists", -1), ("made_for", -1)]),
    *(_tensors(f"{array} is {value}", _fill(array, value), "structure.safetensors.*(NaN|infinity)", "lists")
      for array, value in [("centroids", float("nan")), ("trained", float("inf"))]),
    *(_tensors(f"no {array}", lambda a, n=array: a.pop(n), array) for array in ("links", "levels", "entry", "slots")),
    *(_tensors(f"no {array}", lambda a, n=array: a.pop(n), array, "lists") for array in ("centroids", "trained")),
    *(_tensors(f"half of {array}", lambda a, n=array: a.update({n: a[n][: len(a[n]) // 2].copy()}), "structure")
      for array in ("links", "levels", "slots")),
    *(_tensors(f"half of {array}", lambda a, n=array: a.update({n: a[n][: len(a[n]) // 2].copy()}), "structure",
               "lists") for array in ("centroids", "trained", "lists")),
    *(_tensors(f"{array} of another dtype", lambda a, n=array: a.update({n: a[n].astype("float64")}), "structure")
      for array in ("links", "levels", "slots", "entry", "made_for", "gone")),
    _tensors("a link beyond the last", _set("links", 0, 64), "structure.safetensors"),
    _tensors("a list beyond the last", _set("lists", 0, 4), "structure.safetensors", "lists"),
    Hostile("structure: it is a pickle", "graph",
            lambda w: w.put("structure.safetensors", pickle_of("true")), "structure.safetensors"),
    Hostile("structure: of another kind of index", "graph",
            lambda w: w.json("index.json", lambda a: a["spec"]["config"].update(kind=None, factory="IVF4,Flat")),
            "structure"),
]  # fmt: skip


def _vectors(name: str, change: Callable[[Any], object], says: str) -> Hostile:
    def make(w: Workshop) -> None:
        from safetensors.numpy import load, save

        arrays = {n: a.copy() for n, a in load((w.folder / "vectors.safetensors").read_bytes()).items()}
        change(arrays)
        w.put("vectors.safetensors", save(arrays))

    return Hostile(f"vectors: {name}", "exact", make, says)


_VECTORS = [
    _vectors("NaN", _fill("vectors", float("nan")), "'vectors' holds NaN"),
    _vectors("one infinity", lambda a: a["vectors"].__setitem__((3, 2), float("inf")), "'vectors' holds NaN"),
    _vectors("an id twice", _set("ids", 0, 1), "ids are not unique"),
    _vectors("an id below none", _set("ids", 0, -3), "ids are not unique or not 0"),
    _vectors("ids of floats", lambda a: a.update(ids=a["ids"].astype("float64")), "'ids'"),
    _vectors("a tensor too many", lambda a: a.update(hook=a["ids"].copy()), "hook"),
    _vectors("half of the ids", lambda a: a.update(ids=a["ids"][:32].copy()), "ids"),
]

CASES = [*_NAMES, *_ABOUT, *_OPTIONS, *_WIDE, *_ITEMS, *_STRUCTURES, *_VECTORS]
