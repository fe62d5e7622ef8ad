"""Training: one loop for any model, its checkpoints, and what several processes have to agree on."""

from gsa_utils.training.loop import Standardised, TrainingRun, fit  # models saved whole name this place

__all__ = ["Standardised", "TrainingRun", "fit"]
