"""Runs a training in a folder, of which it keeps the files such that they survive a kill at any time.

Wherever a training is killed, `--resume` ends in the files of one that never was. The order of the files sees to it:

* config.json is written first. It has a mark while the files of an older run are being removed, so that no training
  goes on from half of an old run. Without a checkpoint the training starts from the beginning.
* After an epoch, checkpoint.npz is written first. All other files follow from it: model.npz and metrics.jsonl are
  written again when a training goes on, tables and pictures at its end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from minivae.data import Dataset
from minivae.kernels import cpu_choice
from minivae.models.base import Estimator
from minivae.training import EarlyStopping, load_checkpoint
from minivae.training.checkpoint import atomic_write, remove_leftovers
from minivae.training.progress import progress_for
from minivae.training.ranks import world
from minivae.training.team import alone, team

from . import images
from .lock import locked
from .options import check_patience, of_fit, of_training
from .runs import OVERWRITING, Files, read_json, versions, write_json


@dataclass
class Training:
    """A training that holds its folder.

    goes_on: whether it goes on from a checkpoint; else it starts from the beginning. noted: what the file of --config
    has besides options. contents: the digests of its data, once checked() has seen them. best_epoch: the epoch whose
    weights the model has after fit() with --patience, None without it: then they are those of the last epoch.
    leads: whether this process holds the folder and writes what is in it; of several ranks rank 0 does, and the others
    are there for fit() alone.
    """

    files: Files
    options: dict[str, Any]
    goes_on: bool
    noted: dict[str, Any]
    contents: dict[str, str] = field(default_factory=dict)
    best_epoch: int | None = None
    leads: bool = True

    def checked(self, data: Dataset) -> Dataset:
        """Return the data set; config.json will hold its digests.

        Raises ValueError for a training that goes on if images or labels are not those that it was begun with; says so
        if they are not those of the run whose config.json is the file of --config.
        """
        if not self.leads:
            return data
        self.contents = images.digests(data)
        before = read_json(self.files.path("config.json")) if self.goes_on else None
        if changed := self._changed((before or {}).get("contents")):
            raise ValueError(
                f"{changed} of {data.name!r} changed since the run was begun; --resume goes on with the same data"
            )
        if changed := self._changed(self.noted.get("contents")):
            print(f"{changed} of {data.name!r} changed since the options were noted: this is another model", flush=True)
        return data

    def _changed(self, before: Any) -> str:
        """List the arrays for which other digests were noted; runs of older versions have noted none."""
        known = before if isinstance(before, dict) else {}
        return ", ".join(name for name, found in self.contents.items() if known.get(name, found) != found)

    def begin(self) -> None:
        """Write the options of a training that starts from the beginning; the files of an older one are removed."""
        if self.leads and not self.goes_on:
            self._note({OVERWRITING: True})
            self.files.clear()
            self._note({})

    def _note(self, mark: dict[str, Any]) -> None:
        noted = {"versions": versions(), "contents": self.contents, **mark}
        write_json(self.files.path("config.json"), {**self.options, **noted})

    def fit(self, model: Estimator, args: argparse.Namespace, *data: Any, validation: Any) -> None:
        """Train as the options say, and save after every epoch; with --patience the best epoch's weights are kept."""
        patience = getattr(args, "patience", None)  # None for a command that has no such option
        stopping = None if patience is None else EarlyStopping(patience)

        def after_epoch(record: dict[str, Any]) -> None:
            if stopping is None or stopping.best_epoch == record["epoch"]:
                model.save(self.files.model)
            self._write_metrics(model)

        with alone(False):
            model.fit(
                *data,
                **of_fit(args),
                validation=validation,
                progress=progress_for(sys.stderr),
                checkpoint=self.files.checkpoint,
                resume=self.goes_on,
                on_epoch=[after_epoch] if stopping is None else [stopping, after_epoch],
            )
        # The training before may have been killed between its checkpoint and the other files.
        if self.leads and self.goes_on:
            model.save(self.files.model)
            self._write_metrics(model)
            self._note({})
        self.best_epoch = None if stopping is None else stopping.best_epoch

    def _write_metrics(self, model: Estimator) -> None:
        lines = "".join(json.dumps(epoch, allow_nan=False) + "\n" for epoch in model.history)
        atomic_write(self.files.path("metrics.jsonl"), lambda file: file.write(lines.encode()))


