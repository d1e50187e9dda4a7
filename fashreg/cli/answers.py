"""`fashreg classify` and `fashreg caption`: what a model says of pictures in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fashreg.cli.options import AsJson, Batch, Model
from fashreg.errors import shown

Pictures = Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Pictures.")]
OfKind = Annotated[str | None, typer.Option(help="Task that answers; default: the only one that can.")]


def classify(
    model: Model,
    images: Pictures,
    text: Annotated[
        list[str] | None,
        typer.Option(help="What is said of the pictures, for a model trained with it: one for all, or one for each."),
    ] = None,
    task: OfKind = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Classes to name for each picture.")] = 5,
    batch_size: Batch = 64,
    as_json: AsJson = False,
) -> None:
    """Name the class of pictures: the likeliest with their shares, of the classes that the model was trained on."""
    from fashreg.jobs.answers import classify_pictures

    found = classify_pictures(model, images, texts=text, task=task, k=k, batch_size=batch_size)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for answer in found:
        print(shown(answer["image"] + (f' + "{answer["text"]}"' if answer.get("text") else "")))
        for named in answer["classes"]:
            print(shown(f"  {named['share']:.4f}  {named['name']}"))


def caption(
    model: Model,
    images: Pictures,
    task: OfKind = None,
    beams: Annotated[
        int, typer.Option(min=1, help="Captions followed at the same time; 1: the likeliest word each time.")
    ] = 1,
    length: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a caption; default: as many as fit.")
    ] = None,
    batch_size: Batch = 32,
    as_json: AsJson = False,
) -> None:
    """Write a caption for each picture."""
    from fashreg.jobs.answers import caption_pictures

    found = caption_pictures(model, images, task=task, beams=beams, length=length, batch_size=batch_size)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for answer in found:
        print(shown(f"{answer['image']}\n  {answer['caption']}"))
