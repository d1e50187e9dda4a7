"""`fashreg index build|add|delete|update|info` and `fashreg search`: a gallery, its changes, and questions to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fashreg.cli.options import AsJson, Batch, Model, SetOption, Split, TableOption, component
from fashreg.errors import shown

_SHOWN = frozenset({"id", "image", "label", "score"})

index_app = typer.Typer(help="Build a searchable gallery, and change it.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Index folder.")]
Place = Annotated[
    str, typer.Argument(metavar="FOLDER", help="Index folder; or user/name@REV: that repository's index on the Hub.")
]
OfTask = Annotated[
    str | None,
    typer.Option("--task", help="Whose index, where FOLDER holds one for each task; default: the only one that fits."),
]
Moved = Annotated[
    str | None,
    typer.Option("--model", help="Model folder, when it has moved since the index was built, or is a later one."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only pictures of which this holds (repeatable: all must): category=dress, colour=red,blue (either), "
        "colour!=red, price<50."
    ),
]


@index_app.command("build")
def build(
    model: Model,
    table: TableOption,
    out: Annotated[Path, typer.Option(help="Folder to make, or of an index to replace.")],
    kind: Annotated[
        str, typer.Option("--index", help="Registered index: exact, faiss, or '{name: faiss, kind: hnsw}'.")
    ] = "exact",
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Column that hits show and --where may ask for (repeatable), beside label and attributes."),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Search as broadly as it takes to find this share of the true ten nearest."),
    ] = None,
    split: Split = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task or attribute of a model with several; repeated: an index for each, in OUT/TASK."),
    ] = None,
    every_task: Annotated[bool, typer.Option("--every-task", help="An index for each task, in OUT/TASK.")] = False,
    batch_size: Batch = 64,
    set_: SetOption = None,
) -> None:
    """Embed a table and make it searchable; what the index finds of exact search's answers is measured and kept."""
    from fashreg.data.columns import counted
    from fashreg.jobs.index_model import how_to_ask
    from fashreg.jobs.index_tasks import folder_name
    from fashreg.jobs.indexing import build_index, build_indexes

    ours: dict[str, Any] = {
        "index": component(kind),
        "keep": keep or (),
        "recall": recall,
        "split": split,
        "batch_size": batch_size,
        "options": set_ or (),
    }
    if not every_task and len(task or ()) < 2:
        gallery = build_index(model, table, out, task=task[0] if task else None, **ours)
        print(
            shown(
                f"{counted(len(gallery), 'picture')} indexed in {out}; next: fashreg search {out} {how_to_ask(gallery)}"
            )
        )
        return
    made = build_indexes(model, table, out, tasks=None if every_task else task, **ours)
    asked = {how_to_ask(gallery): out / folder_name(name) for name, gallery in made.items()}  # one index of each way
    for name, gallery in made.items():
        print(shown(f"{counted(len(gallery), 'picture')} indexed in {out / folder_name(name)}"))
    for how, place in asked.items():
        print(shown(f"next: fashreg search {place} {how}"))


@index_app.command("add")
def add(
    folder: Folder,
    table: TableOption,
    split: Split = None,
    model: Moved = None,
    batch_size: Batch = 64,
    set_: SetOption = None,
) -> None:
    """Embed the pictures of a table and add them; without an id column they are numbered on.

    A folder with an index for each of several tasks: to all of them, from one pass of the pictures.
    """
    from fashreg.jobs.index_changes import add_to_index
    from fashreg.jobs.index_several import add_to_indexes

    how = {"model": model, "split": split, "batch_size": batch_size, "options": set_ or ()}
    _change(folder, add_to_index, add_to_indexes, table, **how)


@index_app.command("update")
def update(
    folder: Folder,
    table: TableOption,
    split: Split = None,
    model: Moved = None,
    batch_size: Batch = 64,
    set_: SetOption = None,
) -> None:
    """Embed pictures of the index again, and replace what is known of them; matched by id column, else by path.

    A folder with an index for each of several tasks: in all of them, from one pass of the pictures.
    """
    from fashreg.jobs.index_changes import update_index
    from fashreg.jobs.index_several import update_indexes

    how = {"model": model, "split": split, "batch_size": batch_size, "options": set_ or ()}
    _change(folder, update_index, update_indexes, table, **how)