@contextmanager
def training(files: Files, args: argparse.Namespace) -> Iterator[Training]:
    """Hold the folder for a training with these options; nothing in it is changed before begin().

    Raises ValueError unless the training may write there: another one is under way, --force or --resume is missing, or
    --resume does not fit what is there. A KeyboardInterrupt comes out with what is kept as its message.
    """
    ranks = world()
    with alone(False):
        team(args.shards).check_batch(args.batch_size)
    if ranks.size > 1 and args.shards == 1:
        raise ValueError(f"--shards 1 is for a process that trains alone, got {ranks.size} ranks")
    options = of_training(args)
    if ranks.rank:  # rank 0 holds the folder; it says how the training begins, or ends all ranks
        yield Training(files, options, ranks.broadcast(None), args.noted, leads=False)
        return
    resume = getattr(args, "resume", None)  # None for a command that has no such option
    if args.force and resume:
        raise ValueError("--force overwrites the run and --resume goes on with it; give one of them, not both")
    check_patience(args)
    with locked(files.folder) as killed:
        remove_leftovers(files.folder)
        if resume:
            defaults = {name: args.parser.get_default(name) for name in options.keys() - {"model"}}
            goes_on = _goes_on(files, options, defaults, killed)
        else:
            goes_on = False
            _check_free(files, args.force, resume is not None)
        ranks.broadcast(goes_on)
        try:
            yield Training(files, options, goes_on, args.noted)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("" if resume is None else _kept(files)) from None


def _check_free(files: Files, force: bool, resumable: bool) -> None:
    if files.taken() and not force:
        where = f"{str(files.model)!r} is there" if files.prefix else f"{str(files.folder)!r} is not empty"
        raise ValueError(f"{where}; --force overwrites it{', --resume goes on with it' if resumable else ''}")


def _goes_on(files: Files, options: dict[str, Any], defaults: dict[str, Any], killed: bool) -> bool:
    """Say whether --resume goes on from a checkpoint; if not, the training was killed before its first one."""
    config = read_json(files.path("config.json"))
    kept = files.checkpoint.exists() or files.model.exists()
    if (config or {}).get(OVERWRITING) or (not kept and (config is not None or (killed and not files.taken()))):
        print("no epoch was done before: training starts from the beginning", flush=True)
        return False
    if config is None or not files.checkpoint.is_file():
        raise ValueError(f"{str(files.folder)!r} holds no {'prior' if files.prefix else 'run'} to resume")
    _check_options({**defaults, **config}, options)  # older versions have noted fewer options
    if (before := config.get("versions", {}).get("kernels")) not in (None, now := cpu_choice().name):
        print(f"the run was begun on the {before} kernels, the {now} ones give the same but for rounding", flush=True)
    return True


def _check_options(config: dict[str, Any], options: dict[str, Any]) -> None:
    """Raise ValueError for options that are not those of the run; more epochs are a longer training."""
    config = {"model": options["model"], **config}  # priors of older versions have not noted that they are one
    if changed := sorted(k for k, v in options.items() if config.get(k) != v and not _longer(k, config.get(k), v)):
        raise ValueError(
            "resume with the options of the run, or more epochs: "
            + ", ".join(f"--{k.replace('_', '-')} was {config.get(k)}, not {options[k]}" for k in changed)
        )


def _longer(name: str, before: Any, now: Any) -> bool:
    return name == "epochs" and isinstance(before, int) and before < now


def _kept(files: Files) -> str:
    """Say what is left of a training that is interrupted."""
    if files.checkpoint.is_file():
        done = len(load_checkpoint(files.checkpoint)[1]["history"])
        return f"{files.checkpoint} is that of epoch {done}; --resume goes on from there"
    if files.path("config.json").is_file():
        return "no epoch was done; --resume starts from the beginning"
    return "nothing was begun"
