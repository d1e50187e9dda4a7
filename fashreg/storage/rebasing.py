"""A saved model once more, holding only what differs from a base on the Hub: a head, adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fashreg.hub.origin import ORIGIN
from fashreg.manifest import CARD, place_file, verify_folder, write_folder_atomically
from fashreg.readme import write_card
from fashreg.storage import CONFIG, KIND, WEIGHTS, encoder_from
from fashreg.storage.model_config import ModelConfig, read_model_config
from fashreg.storage.partial import Access, what_differs
from fashreg.strict_json import write_json
from fashreg.strict_tensors import write_tensors


def save_on_base(
    folder: Path, out: Path, base: str, *, card: Callable[[ModelConfig], str], access: Access | None = None
) -> Path:
    """The model of `folder` in `out`, without the tensors that `base` has to the bit; `folder` stays as it is.

    base: "user/name" or "user/name@REVISION" on the Hub; its present commit is what is kept. card: README.md, from the
    config that names the base. What else the manifest lists comes along. Raises ModelError for a base that is not on
    the Hub, cannot be loaded or shares nothing.
    """
    reach = access or Access()
    manifest = verify_folder(folder, kind=KIND)
    weights = {name: tensor.contiguous() for name, tensor in encoder_from(manifest, access=reach).state_dict().items()}
    own, pinned = what_differs(weights, base, reach)
    config = read_model_config(manifest.path(CONFIG)).model_copy(update={"base": pinned})
    with write_folder_atomically(out, kind=KIND) as fresh:
        write_json(fresh / CONFIG, config.model_dump(mode="json"))
        write_tensors(fresh / WEIGHTS, own)
        write_card(fresh / CARD, card(config))
        for name in set(manifest.files) - {CONFIG, WEIGHTS, CARD, ORIGIN}:
            place_file(folder / name, fresh / name)
    return out
