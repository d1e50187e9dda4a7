"""Pushing folders: one commit, all of it or nothing, and nothing of anybody else's touched."""

from __future__ import annotations

import json
import pickle  # pickles are made here to be refused; none is read
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from small_folders import is_whole, small_folder, small_run, weights

from fashreg.errors import HubConflictError, HubError, ModelError
from fashreg.hub import push as pushing
from fashreg.hub.pull import pull
from fashreg.hub.push import push
from fashreg.manifest import write_manifest
from fashreg.testing.local_hub import Answer, Drop, DropUpload, Edit, LocalHub, Status

REPO = "ann/shirts"
MODEL = {"manifest.json", "config.json", "model.safetensors", "README.md"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "model")


def names(hub: LocalHub, revision: str = "main") -> set[str]:
    return set(hub.repo(REPO).files(revision)) - {".gitattributes"}


# ---- what a push is ----


def test_a_push_is_one_commit_that_holds_the_folder(hub: LocalHub, token: str, model: Path, tmp_path: Path) -> None:
    done = push(model, REPO, token=token, commit_message="first", commit_description="why")
    repository = hub.repo(REPO)
    assert [c.title for c in repository.commits()] == ["first", "initial commit"]
    assert repository.commits()[0].message == "why"
    assert names(hub) == MODEL == set(done.written)
    assert repository.files()["model.safetensors"] == (model / "model.safetensors").read_bytes()
    assert is_whole(repository.files(), "", tmp_path / "desk")
    assert (done.repo, done.commit) == (REPO, repository.head)
    assert str(done) == done.url == f"{hub.endpoint}/{REPO}/commit/{done.commit}"


def test_the_commit_says_what_was_pushed_where_nobody_says_it(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_run(tmp_path / "run"), REPO, token=token)
    assert hub.repo(REPO).commits()[0].title.startswith("Model and evaluation, pushed with fashreg ")


def test_the_same_folder_again_makes_no_commit(hub: LocalHub, token: str, model: Path) -> None:
    first = push(model, REPO, token=token)
    hub.requests.clear()
    again = push(model, REPO, token=token)
    assert (again.commit, again.written, again.deleted) == (first.commit, (), ())
    assert len(hub.repo(REPO).commits()) == 2
    assert not any(request.method == "PUT" for request, _ in hub.requests)


def test_only_what_changed_is_written_and_what_is_gone_is_deleted(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "model", recipe__yaml="a: 1\n"), REPO, token=token)
    done = push(small_folder(tmp_path / "model", value=2.0), REPO, token=token)
    assert set(done.written) == {"config.json", "manifest.json", "model.safetensors"}
    assert done.deleted == ("recipe.yaml",)
    assert names(hub) == MODEL
    assert len(hub.repo(REPO).commits()) == 3


def test_parts_lie_beside_one_another(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_run(tmp_path / "run"), REPO, token=token)
    push(small_folder(tmp_path / "index", "index"), REPO, token=token)
    evaluation = {"evaluation/manifest.json", "evaluation/evaluation.json"}
    assert names(hub) == MODEL | evaluation | {"index/manifest.json", "index/index.json", "index/vectors.safetensors"}
    assert len(hub.repo(REPO).commits()) == 3
    for place in ("", "index", "evaluation"):
        assert is_whole(hub.repo(REPO).files(), place, tmp_path / "desk" / place)


def test_a_part_may_have_a_place_of_its_own(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "e", "evaluation"), REPO, part="evaluation/street", token=token)
    assert names(hub) == {"evaluation/street/manifest.json", "evaluation/street/evaluation.json"}


def test_another_model_says_which_parts_are_older_than_it(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "index", "index"), REPO, token=token)
    push(small_run(tmp_path / "run"), REPO, token=token)
    assert push(small_folder(tmp_path / "model", value=3.0), REPO, token=token).older == ("evaluation", "index")


def test_large_files_go_to_the_storage_and_come_back(hub: LocalHub, token: str, tmp_path: Path) -> None:
    big = weights(0.5, 600_000)
    push(small_folder(tmp_path / "model", model__safetensors=big), REPO, token=token)
    out = pull(REPO, tmp_path / "out", token=token)
    assert (out / "model.safetensors").read_bytes() == big


