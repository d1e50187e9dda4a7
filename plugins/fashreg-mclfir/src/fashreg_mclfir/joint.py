"""All tasks at once: the upper bound."""

from __future__ import annotations

from fashreg_mclfir.fine_tune import FineTuneLearner, When


class JointLearner(FineTuneLearner):
    """Learns all tasks of a stream together: one trunk, a head for each, batches of the tasks in turn.

    It is given the whole stream as one experience. A batch holds one task; an epoch has the batches of all tasks in an
    order shuffled anew, each task in proportion to its length. It needs all data at once, which continual learning has
    not; stopped early (trainer.max_steps) it is the control for any claim about cost.

    Source: the usual upper bound of continual learning, e.g. Masana et al., TPAMI 2022,
        https://arxiv.org/abs/2010.15277; trained as multi-task learning, Caruana, Machine Learning 1997,
        https://doi.org/10.1023/A:1007379606734
    See also: retrain (the same, anew at every increment), fine-tune (one after the other), mcl-fir.

    Args:
        encoder: whether the trunk learns: "trained", or "frozen"; "first" means "trained" here.
        batch_norm: whether the trunk's batch norms follow the batches' statistics; "first" means "trained" here.
    """

    whole_stream = True

    def __init__(self, encoder: When = "trained", batch_norm: When = "first") -> None:
        super().__init__(encoder, batch_norm)
