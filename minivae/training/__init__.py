"""Training: the loop, what it reports, and the files it leaves behind. It knows of a model that it has a loss()."""

from .checkpoint import load_checkpoint, save_checkpoint
from .codec import Codec
from .estimator import Estimator
from .loop import Trainer, evaluate

__all__ = ["Codec", "Estimator", "Trainer", "evaluate", "load_checkpoint", "save_checkpoint"]