def test_what_was_pulled_is_pushed_back_without_its_origin(
    hub: LocalHub, token: str, model: Path, tmp_path: Path
) -> None:
    first = push(model, REPO, token=token)
    out = pull(REPO, tmp_path / "out", token=token)
    assert (out / "origin.json").is_file()
    assert push(out, REPO, token=token).commit == first.commit
    push(out, "ann/copy", token=token)
    assert hub.repo("ann/copy").files()["manifest.json"] == hub.repo(REPO).files()["manifest.json"]


# ---- repositories, branches, pull requests ----


@pytest.mark.parametrize("private", [None, True, False])
def test_a_repository_is_made_as_asked(hub: LocalHub, token: str, model: Path, private: bool | None) -> None:
    push(model, REPO, token=token, private=private)
    assert hub.repo(REPO).private is bool(private)


def test_a_public_repository_does_not_get_what_was_to_be_private(hub: LocalHub, token: str, model: Path) -> None:
    before = push(model, REPO, token=token).commit
    with pytest.raises(HubError, match="is public and was asked to be private; nothing was pushed"):
        push(small_folder(model, value=2.0), REPO, token=token, private=True)
    assert hub.repo(REPO).head == before


def test_a_repository_that_is_there_can_be_refused(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token, exist_ok=False)
    with pytest.raises(HubError, match="is there already"):
        push(small_folder(model, value=2.0), REPO, token=token, exist_ok=False)


@pytest.mark.parametrize("how", ["revision", "address"])
def test_a_branch_is_made_and_main_stays(hub: LocalHub, token: str, model: Path, how: str) -> None:
    before = push(model, REPO, token=token).commit
    small_folder(model, value=2.0)
    if how == "revision":
        done = push(model, REPO, token=token, revision="try/two")
    else:
        done = push(model, f"{REPO}@try/two", token=token)
    repository = hub.repo(REPO)
    assert (repository.head, repository.resolve("try/two").id) == (before, done.commit)
    assert repository.files("try/two")["model.safetensors"] == weights(2.0)
    assert repository.files()["model.safetensors"] == weights(1.0)


@pytest.mark.parametrize("kind", ["tag", "commit"])
def test_a_tag_or_commit_is_no_place_to_push_to(hub: LocalHub, token: str, model: Path, kind: str) -> None:
    done = push(model, REPO, token=token)
    hub.repo(REPO).tags["v1"] = done.commit
    with pytest.raises(HubError, match="is a tag or a commit, which never change"):
        push(small_folder(model, value=2.0), REPO, token=token, revision="v1" if kind == "tag" else done.commit)


def test_a_pull_request_leaves_main_as_it_is(hub: LocalHub, token: str, model: Path) -> None:
    before = push(model, REPO, token=token).commit
    reader = hub.token("bob", write=True)
    done = push(small_folder(model, value=2.0), REPO, token=reader, create_pr=True)
    repository = hub.repo(REPO)
    assert repository.head == before
    assert repository.pulls == {"refs/pr/1": done.commit}
    assert "discussions/1" in done.url
    assert repository.files("refs/pr/1")["model.safetensors"] == weights(2.0)


