"""`fashreg push`, `pull`, `versions`, `tag`: models and what belongs to them, over the Hugging Face Hub or a mirror."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fashreg.cli.options import AsJson

Repository = Annotated[str, typer.Argument(metavar="USER/NAME[@REV]", help="Repository; @: a branch, tag or commit.")]


def push(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Model, index(es) or evaluation, or a run: model and evaluation.")
    ],
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository; made when it is not there.")],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="What a repository that is made now will be.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch; made when it is not there. Default: main.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Place in the repository; default: index, evaluation, or the root for a model.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="File in DIR to push though fashreg did not write it (repeatable).")
    ] = None,
    message: Annotated[str | None, typer.Option(help="Title of the commit.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="As a pull request, for its owner to merge.")] = False,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="USER/NAME[@REV]", help="Model on the Hub: only what differs from it is pushed (adapters)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Push a folder to the Hub as one commit: checked first, and all of it or nothing; strangers' files stay."""
    how: dict[str, Any] = {"private": private, "revision": revision, "part": part, "include": include or ()}
    how |= {"commit_message": message, "create_pr": create_pr}
    if base is None:
        from fashreg.hub.push import push as run

        done = run(folder, repo, **how)
    else:
        from fashreg.jobs.pushing import push_on_base

        done = push_on_base(folder, repo, base=base, **how)
    if as_json:
        print(json.dumps(asdict(done), indent=1))
        return
    nothing = "" if done.written or done.deleted else " (it was there already)"
    print(f"{done.repo}@{done.commit[:12]}{nothing}: {done.url}")
    if done.deleted:
        print(f"deleted, because {folder} holds them no longer: {', '.join(done.deleted)}")
    if done.older:
        print(f"note: {', '.join(done.older)} in {done.repo} came from an earlier model; push them anew, too")
    if not create_pr:
        print(f"next: fashreg pull {done.repo}@{done.commit} --out FOLDER, or fashreg tag {done.repo} v1")


def versions(
    repo: Repository,
    as_json: AsJson = False,
) -> None:
    """List the commits of a repository, newest first, with their tags and branches."""
    from fashreg.hub.revisions import versions as run

    found = run(repo)
    if as_json:
        print(json.dumps([{**asdict(v), "date": v.date.isoformat()} for v in found], indent=1))
        return
    for version in found:
        names = ", ".join([*version.tags, *version.branches])
        print(f"{version.commit[:12]}  {version.date:%Y-%m-%d %H:%M}  {f'[{names}] ' if names else ''}{version.title}")


def tag(
    repo: Repository,
    name: Annotated[str, typer.Argument(metavar="TAG", help="Name that stays with one commit, e.g. v1.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit to name. Default: main.")] = None,
    message: Annotated[str | None, typer.Option(help="What the tag says.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the tag; what it named stays.")] = False,
) -> None:
    """Give a commit a name that stays: `user/name@TAG` is that model from then on. A tag is never moved."""
    from fashreg.errors import HubError
    from fashreg.hub.revisions import create_tag, delete_tag

    if delete and (revision or message):
        raise HubError("--delete takes the name of the tag alone: leave out --revision and --message")
    if delete:
        delete_tag(repo, name)
        print(f"{repo} has no tag {name} any more")
        return
    commit = create_tag(repo, name, revision=revision, message=message)
    print(f"{repo.partition('@')[0]}@{name} is {commit[:12]}")


def pull(
    address: Annotated[str, typer.Argument(metavar="USER/NAME[@REV]", help="Repository, and branch, tag or commit.")],
    out: Annotated[Path, typer.Option(help="Folder to make, or of the same kind to replace.")],
    part: Annotated[
        str, typer.Option(help="Folder of the repository: index, evaluation; default: the model at its root.")
    ] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit, if not in the address.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="From the cache only; no network.")] = False,
) -> None:
    """Fetch a model (or index, or evaluation) from the Hub into a folder: checked, whole or not at all."""
    from fashreg.hub.origin import read_origin
    from fashreg.storage.loading import pull_folder

    pull_folder(address, out, part=part, revision=revision, local_files_only=offline)
    print(f"{read_origin(out)} is in {out}, every file checked")
