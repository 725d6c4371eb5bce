"""mv.optim: an optimiser makes two steps, a schedule three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minivae import nn, optim

from .judge import Argument, Made, Row
from .kinds import (
    EITHER,
    FLAG,
    FUNCTION,
    REFUSED,
    Kind,
    instance,
    integer,
    number,
)
from .table_functional import X
from .table_layers import NO_STATE


def _parameter() -> nn.Parameter:
    p = nn.Parameter(X)
    p.grad = X
    return p


def _step(make: Callable[..., optim.Optimizer]) -> Callable[..., Any]:
    def step(params: Any, *positional: Any, **keywords: Any) -> Any:
        params = list(params) if isinstance(params, (list, tuple)) else params
        optimizer = make(params, *positional, **keywords)
        if type(optimizer) is not optim.Optimizer:
            optimizer.step()
            optimizer.step()
        return params, optimizer.state_dict()

    return step


def _scheduled(make: Callable[..., optim.Schedule]) -> Callable[..., Any]:
    def scheduled(optimizer: Any, *positional: Any, **keywords: Any) -> Any:
        schedule = make(optimizer, *positional, **keywords)
        rates = [optimizer.lr]
        for _ in range(3):
            schedule.step()
            rates.append(optimizer.lr)
        return rates

    return scheduled


def _optimizer(cls: Any = optim.Adam) -> optim.Optimizer:
    optimizer: optim.Optimizer = cls([_parameter()], 0.1)
    return optimizer


def _restored(cls: Any) -> Callable[[Any], Any]:
    def restored(state: Any) -> Any:
        optimizer = _optimizer(cls)
        optimizer.load_state_dict(state)
        return optimizer.state_dict()

    return restored


def _schedule_restored(make: Callable[[], optim.Schedule]) -> Callable[[Any], Any]:
    def restored(state: Any) -> Any:
        schedule = make()
        schedule.load_state_dict(state)
        return schedule.state_dict()

    return restored


def _clipped(clip: Callable[..., Any]) -> Callable[..., Any]:
    def clipped(params: Any, max_norm: Any, error_if_nonfinite: Any) -> Any:
        params = list(params) if isinstance(params, (list, tuple)) else params
        return clip(params, max_norm, error_if_nonfinite), [p.grad for p in params]

    return clipped


PARAMS = Argument(Made(lambda: [_parameter()]), Kind("parameters", lambda value: REFUSED))
NO_PARAMS = Argument(
    Made(lambda: [_parameter()]),
    Kind("parameters", lambda value: EITHER if isinstance(value, (list, tuple)) and not value else REFUSED),
)
BAD_PARAMS = {
    "one Tensor": nn.Parameter(X),
    "array": [X],
    "no gradients": [nn.Buffer(X)],
    "a result": [nn.Parameter(X) * 2.0],
    "module": nn.Linear(2, 2),
}
TENSOR_PARAMS = {k: v for k, v in BAD_PARAMS.items() if k in ("one Tensor", "array", "module")}
lr, decay = Argument(0.1, number(0)), Argument(0.2, number(0))
adam = {
    "params": PARAMS,
    "lr": lr,
    "betas": Argument((0.8, 0.9), Kind("betas", lambda value: REFUSED)),
    "eps": Argument(1e-3, number(0, np.inf, "()")),
    "weight_decay": decay,
}
BETAS = {str(b): b for b in ((0.9,), (0.9, 0.9, 0.9), (0.9, 1.0), (-0.1, 0.9), ("a", 0.9), (np.nan, 0.9), 0.9)}
schedule_of = {"optimizer": Argument(Made(_optimizer), instance(optim.Optimizer))}
warmup = {"warmup_steps": Argument(2, integer(0))}


def _bad_states(good: dict[str, Any]) -> dict[str, Any]:
    """For each number of a state what it must not be."""
    states: dict[str, Any] = {"missing": {}, "unexpected": {**good, "more": 1}}
    for name, value in good.items():
        wrong: dict[str, Any] = {"text": "abc", "None": None, "nan": np.asarray(value) * np.nan}
        if np.asarray(value).dtype.kind == "f":
            wrong |= {"negative lr": -1.0} if name in ("lr", "base_lr") else {}
        else:
            wrong |= {"1.5": np.asarray(value) + 0.5, "negative": np.asarray(value) - 100}
        states |= {f"{name} {label}": {**good, name: bad} for label, bad in wrong.items()}
    return states


def restored_row(restored: Callable[[Any], Any], good: dict[str, Any], public: Any) -> Row:
    return Row(restored, {"state": Argument(good, NO_STATE)}, public=public, extra={"state": _bad_states(good)})


SCHEDULES: dict[str, Callable[[], optim.Schedule]] = {
    "Schedule": lambda: optim.Schedule(_optimizer(), lambda step: 1 / (step + 1)),
    "CosineSchedule": lambda: optim.CosineSchedule(_optimizer(), 3),
    "ConstantSchedule": lambda: optim.ConstantSchedule(_optimizer(), 3),
    "StepSchedule": lambda: optim.StepSchedule(_optimizer(), 2),
}
FACTORS = {
    "gives nan": lambda step: np.nan,
    "gives -1": lambda step: -1.0,
    "gives inf": lambda step: np.inf,
    "gives text": lambda step: "a",
    "gives None": lambda step: None,
}

TABLE = {
    "optim.Optimizer": Row(_step(optim.Optimizer), {"params": PARAMS, "lr": lr}, public=optim.Optimizer),
    "optim.SGD": Row(
        _step(optim.SGD),
        {
            "params": PARAMS,
            "lr": lr,
            "momentum": Argument(0.5, number(0, 1, "[)")),
            "weight_decay": decay,
            "nesterov": Argument(True, FLAG),
        },
        public=optim.SGD,
        extra={"params": BAD_PARAMS},
    ),
    **{
        f"optim.{cls.__name__}": Row(_step(cls), adam, public=cls, extra={"params": BAD_PARAMS, "betas": BETAS})
        for cls in (optim.Adam, optim.AdamW)
    },
    **{
        f"optim.{cls.__name__}.load_state_dict": restored_row(
            _restored(cls), _optimizer(cls).state_dict(), cls.load_state_dict
        )
        for cls in (optim.Optimizer, optim.SGD, optim.Adam, optim.AdamW)
    },
    "optim.clip_grad_norm": Row(
        _clipped(optim.clip_grad_norm),
        {
            "params": NO_PARAMS,
            "max_norm": Argument(0.5, number(0, np.inf, "(i")),
            "error_if_nonfinite": Argument(False, FLAG),
        },
        public=optim.clip_grad_norm,
        extra={"params": TENSOR_PARAMS},
    ),
    "optim.Schedule": Row(
        _scheduled(optim.Schedule),
        {**schedule_of, "factor": Argument(lambda step: 1 / (step + 1), FUNCTION), **warmup},
        public=optim.Schedule,
        extra={"factor": FACTORS},
    ),
    "optim.CosineSchedule": Row(
        _scheduled(optim.CosineSchedule),
        {
            **schedule_of,
            "total_steps": Argument(3, integer(1, 2**53)),
            **warmup,
            "final": Argument(0.1, number(0, 1)),
        },
        public=optim.CosineSchedule,
    ),
    "optim.ConstantSchedule": Row(
        _scheduled(optim.ConstantSchedule), {**schedule_of, **warmup}, public=optim.ConstantSchedule
    ),
    "optim.StepSchedule": Row(
        _scheduled(optim.StepSchedule),
        {**schedule_of, "step_size": Argument(2, integer(1)), "gamma": Argument(0.3, number(0, 1)), **warmup},
        public=optim.StepSchedule,
    ),
    **{
        f"optim.{name}.load_state_dict": restored_row(
            _schedule_restored(make), {"base_lr": 0.2, "steps": 1}, optim.Schedule.load_state_dict
        )
        for name, make in SCHEDULES.items()
    },
}