def _change(folder: Path, one: Any, several: Any, *given: Any, **how: Any) -> None:
    """The change of one index folder, or of all in a folder of them."""
    from fashreg.jobs.index_tasks import indexes_in

    if not indexes_in(folder):
        print(one(folder, *given, **how))
        return
    for name, change in several(folder, *given, **how).items():
        print(shown(f"{name}: {change}"))


@index_app.command("delete")
def delete(
    folder: Folder,
    id_: Annotated[list[int] | None, typer.Option("--id", help="Id of a picture (repeatable).")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Path of a picture (repeatable).")] = None,
    where: Where = None,
) -> None:
    """Delete pictures from the index, or from all in a folder of several; the files of the pictures stay."""
    from fashreg.jobs.index_changes import delete_from_index
    from fashreg.jobs.index_several import delete_from_indexes

    _change(folder, delete_from_index, delete_from_indexes, ids=id_ or (), images=image or (), where=where)


@index_app.command("info")
def info(folder: Place, task: OfTask = None, as_json: AsJson = False) -> None:
    """What an index folder holds, after every file was checked."""
    from fashreg.jobs.index_changes import describe_index

    said = describe_index(folder, task)
    if as_json:
        print(json.dumps(said, indent=1))
        return
    for name, value in said.items():
        if value is None:
            continue
        told = ", ".join(f"{k} {v}" for k, v in value.items() if v is not None) if isinstance(value, dict) else value
        print(shown(f"{name:<18}{', '.join(told) if isinstance(told, list) else told}"))


def search(
    folder: Place,
    task: OfTask = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="Query picture (repeatable); default: four of the gallery, as examples.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help='Words to find (repeatable); beside --image or --id: what is to be other, "but in red".'),
    ] = None,
    id_: Annotated[
        list[int] | None, typer.Option("--id", help="Ask with a picture of the gallery by its id (repeatable).")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="Ask with vectors: .safetensors (as `fashreg embed` writes) or .npy.")
    ] = None,
    where: Where = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbours per query.")] = 10,
    model: Moved = None,
    across: Annotated[
        bool,
        typer.Option(
            "--across-models", help="Ask with the vectors of --model although another model made the index's."
        ),
    ] = False,
    reranker: Annotated[
        list[str] | None,
        typer.Option(help="Registered reranker, or '{name: NAME, ...}' (repeatable); default: none."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also draw queries and hits into this PNG.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write queries and hits as one HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the nearest pictures; larger score = nearer. A picture of the gallery leaves itself out."""
    from fashreg.jobs.searching import search_folder, show

    asked, answers = search_folder(
        folder,
        task=task,
        pictures=image or (),
        ids=id_ or (),
        texts=text or (),
        vectors=vectors,
        k=k,
        where=where,
        model=model,
        across=across,
        rerank=[component(text) for text in reranker or ()],
    )
    show(asked, answers, sheet=sheet, html=html, title=f"{folder}", where=where)
    if as_json:
        rows = zip(asked.names, asked.texts, answers, strict=True)
        found = [{"query": name, **({"text": said} if said else {}), "hits": hits} for name, said, hits in rows]
        print(json.dumps(found, indent=1))
        return
    for name, hits in zip(asked.names, answers, strict=True):
        print(shown(name))
        for rank, hit in enumerate(hits, start=1):
            label = f"{hit['label']}  " if hit.get("label") else ""
            print(shown(f"  {rank:>3}  {hit['score']:.4f}  {label}{hit['image']}{_kept(hit)}"))


def _kept(hit: Mapping[str, Any]) -> str:
    """`column: value` of what an index knows beside picture and label, where there is something."""
    return "".join(f"  {name}: {hit[name]}" for name in hit if name not in _SHOWN and hit[name] not in (None, ""))