def test_a_pull_request_goes_on(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    push(small_folder(model, value=2.0), REPO, token=token, create_pr=True)
    done = push(small_folder(model, value=3.0), REPO, token=token, revision="refs/pr/1")
    assert hub.repo(REPO).pulls == {"refs/pr/1": done.commit}


def test_a_pull_request_to_a_branch_is_refused(hub: LocalHub, token: str, model: Path) -> None:
    with pytest.raises(HubError, match="goes to main"):
        push(model, REPO, token=token, create_pr=True, revision="try")


def test_a_pull_request_to_nothing_makes_nothing(hub: LocalHub, token: str, model: Path) -> None:
    with pytest.raises(HubError, match="has no model ann/shirts"):
        push(model, REPO, token=token, create_pr=True)
    assert not any(request.path.endswith("/repos/create") for request, _ in hub.requests)


# ---- who may ----


def test_a_token_that_may_only_read_is_told_so(hub: LocalHub, token: str, model: Path) -> None:
    before = push(model, REPO, token=token).commit
    with pytest.raises(HubError, match="write permission") as caught:
        push(small_folder(model, value=2.0), REPO, token=hub.token("ann", write=False))
    assert caught.value.status == 403
    assert hub.repo(REPO).head == before


@pytest.mark.parametrize("whose", ["nobody's", "a wrong one"])
def test_without_a_good_token_nothing_is_pushed(hub: LocalHub, model: Path, whose: str) -> None:
    secret = "hf_wrongwrongwrongwrong"
    with pytest.raises(HubError) as caught:
        push(model, REPO, token=False if whose == "nobody's" else secret)
    assert secret not in str(caught.value)
    assert "log in" in str(caught.value)


def test_somebody_elses_place_is_refused(hub: LocalHub, model: Path) -> None:
    with pytest.raises(HubError, match="403"):
        push(model, REPO, token=hub.token("bob", write=True))


# ---- files that are not ours ----


def test_files_that_no_manifest_lists_stay_on_the_hub(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    hub.repo(REPO).put({"LICENSE": "mine", "index/notes.txt": "n", "pictures/a.png": b"\x89PNG"})
    push(small_folder(model, value=2.0), REPO, token=token)
    assert names(hub) == MODEL | {"LICENSE", "index/notes.txt", "pictures/a.png"}
    assert hub.repo(REPO).files()["LICENSE"] == b"mine"


def test_a_strangers_file_is_not_replaced_unless_by_name(hub: LocalHub, token: str, model: Path) -> None:
    hub.token("ann")
    push(small_folder(model.parent / "i", "index"), REPO, token=token)
    hub.repo(REPO).put({"config.json": '{"model_type": "bert"}'})
    before = hub.repo(REPO).head
    with pytest.raises(HubError, match=r"holds config\.json, which fashreg did not write .* --include config\.json"):
        push(model, REPO, token=token)
    assert hub.repo(REPO).head == before
    push(model, REPO, token=token, include=["config.json"])
    assert json.loads(hub.repo(REPO).files()["config.json"])["value"] == 1.0


def test_a_manifest_that_cannot_be_read_stops_a_push(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    hub.repo(REPO).put({"manifest.json": "no"})
    with pytest.raises(HubError, match=r"manifest\.json of .* is not the manifest of a model"):
        push(small_folder(model, value=2.0), REPO, token=token)


def test_a_model_does_not_replace_an_index(hub: LocalHub, token: str, model: Path, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "i", "index"), REPO, part="", token=token)
    with pytest.raises(HubError, match="'index', and a 'model' was asked for"):
        push(model, REPO, token=token)


def test_an_earlier_manifest_cannot_reach_into_another_part(hub: LocalHub, token: str, tmp_path: Path) -> None:
    push(small_folder(tmp_path / "i", "index"), REPO, token=token)
    push(
        small_folder(tmp_path / "m", **{"index/vectors__safetensors": weights(9.0)}),
        REPO,
        token=token,
        include=["index/vectors.safetensors"],
    )
    push(small_folder(tmp_path / "m"), REPO, token=token)
    assert "index/vectors.safetensors" in names(hub)


@pytest.mark.parametrize("name", ["notes.txt", "weights.pt", "sub/thing.json"])
def test_a_file_that_fashreg_did_not_write_is_pushed_by_name_only(
    hub: LocalHub, token: str, model: Path, name: str
) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"mine")
    with pytest.raises(ModelError, match=rf"also holds {name}.* --include {name}"):
        push(model, REPO, token=token)
    assert hub.requests == []
    push(model, REPO, token=token, include=[name])
    assert hub.repo(REPO).files()[name] == b"mine"
    assert name not in json.loads(hub.repo(REPO).files()["manifest.json"])["files"]


def test_included_files_of_a_run_lie_where_they_belong(hub: LocalHub, token: str, tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    (run / "model" / "LICENSE").write_text("l")
    (run / "report.html").write_text("r")
    with pytest.raises(ModelError, match="--include model/LICENSE"):
        push(run, REPO, token=token)
    push(run, REPO, token=token, include=["model/LICENSE", "report.html"])
    assert {"LICENSE", "report.html"} <= names(hub)
    assert "metrics.jsonl" not in names(hub)


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")


PICKLES = {
    "protocol 4 under a good name": lambda p: (p / "model.safetensors").write_bytes(pickle.dumps([1], 4)),
    "protocol 2 as text": lambda p: (p / "recipe.yaml").write_bytes(pickle.dumps([1], 2)),
    "protocol 0 as json": lambda p: (p / "config.json").write_bytes(pickle.dumps([1], 0)),
    "a torch archive": lambda p: a_zip(p / "model.safetensors"),
    "by its ending": lambda p: (p / "state.pt").write_bytes(b"anything"),
    "numpy": lambda p: (p / "vectors.npy").write_bytes(b"\x93NUMPY"),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_even_where_the_manifest_lists_it(
    hub: LocalHub, token: str, model: Path, name: str
) -> None:
    PICKLES[name](model)
    write_manifest(model, "model")
    with pytest.raises(ModelError, match=r"pickle|does not hold what a"):
        push(model, REPO, token=token)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["tool.py", "run.sh", "photo.png", "model.bin", "page.html", "text.md"])
def test_what_fashreg_never_writes_is_refused_even_where_the_manifest_lists_it(
    hub: LocalHub, token: str, model: Path, name: str
) -> None:
    (model / name).write_bytes(b"\0\xffnothing of ours")
    write_manifest(model, "model")
    with pytest.raises(ModelError, match=f"{name} .*--include {name}"):
        push(model, REPO, token=token)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "a\\b", "nothing.txt", "."])
