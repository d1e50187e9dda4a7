"""What adapters cost: a forward beside plain CLIP, towers in step beside two towers, captions with a cache or without.

Random weights (time does not depend on them), fp32, no gradient. All arms in turn, least time of each, ratios; of one
thread the processor's time, as other work may run beside it. Beside each ratio stands that of the operations alone
(multiplications and additions of matrix products and attention), which is what would be left if nothing else cost time.
Captions have 40 words. "without" reads the whole text anew for each word, and names a word at its last place only, as
"with cache" does. The five beams of all pictures go in one step, or those of a picture at a time.

    python benchmarks/famevil_speed.py [--model ViT-B-32-quickgelu] [--batch 8] [--rounds 5] [--threads 1] [--json FILE]
        [--only captions]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from fashreg_famevil.beams import beam
from fashreg_famevil.decoding import Ends, greedy
from fashreg_famevil.model import AdaptedCLIP
from fashreg_famevil.writer import Writer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

START, END, LENGTH, BEAMS = 49406, 49407, 40, 5


def small(name: str) -> AdaptedCLIP:
    config = open_clip.get_model_config(name)
    torch.manual_seed(0)
    clip = open_clip.CLIP(**{k: v for k, v in config.items() if k != "quick_gelu"}, quick_gelu=True)
    model = AdaptedCLIP(clip, ("one",)).eval()
    with torch.no_grad():
        for parameter in model.cross.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return model


def without_cache(model: AdaptedCLIP, words: nn.Module, memory: list[Tensor]) -> list[list[int]]:
    """The whole prefix again for each word."""
    contexts = model.contexts(memory)
    text = torch.full((len(memory[0]), 1), START)
    for _ in range(LENGTH):
        following = words(model.hidden(text, contexts, "one")[:, -1]).argmax(1, keepdim=True)
        text = torch.cat([text, following], 1)
    return text[:, 1:].tolist()


def arms(model: AdaptedCLIP, batch: int) -> dict[str, Callable[[], Any]]:
    size = model.clip.visual.image_size
    pictures = torch.randn(batch, 3, *(size if isinstance(size, tuple) else (size, size)))
    tokens = torch.randint(1, START, (batch, model.context_length))
    tokens[:, 0], tokens[:, 30] = START, END
    words = Writer(model.text_width, model.clip.vocab_size)
    with torch.no_grad():
        words.bias[END] = -1e4  # captions of full length
    memory = [z.clone() for z in model.memory(pictures, "one")]
    ends = Ends(START, END)

    def beams(memory: list[Tensor]) -> list[list[int]]:
        return beam(model, words, memory, "one", ends, beams=BEAMS, length=LENGTH)

    return {
        "pictures, plain CLIP": lambda: model.clip.encode_image(pictures),
        "pictures, with adapters": lambda: model.image(pictures, "one"),
        "texts, plain CLIP": lambda: model.clip.encode_text(tokens),
        "texts, with adapters": lambda: model.text(tokens, "one"),
        "both, two towers": lambda: (model.image(pictures, "one"), model.text(tokens, "one")),
        "both, in step": lambda: model.fused(pictures, tokens, "one"),
        "captions, with cache": lambda: greedy(model, words, memory, "one", ends, length=LENGTH),
        "captions, without": lambda: without_cache(model, words, memory),
        "captions, 5 beams": lambda: beams(memory),
        "captions, 5 beams, one by one": lambda: [beams([z[i : i + 1] for z in memory])[0] for i in range(batch)],
    }


RATIOS = (
    ("pictures, with adapters", "pictures, plain CLIP"),
    ("texts, with adapters", "texts, plain CLIP"),
    ("both, in step", "both, two towers"),
    ("captions, without", "captions, with cache"),
    ("captions, 5 beams, one by one", "captions, 5 beams"),
    ("captions, 5 beams", "captions, with cache"),
)


def operations(arm: Callable[[], Any]) -> float:
    """In 10^9, of one picture. With gradients asked for, as torch's own attention is counted only then."""
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        arm()
    return counter.get_total_flops() / 1e9


def bytes_per_word(model: AdaptedCLIP) -> dict[str, float]:
    """MB of fp32 weights that a word reads, whatever is kept: the text tower with what is beside it, the writer."""
    beside: list[Any] = [*model.adapters_of("one")["text"]]
    beside += [part for across in model.cross["text"] for part in (across.query, across.adapter)]
    tower = [model.clip.transformer, *beside]
    count = sum(p.numel() for module in tower for p in module.parameters())
    return {"text tower": 4e-6 * count, "writer": 4e-6 * model.clip.vocab_size * model.text_width}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="arms whose name begins so")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = small(options.model)
    with torch.no_grad():
        made = {name: arm for name, arm in arms(model, options.batch).items() if name.startswith(options.only)}
        single = arms(model, 1)
        counted = {name: options.batch * operations(single[name]) for name in made}
    read = bytes_per_word(model)
    print(f"a word reads {read['text tower']:.0f} MB of the text tower and {read['writer']:.0f} MB of the writer")
    times: dict[str, list[float]] = {name: [] for name in made}
    said: dict[str, Any] = {}
    shuffle, clock = random.Random(0), time.process_time if options.threads == 1 else time.perf_counter
    with torch.inference_mode():
        for _ in range(options.rounds):
            for name in shuffle.sample(list(made), len(made)):
                start = clock()
                said[name] = made[name]()
                times[name].append(1000 * (clock() - start))
    for one, other in (RATIOS[3], RATIOS[4]):
        if one in said:
            print(
                f"{options.model}, batch {options.batch}: the same words, {one} and {other}: {said[one] == said[other]}"
            )
    least = {name: min(values) for name, values in times.items()}
    for name, value in least.items():
        print(f"  {name:<32}{value:>10.1f} ms{counted[name]:>10.1f} GFLOP{counted[name] / value * 1000:>8.1f} GFLOP/s")
    pairs = [(one, other) for one, other in RATIOS if one in least]
    ratios = {f"{one} / {other}": (least[one] / least[other], counted[one] / counted[other]) for one, other in pairs}
    for name, (measured, inherent) in ratios.items():
        print(f"{name:<54} time {measured:>6.2f}   operations {inherent:>6.2f}")
    if options.json:
        settings = {k: str(v) for k, v in vars(options).items() if k != "json"}
        told = {"settings": settings, "ms": least, "gflop": counted, "MB a word": read, "ratios": ratios}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
