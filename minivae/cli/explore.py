"""`minivae explore RUN` opens a page, served on this machine, in which a model answers to the mouse."""

from __future__ import annotations

import argparse
import webbrowser
from threading import Thread
from typing import Any

from minivae.explore import Explorer, PageServer

from . import options
from .runs import Run
from .views.registry import view_of


def add_commands(commands: Any) -> None:
    explore = options.add_command(commands, "explore", _explore, "open a page to play with a model")
    options.run(explore)
    options.other_data(explore)
    options.device(explore)
    options.count(explore, "--port", 0, "port of the page (default: a free one)", least=0, most=65535)
    options.flag(explore, "--browser", "open the page in the browser", default=True)


def _explore(args: argparse.Namespace) -> None:
    run = Run.open(args.run, args.device)
    name, view = str(run.folder), view_of(run.model)
    explorer = Explorer(run.model, run.data(args.data), run.prior(), view.unit, name, view.temperature)
    with PageServer(explorer, args.port) as server:
        print(f"{type(run.model).__name__} in {name}: {server.url} (Ctrl-C ends it)", flush=True)
        if args.browser:
            Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()  # some wait for their end
        server.serve_forever()
