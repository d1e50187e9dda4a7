"""Which weights an experience ends with: the best that were measured, else the last."""

from __future__ import annotations

from torch import Tensor

from fashreg.storage import load_weights
from fashreg.training.keeping import keep_model
from fashreg.training.run import Run
from fashreg.training.session import Session


class BestWeights:
    """The best weights of one experience so far, in this process and in the run folder."""

    def __init__(self, session: Session, run: Run) -> None:
        self.session, self.run = session, run
        self._kept: dict[str, Tensor] | None = None

    def keep(self) -> None:
        """The encoder as it is now is the best so far."""
        self._kept = {name: value.detach().clone() for name, value in self.session.encoder.state_dict().items()}
        keep_model(self.session, self.run)

    def settle(self) -> None:
        """Put the weights that count into the encoder."""
        encoder, folder = self.session.encoder, self.session.folder
        self.session.processes.average_buffers(encoder)
        if self.run.position.best is None:
            if self.run.ema is not None:
                self.run.ema.copy_to()
            keep_model(self.session, self.run)
        elif self._kept is not None:
            encoder.load_state_dict(self._kept)
        elif folder is not None:  # measured before the run was resumed
            load_weights(encoder, folder.model)
