"""mv.training: what is made for fit(on_epoch=...)."""

from __future__ import annotations

from typing import Any

from minivae import training

from .judge import Argument, Row
from .kinds import FLAG, REFUSED, Kind, integer, number
from .model_settings import SETTINGS

monitor = Argument("loss", Kind("str", lambda value: value if isinstance(value, str) else REFUSED))


def _attributes(cls: Any) -> Any:
    """What a callback is made of, as plain values."""

    def attributes(*positional: Any, **keywords: Any) -> Any:
        kept = vars(cls(*positional, **keywords))
        return [kept[name] for name in ("patience", "min_delta", "restore_best") if name in kept]

    return attributes


TABLE = {
    "training.EarlyStopping": Row(
        _attributes(training.EarlyStopping),
        {
            "patience": Argument(3, integer(1)),
            "monitor": monitor,
            "min_delta": Argument(0.1, number(0)),
            "restore_best": Argument(False, FLAG),
        },
        public=training.EarlyStopping,
    ),
    "training.BestCheckpoint": Row(
        _attributes(training.BestCheckpoint),
        {"path": Argument("best.npz", SETTINGS["path"].kind), "monitor": monitor},
        public=training.BestCheckpoint,
        extra={"path": {"no file's name": "best", "of another kind": "best.pkl"}},
    ),
}
