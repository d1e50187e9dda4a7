"""The thing that searches: a backbone and a head, pictures and texts in, embedding vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fashreg.encoder.answers import captions_of, classes_of, logits_of
from fashreg.encoder.asked import Items, Reading, Texts
from fashreg.encoder.embedding import embed_items, embed_items_by_task
from fashreg.encoder.fingerprint import fingerprint, task_fingerprint
from fashreg.encoder.network import Network

if TYPE_CHECKING:
    from fashreg.hub.push import Pushed


class Encoder(Network):
    """A trained or fresh model: a backbone (fashreg.interfaces.Backbone) and a head (fashreg.interfaces.Head).

    `embed` turns pictures, texts, or both into vectors; `classify` and `caption` answer in words. What it is as an
    nn.Module, with the steps before its head: `fashreg.encoder.network.Network`.
    """

    def embed(
        self,
        items: Items | None = None,
        *,
        texts: Texts | None = None,
        batch_size: int = 64,
        task: str | None = None,
        workers: int | None = None,
        column: str | None = None,
        stage: int = 0,
        progress: bool = False,
    ) -> Tensor:
        """Embeddings (N, D), float32 on the CPU, of any pictures, in their order; of texts; or of both together.

        items: a list of paths and PIL images (or one of them), a DataFrame (`column` names the paths; by default
        `image` or `path`), a Table, or a tensor: prepared pictures (N, 3, H, W), or what `until(images, stage)` gave.
        texts: a text or a list; beside items each picture is embedded together with its text ("but in red"); one text
        is for all pictures, one picture is for all texts. task: None is the only one that answers such a question.
        workers: threads that decode (default: chosen from the processors). Works in evaluation mode without gradients
        and leaves every module in the mode it was in. No items give (0, D).
        """
        return embed_items(self, items, texts, task, Reading(batch_size, workers, column, stage, progress))

    def embed_tasks(
        self,
        items: Items,
        tasks: Sequence[str] | None = None,
        *,
        batch_size: int = 64,
        workers: int | None = None,
        column: str | None = None,
        stage: int = 0,
        progress: bool = False,
    ) -> dict[str, Tensor]:
        """Task -> embeddings (N, D): pictures pass the trunk once, and every head answers.

        tasks: which, default all of the head's. The vectors are to the bit those of `embed(items, task=...)`, whose
        other arguments these are. All are in memory at once: N * D * 4 bytes for each task. Where the trunk itself
        depends on the task, pictures are read once and pass it once for each task. ValueError for a task that the head
        does not serve, and for a head without tasks.
        """
        return embed_items_by_task(self, items, tasks, Reading(batch_size, workers, column, stage, progress))

    def logits(
        self,
        items: Items,
        *,
        texts: Texts | None = None,
        task: str | None = None,
        batch_size: int = 64,
        workers: int | None = None,
        column: str | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Logits (N, C) of the classes that a task knows, float32 on the CPU; arguments as `classify`."""
        return logits_of(self, items, texts, task, Reading(batch_size, workers, column, progress=progress))

    def classify(
        self,
        items: Items,
        *,
        texts: Texts | None = None,
        task: str | None = None,
        k: int = 5,
        batch_size: int = 64,
        workers: int | None = None,
        column: str | None = None,
        progress: bool = False,
    ) -> list[list[tuple[str, float]]]:
        """The k likeliest classes of each picture with their probabilities, best first.

        items: as `embed`. texts: what is said of each picture, for a model that was trained with it; without, it is
        told nothing. task: None is the only one that names classes. ModelError for a model that names none.
        """
        return classes_of(self, items, texts, task, k, Reading(batch_size, workers, column, progress=progress))

    def caption(
        self,
        items: Items,
        *,
        task: str | None = None,
        beams: int = 1,
        length: int | None = None,
        batch_size: int = 32,
        workers: int | None = None,
        column: str | None = None,
        progress: bool = False,
    ) -> list[str]:
        """A caption for each picture. beams: captions followed at the same time, 1 takes the likeliest word each time.

        length: of the longest, in tokens; None: as long as the model can. task: None is the only one that writes.
        ModelError for a model that writes none.
        """
        return captions_of(self, items, task, beams, length, Reading(batch_size, workers, column, progress=progress))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within the block the encoder is in evaluation mode; afterwards each module is in the mode it was in."""
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training

    def fingerprint(self, task: str | None = None) -> str:
        """sha256 over architecture, preprocessing and weights; independent of files, devices and versions.

        task: only what makes that task's vectors counts: the trunk, the task's head and the preprocessing. It stays
        when other tasks come or learn. A head without tasks has the one fingerprint, whatever the task.
        ValueError for a task that the head does not serve.
        """
        if task is None or not self.head.tasks:
            return fingerprint(self.backbone, self.head, self.input_spec)
        return task_fingerprint(self.backbone, self.head, self.input_spec, task)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        exist_ok: bool = True,
        parent_commit: str | None = None,
        tags: Sequence[str] = (),
        licence: str | None = None,
        base: str | None = None,
        recipe: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Pushed:
        """Push this encoder to `user/name` on the Hugging Face Hub as one commit; `fashreg.load` reads it back.

        The first nine arguments are those of huggingface_hub and of sentence-transformers; a repository or branch that
        is not there is made. parent_commit: the branch must still be at it. tags: of the model card. licence: SPDX
        identifier. base: "user/name@REVISION", of which only what differs is stored. recipe, metrics, provenance: what
        the card tells of its making; a run folder has all that and its evaluation: `fashreg push runs/a user/name`.
        Gives what was done: `.commit`, `.url`. Raises HubConflictError when somebody else pushed meanwhile, HubError.
        """
        from fashreg.storage.sharing import push_encoder

        return push_encoder(
            self,
            repo_id,
            commit_message=commit_message,
            commit_description=commit_description,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            exist_ok=exist_ok,
            parent_commit=parent_commit,
            tags=tags,
            licence=licence,
            base=base,
            recipe=recipe,
            metrics=metrics,
            provenance=provenance,
        )
