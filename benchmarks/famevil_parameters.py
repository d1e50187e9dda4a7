"""How many parameters do four tasks take: four models, or one with adapters? Counted on shapes, no weights needed.

Ours: the sum of four models of one task each (CLIP, that task's adapters, the way across where the task walks it, its
head) against one model that does all four. The published table counts otherwise; its rows come out of the same modules
as it counts them, and again with as many adapter sets as there are tasks. What is stored beside a pinned CLIP, in MB of
float32, with a writer of captions of its own and with one tied to the CLIP's tokens.

    python benchmarks/famevil_parameters.py [--model ViT-B-16-quickgelu] [--bottleneck 64] [--classes 121] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import open_clip
import torch
from fashreg_famevil.model import AdaptedCLIP
from fashreg_famevil.writer import TokenScores

TASKS = ("itc", "tgir", "scr", "cap")  # matching, query with a text, sub-category, caption
SIDES = {"itc": (), "tgir": ("image", "text"), "scr": ("image", "text"), "cap": ("text",)}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parts(name: str, bottleneck: int, classes: int) -> dict[str, int]:
    """What everything is put together from."""
    config = open_clip.get_model_config(name)
    if config is None:
        raise SystemExit(f"open_clip knows no {name!r}; see open_clip.list_models()")
    with torch.device("meta"):
        clip = open_clip.CLIP(**{k: v for k, v in config.items() if k in ("embed_dim", "vision_cfg", "text_cfg")})
        model = AdaptedCLIP(clip, ("one",), bottleneck=bottleneck)
        tied = count(TokenScores(clip.token_embedding.weight)) + clip.vocab_size
    width, wide = clip.visual.output_dim, model.text_width
    return {
        "clip": count(clip),
        "adapters of a task": count(model.task_adapters),
        "way across, pictures ask": count(model.cross["image"]),
        "way across, words ask": count(model.cross["text"]),
        "head of scr": width * classes + classes,
        "head of cap": wide * clip.vocab_size + clip.vocab_size,
        "head of cap, tied": tied,
        "scale of itc": 1,
        "scale of tgir": 1,
    }


def stored(p: dict[str, int]) -> dict[str, float]:
    """MB beside the CLIP: each part, and all four tasks with either writer."""
    names = ("way across, pictures ask", "way across, words ask", "head of scr", "scale of itc", "scale of tgir")
    shared = 4 * p["adapters of a task"] + sum(p[name] for name in names)
    writers = {name: p[name] for name in ("head of cap", "head of cap, tied")}
    parts = {"adapters of a task": p["adapters of a task"], "ways across": p[names[0]] + p[names[1]], **writers}
    wholes = {f"four tasks, {name}": shared + number for name, number in writers.items()}
    return {name: 4e-6 * number for name, number in {**parts, **wholes}.items()}


def single(p: dict[str, int], task: str) -> int:
    """A model of that task alone."""
    across = sum(p[f"way across, {'pictures' if side == 'image' else 'words'} ask"] for side in SIDES[task])
    head = p.get(f"head of {task}", p.get(f"scale of {task}", 0))
    return p["clip"] + p["adapters of a task"] + across + head


def published(p: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Rows of the paper's table 4: what it says, and what its way of counting gives here, in % of four plain models."""
    heads, words = p["head of cap"], p["way across, words ask"]
    both = words + p["way across, pictures ask"]
    base = 4 * p["clip"] + heads + words + p["head of scr"]
    sets = {n: n * p["adapters of a task"] for n in (1, 4)}

    def of(total: int) -> float:
        return 100 * (total / base - 1)

    return {
        "STL + XAA": (14.70, 100 * 3 * both / base),
        "STL + TSA + XAA": (15.96, 100 * (3 * both + sets[4]) / base),
        "MTL": (-70.43, of(p["clip"] + heads + words + p["head of scr"])),
        "MTL + XAA": (-67.65, of(p["clip"] + heads + both)),
        "MTL + TSA + XAA, one set": (-67.33, of(p["clip"] + heads + both + sets[1])),
        "the same, four sets": (-67.33, of(p["clip"] + heads + both + sets[4])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16-quickgelu")
    parser.add_argument("--bottleneck", type=int, default=64)
    parser.add_argument("--classes", type=int, default=121)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    p = parts(options.model, options.bottleneck, options.classes)
    print(f"{options.model}, bottleneck {options.bottleneck}, {options.classes} classes")
    for name, number in p.items():
        print(f"  {name:<28}{number:>13,}")
    alone = {task: single(p, task) for task in TASKS}
    for task, number in alone.items():
        print(f"  model of {task:<19}{number:>13,}")
    whole = sum(p.values()) - p["head of cap, tied"] + 3 * p["adapters of a task"]
    kept = stored(p)
    four, plain = sum(alone.values()), 4 * p["clip"]
    print(f"  four models{'':<17}{four:>13,}\n  one model of all{'':<12}{whole:>13,}")
    print(f"fewer parameters: {100 * (1 - whole / four):.2f} % than our four models, ", end="")
    print(f"{100 * (1 - whole / plain):.2f} % than four plain CLIPs")
    print("stored beside the CLIP, MB: " + ", ".join(f"{name} {size:.1f}" for name, size in kept.items()))
    rows = published(p)
    if options.model == "ViT-B-16-quickgelu" and options.bottleneck == 64:
        print("the paper's table 4, in % of its four models: published, counted here")
        for name, (said, found) in rows.items():
            print(f"  {name:<28}{said:>8.2f}{found:>9.3f}")
    if options.json:
        told = {
            "parts": p,
            "stored MB": kept,
            "single": alone,
            "one": whole,
            "fewer": 1 - whole / four,
            "table 4": rows,
        }
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
