"""The thing that searches: a backbone and a head, pictures in, embedding vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fashreg.encoder.embedding import Items, embed_items, embed_items_by_task
from fashreg.encoder.fingerprint import fingerprint, task_fingerprint
from fashreg.hub.origin import Origin
from fashreg.values import InputSpec

if TYPE_CHECKING:
    from fashreg.hub.push import Pushed


class Encoder(nn.Module):
    """A backbone (fashreg.interfaces.Backbone) and a head (fashreg.interfaces.Head), both nn.Modules.

    input_spec: how pictures become tensors; the backbone's own unless given. What happens before the head is a row of
    steps: the backbone's stages, then pooling (or, for a head on maps, the map). `stage` counts the steps that are
    done: 0 = pictures, `cuts` = what the head takes. Freezing and caching cut there.
    Filters and pictures are kept in channels-last order, which is faster on CPUs (training of an EfficientNet-Lite0:
    1.7 x) and never slower; the numbers come out alike wherever the encoder is trained, saved and loaded.
    """

    def __init__(self, backbone: Any, head: Any, *, input_spec: InputSpec | None = None) -> None:
        super().__init__()
        wants = backbone.out_dim if head.takes == "pooled" else backbone.map_dim
        if head.in_dim != wants:
            raise ValueError(
                f"the head takes {head.takes} features of width {head.in_dim} and the backbone gives {wants}: "
                f"make the head with in_dim={wants}"
            )
        self.backbone = backbone
        self.head = head
        self.input_spec: InputSpec = input_spec or backbone.input_spec
        self.origin: Origin | None = None  # the repository and commit it was loaded from, if it was
        self.to(memory_format=torch.channels_last)

    @property
    def embed_dim(self) -> int:
        """D, the width of the embedding."""
        return int(self.head.out_dim)

    @property
    def cuts(self) -> int:
        """Number of steps before the head, the largest `stage`."""
        return len(self.backbone.stages) + 1

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def forward(self, images: Tensor, task: str | None = None, stage: int = 0) -> Tensor:
        """Embeddings (B, D). images: (B, 3, H, W), or what `until(images, stage)` gave. task: which head answers."""
        vectors: Tensor = self.head(self.steps(images, stage, self.cuts), task)
        return vectors

    def until(self, images: Tensor, stage: int) -> Tensor:
        """What the first `stage` steps make of pictures (B, 3, H, W); `from_stage` goes on from there."""
        return self.steps(images, 0, stage)

    def from_stage(self, x: Tensor, stage: int, task: str | None = None) -> Tensor:
        """Embeddings (B, D) from the output of the first `stage` steps."""
        vectors: Tensor = self(x, task, stage)
        return vectors

    def steps(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Steps start..stop-1 before the head. start = 0 takes pictures (B, 3, H, W)."""
        if not 0 <= start <= stop <= self.cuts:
            raise ValueError(f"steps {start} to {stop}: this encoder can be cut at 0 to {self.cuts}")
        stages, last = len(self.backbone.stages), stop == self.cuts
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if start == 0 and last and self.head.takes == "pooled":
            whole: Tensor = self.backbone(x)
            return whole
        if start < min(stop, stages):
            x = self.backbone.run_stages(x, start, min(stop, stages))
        if last and start < stop:
            x = self.backbone.pool(x) if self.head.takes == "pooled" else self.backbone.to_map(x)
        return x

    def embed(
        self,
        items: Items,
        *,
        batch_size: int = 64,
        task: str | None = None,
        workers: int | None = None,
        column: str | None = None,
        stage: int = 0,
        progress: bool = False,
    ) -> Tensor:
        """Embeddings (N, D), float32 on the CPU, of any pictures, in their order.

        items: a list of paths and PIL images (or one of them), a DataFrame (`column` names the paths; by default
        `image` or `path`), a Table, or a tensor: prepared pictures (N, 3, H, W), or what `until(images, stage)` gave.
        workers: threads that decode (default: chosen from the processors). Works in evaluation mode without gradients
        and leaves every module in the mode it was in. No items give (0, D).
        """
        return embed_items(
            self,
            items,
            batch_size=batch_size,
            task=task,
            workers=workers,
            column=column,
            stage=stage,
            progress=progress,
        )

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
        other arguments these are. All are in memory at once: N * D * 4 bytes for each task. ValueError for a task that
        the head does not serve, and for a head without tasks.
        """
        return embed_items_by_task(
            self,
            items,
            tasks,
            batch_size=batch_size,
            workers=workers,
            column=column,
            stage=stage,
            progress=progress,
        )

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
