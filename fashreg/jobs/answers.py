"""What a model says of pictures in words: classes, captions. Plain data, a mapping for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashreg.encoder.questions import paired
from fashreg.errors import DataError, FashregError
from fashreg.jobs.opening import Model, open_model


def classify_pictures(
    model: Model,
    pictures: Sequence[str | Path],
    *,
    texts: Sequence[str] | None = None,
    task: str | None = None,
    k: int = 5,
    batch_size: int = 64,
) -> list[dict[str, Any]]:
    """{"image", "classes": [{"name", "share"}, ...]} of each picture, best first, with "text" where one was given.

    texts: one for all pictures, or one for each; one picture is asked with each of several.
    """
    encoder, _ = open_model(model)
    said = _paired(len(pictures), texts)
    found = encoder.classify(list(pictures), texts=said, task=task, k=k, batch_size=batch_size)
    shown = list(pictures) * len(found) if len(pictures) == 1 else list(pictures)
    return [
        {
            "image": str(picture),
            **({} if said is None else {"text": said[row]}),
            "classes": [{"name": name, "share": round(share, 6)} for name, share in classes],
        }
        for row, (picture, classes) in enumerate(zip(shown, found, strict=True))
    ]


def caption_pictures(
    model: Model,
    pictures: Sequence[str | Path],
    *,
    task: str | None = None,
    beams: int = 1,
    length: int | None = None,
    batch_size: int = 32,
) -> list[dict[str, str]]:
    """{"image", "caption"} of each picture."""
    encoder, _ = open_model(model)
    try:
        found = encoder.caption(list(pictures), task=task, beams=beams, length=length, batch_size=batch_size)
    except FashregError:
        raise
    except ValueError as error:  # a length that the model has no room for
        raise DataError(str(error)) from error
    return [{"image": str(picture), "caption": text} for picture, text in zip(pictures, found, strict=True)]


def _paired(count: int, texts: Sequence[str] | None) -> list[str] | None:
    try:
        return None if texts is None else paired(count, texts)
    except ValueError as error:
        raise DataError(str(error)) from None
