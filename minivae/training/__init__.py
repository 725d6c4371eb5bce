"""Training: the loop, what it reports, and the files it leaves behind. It knows of a model that it has a loss()."""

from .checkpoint import load_checkpoint, save_checkpoint
from .loop import Trainer, evaluate

__all__ = ["Trainer", "evaluate", "load_checkpoint", "save_checkpoint"]
