"""Training: one loop for any model, its checkpoints, and what several processes have to agree on."""

from gsa_utils.training.loop import fit
from gsa_utils.training.state import Standardised, TrainingRun  # models saved whole name this place

__all__ = ["Standardised", "TrainingRun", "fit"]
