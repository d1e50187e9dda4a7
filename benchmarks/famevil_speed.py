"""What adapters cost: a forward beside plain CLIP, towers in step beside two towers, captions with a cache or without.

Random weights (time does not depend on them), fp32, no gradient. All arms in turn, least time of each, ratios.

    python benchmarks/famevil_speed.py [--model ViT-B-32-quickgelu] [--batch 8] [--rounds 5] [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from fashreg_famevil.decoding import Ends, greedy
from fashreg_famevil.model import AdaptedCLIP
from torch import Tensor, nn

START, END, LENGTH = 49406, 49407, 40


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


def arms(model: AdaptedCLIP, batch: int) -> dict[str, Callable[[], object]]:
    size = model.clip.visual.image_size
    pictures = torch.randn(batch, 3, *(size if isinstance(size, tuple) else (size, size)))
    tokens = torch.randint(1, START, (batch, model.context_length))
    tokens[:, 0], tokens[:, 30] = START, END
    words = nn.Linear(model.text_width, model.clip.vocab_size)
    with torch.no_grad():
        words.bias[END] = -1e4  # captions of full length
    memory = [z.clone() for z in model.memory(pictures, "one")]
    ends = Ends(START, END)
    return {
        "pictures, plain CLIP": lambda: model.clip.encode_image(pictures),
        "pictures, with adapters": lambda: model.image(pictures, "one"),
        "texts, plain CLIP": lambda: model.clip.encode_text(tokens),
        "texts, with adapters": lambda: model.text(tokens, "one"),
        "both, two towers": lambda: (model.image(pictures, "one"), model.text(tokens, "one")),
        "both, in step": lambda: model.fused(pictures, tokens, "one"),
        "captions, with cache": lambda: greedy(model, words, memory, "one", ends, length=LENGTH),
        "captions, without": lambda: without_cache(model, words, memory),
    }


RATIOS = (
    ("pictures, with adapters", "pictures, plain CLIP"),
    ("texts, with adapters", "texts, plain CLIP"),
    ("both, in step", "both, two towers"),
    ("captions, without", "captions, with cache"),
)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32-quickgelu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    made = arms(small(options.model), options.batch)
    with_cache, without = (made[f"captions, {how}"]() for how in ("with cache", "without"))
    print(f"{options.model}, batch {options.batch}, {LENGTH} words; same words either way: {with_cache == without}")
    times: dict[str, list[float]] = {name: [] for name in made}
    shuffle = random.Random(0)
    for _ in range(options.rounds):
        for name in shuffle.sample(list(made), len(made)):
            start = time.perf_counter()
            made[name]()
            times[name].append(1000 * (time.perf_counter() - start))
    least = {name: min(values) for name, values in times.items()}
    for name, value in least.items():
        print(f"  {name:<26}{value:>10.1f} ms")
    ratios = {f"{one} / {other}": least[one] / least[other] for one, other in RATIOS}
    for name, value in ratios.items():
        print(f"{name:<52}{value:>6.2f}")
    if options.json:
        told = {"settings": {k: str(v) for k, v in vars(options).items() if k != "json"}, "ms": least, "ratios": ratios}
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