def test_an_included_name_is_a_file_in_the_folder(model: Path, name: str) -> None:
    (model.parent / "secret.txt").write_text("s")
    with pytest.raises(ModelError, match=r"plain path inside|holds no file nothing"):
        push(model, REPO, include=[name])


def test_a_damaged_folder_is_not_pushed(hub: LocalHub, token: str, model: Path) -> None:
    (model / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json was changed after it was written"):
        push(model, REPO, token=token)
    (model / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        push(model, REPO, token=token)
    shutil.rmtree(model)
    with pytest.raises(ModelError, match="there is no folder"):
        push(model, REPO, token=token)
    assert hub.requests == []


def test_a_folder_of_another_kind_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="kind 'checkpoint'; pushed can be: model, index, evaluation, a run"):
        push(small_folder(tmp_path / "c", "checkpoint"), REPO)


def test_a_part_of_a_run_is_pushed_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a run, and part says where one folder goes"):
        push(small_run(tmp_path / "run"), REPO, part="evaluation")


# ---- README.md ----

CARD = """---
license: mit
---

Written by hand.

<!-- fashreg:begin x -->
Generated {}. fashreg.load("path/to/this/folder")
<!-- fashreg:end -->
"""


def test_what_people_wrote_into_the_card_on_the_hub_stays(
    hub: LocalHub, token: str, model: Path, tmp_path: Path
) -> None:
    small_folder(model, README__md=CARD.format(1).replace("Written by hand.", ""))
    push(model, REPO, token=token)
    there = hub.repo(REPO).files()["README.md"].decode()
    assert 'Generated 1. fashreg.load("ann/shirts")' in there
    hub.repo(REPO).put({"README.md": there.replace("<!-- fashreg:begin", "By a visitor.\n\n<!-- fashreg:begin")})
    assert push(model, REPO, token=token).written == ("README.md", "manifest.json")
    small_folder(model, value=2.0, README__md=CARD.format(2).replace("Written by hand.", ""))
    push(model, REPO, token=token)
    merged = hub.repo(REPO).files()["README.md"].decode()
    assert "By a visitor." in merged
    assert "Generated 2." in merged
    assert "Generated 1." not in merged
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


def test_a_card_that_was_edited_in_the_folder_is_pushed(hub: LocalHub, token: str, model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text("# All mine\n")
    push(model, REPO, token=token)
    assert "# All mine" in hub.repo(REPO).files()["README.md"].decode()
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


def test_a_card_that_the_hub_does_not_take_is_said(hub: LocalHub, token: str, model: Path) -> None:
    said = json.dumps({"errors": [{"message": "license must be one of ..."}], "warnings": []}).encode()
    hub.faults.add(Edit(lambda answer: replace(answer, status=400, content=said)), "*/validate-yaml")
    with pytest.raises(HubError, match=r"does not take this commit: .*license must be one of"):
        push(model, REPO, token=token)
    assert names(hub) == set()


# ---- faults ----


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr("fashreg.hub.client.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "path", ["*/commit/main", "*/preupload/main", "*/info/lfs/objects/batch", "*/tree/*", f"/api/models/{REPO}"]
)
def test_a_server_that_stumbles_is_asked_again(hub: LocalHub, token: str, model: Path, path: str) -> None:
    push(model, REPO, token=token)
    order = hub.faults.add(Status(503), path, times=2)
    push(small_folder(model, value=2.0), REPO, token=token)
    assert order.struck == 2
    assert hub.repo(REPO).files()["model.safetensors"] == weights(2.0)
    assert len(hub.repo(REPO).commits()) == 3


@pytest.mark.usefixtures("patient")
def test_a_server_that_stays_away_leaves_the_old_revision_whole(
    hub: LocalHub, token: str, model: Path, tmp_path: Path
) -> None:
    before = push(model, REPO, token=token).commit
    hub.faults.add(Status(503), "*/commit/main", times=None)
    with pytest.raises(HubError, match="answers 503"):
        push(small_folder(model, value=2.0), REPO, token=token)
    assert hub.repo(REPO).head == before
    assert is_whole(hub.repo(REPO).files(), "", tmp_path / "desk")


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("path", ["*/validate-yaml", "*/commit/main"])
def test_an_answer_that_is_no_json_is_asked_for_again(hub: LocalHub, token: str, model: Path, path: str) -> None:
    order = hub.faults.add(Edit(lambda answer: replace(answer, content=b"<html>")), path)
    push(model, REPO, token=token)
    assert order.struck == 1
    assert len(hub.repo(REPO).commits()) == 2


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", [Drop(done=True), Status(503, done=True)])
def test_a_commit_whose_answer_was_lost_is_found_and_not_made_twice(
    hub: LocalHub, token: str, model: Path, fault: Drop | Status
) -> None:
    push(model, REPO, token=token)
    order = hub.faults.add(fault, "*/commit/main")
    done = push(small_folder(model, value=2.0), REPO, token=token)
    assert order.struck == 1
    assert done.commit == hub.repo(REPO).head
    assert len(hub.repo(REPO).commits()) == 3


@pytest.mark.usefixtures("patient")
def test_a_pull_request_whose_answer_was_lost_is_not_made_twice(hub: LocalHub, token: str, model: Path) -> None:
    push(model, REPO, token=token)
    hub.faults.add(Drop(done=True), "*/commit/main", times=None)
    with pytest.raises(HubError, match="cannot be reached"):
        push(small_folder(model, value=2.0), REPO, token=token, create_pr=True)
    assert len(hub.repo(REPO).pulls) == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("after", [0, 100])
def test_an_upload_that_is_cut_is_done_again(hub: LocalHub, token: str, model: Path, after: int) -> None:
    order = hub.faults.add(DropUpload(after=after), method="PUT")
    push(model, REPO, token=token)
    assert order.struck == 1
    assert hub.repo(REPO).files()["model.safetensors"] == weights(1.0)


def test_a_file_that_changes_while_it_is_pushed_is_noticed(
    hub: LocalHub, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_folder(tmp_path / "m", model__safetensors=weights(1.0, 600_000))
    listed = pushing.list_files

    def meanwhile(*arguments: object) -> object:
        (model / "model.safetensors").write_bytes(weights(2.0, 600_000))
        return listed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pushing, "list_files", meanwhile)
    with pytest.raises(HubError, match=r"model\.safetensors changed while it was pushed; nothing was written"):
        push(model, REPO, token=token)
    assert names(hub) == set()


def ignoring_weights(answer: Answer) -> Answer:
    said = json.loads(answer.content)
    for file in said["files"]:
        file["shouldIgnore"] = file["path"].endswith(".safetensors")
    return replace(answer, content=json.dumps(said).encode())


def test_a_gitignore_that_would_leave_files_out_stops_a_push(hub: LocalHub, token: str, model: Path) -> None:
    push(small_folder(model.parent / "i", "index"), REPO, token=token)
    before = hub.repo(REPO).put({".gitignore": "*.safetensors\n"})
    hub.faults.add(Edit(ignoring_weights), "*/preupload/main", times=None)
    with pytest.raises(HubError, match=r"\.gitignore of ann/shirts leaves model\.safetensors out"):
        push(model, REPO, token=token)
    assert hub.repo(REPO).head == before


def test_without_network_a_push_says_so(
    hub: LocalHub, token: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        push(model, REPO, token=token)
    assert hub.requests == []


# ---- two who push ----


def test_the_branch_must_be_where_a_person_says(hub: LocalHub, token: str, model: Path) -> None:
    first = push(model, REPO, token=token).commit
    second = push(small_folder(model, value=2.0), REPO, token=token, parent_commit=first).commit
    small_folder(model, value=3.0)
    with pytest.raises(HubConflictError, match=f"is at {second[:12]} now, and this push goes on from {first[:12]}"):
        push(model, REPO, token=token, parent_commit=first)
    assert hub.repo(REPO).head == second
