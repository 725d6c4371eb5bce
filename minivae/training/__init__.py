"""Training: the loop, what looks at it after each epoch, what it reports, and the files it leaves behind.

All that the loop knows of a model is its loss(); begin reading with Trainer.run() in loop.py. EarlyStopping and
BestCheckpoint are for fit(on_epoch=...), and so is a Callback of one's own.
"""

from .callbacks import BestCheckpoint, Callback, EarlyStopping
from .checkpoint import load_checkpoint, save_checkpoint
from .loop import Trainer, evaluate

__all__ = [
    "BestCheckpoint",
    "Callback",
    "EarlyStopping",
    "Trainer",
    "evaluate",
    "load_checkpoint",
    "save_checkpoint",
]
