"""Makes the page: all of it is text and data URIs, so that one file can be moved, sent and printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from .captions import ABOUT
from .findings import findings
from .pictures import Picture, figures

TABLED_BELOW = "prior of the top codes"  # its table is that of the bottom codes, which are trained after it
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: #1a1a1a; background: #fff;
       font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
pre { background: #f4f4f4; padding: .6rem; white-space: pre-wrap; font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .9rem; overflow-wrap: normal; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
.facts th { border-bottom: 1px solid #ddd; }
span { white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.notes { white-space: pre-line; font-size: .9rem; margin: .25rem 0; }
.finding { border-left: .3rem solid #c60; background: #fff4e5; padding: .5rem .8rem; margin: .75rem 0; }
.finding h3, .finding p, .fine { margin: .1rem 0; }
.fine { border-left: .3rem solid #2a7; background: #eefaf3; padding: .5rem .8rem; }
figure { margin: 1.25rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto .25rem; }
audio { display: block; width: 100%; max-width: 30rem; margin: .25rem 0; }
figcaption { font-size: .9rem; }
.digest { font: .75rem/1.4 monospace; word-break: break-all; }
@media screen and (max-width: 40rem) {
  th, td { padding: .2rem .3rem; }
  table { font-size: .8rem; }
  .wide img { max-width: none; width: 44rem; } /* curves, whose labels are too small to read at the width of a phone */
}
@media print {
  @page { margin: 1.5cm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure, table, pre, .finding, .fine { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  figure img { max-height: 21cm; }
  audio { display: none; }
  .scroll { overflow: visible; }
  body, .finding, .fine, pre { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


@dataclass(frozen=True)
class Part:
    """One training of a run: that of the model, or of a prior of its codes.

    name: 'model', or of which prior. config, results, history: what config.json, results.json and metrics.jsonl hold.
    table: what was printed in the end. command: the command line that makes it again.
    """

    name: str
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    table: str
    command: str


def page(parts: Sequence[Part], pictures: Sequence[Picture]) -> str:
    """Return the page of a run, as HTML. The first part is the model. Only lines of class 'times' have times."""
    first = parts[0]
    name, data = str(first.config.get("model")), PurePath(str(first.config.get("data"))).name
    title = escape(f"{name} on {data}")
    body = [f"<h1>{title}</h1>", *(_about(part) for part in parts)]
    body += ["<h2>What to look out for</h2>", *_findings(parts)]
    body += ["<h2>Numbers</h2>", *(line for part in parts for line in _numbers(part))]
    several, validated = len(parts) > 1, {part.name: _validated(part.config) for part in parts}
    body += ["<h2>Pictures</h2>" if pictures else "", *figures(pictures, validated, several)]
    body += ["<h2>How to make it again</h2>", *_again(parts)]
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(filter(None, body)) + "\n</body>\n</html>\n"


def _validated(config: Mapping[str, Any]) -> bool:
    """Say whether the course was shown on validation images, which `minivae anomaly` always sets aside."""
    return config.get("validation") is not None or config.get("model") == "anomaly"


def _about(part: Part) -> str:
    model = str(part.config.get("model"))
    about = ABOUT.get(model, f"A model of `{model}`.")
    size, epochs = part.results.get("parameters"), len(part.history)
    trained = f"Trained for {epochs} epoch{'s' * (epochs > 1)}." if epochs else ""
    both = " with those of the prior of the top codes" if part.name == "prior of the bottom codes" else ""
    parameters = f" {size:,} parameters{both}." if size else ""
    return f"<p>{escape(about)}{parameters} {trained}</p>"


def _findings(parts: Sequence[Part]) -> list[str]:
    several, lines = len(parts) > 1, []
    for part in parts:
        for title, seen, cure in findings(part.history, part.results, part.config) if part.history else []:
            heading = f"{title} ({part.name})" if several else title
            lines.append(
                f'<div class="finding"><h3>{escape(heading)}</h3><p>{escape(seen)}</p>'
                f"<p><b>What may help:</b> {_unbroken(cure)}</p></div>"
            )
    checked = "the course of the loss, the gap to images that are not trained on, latents and codes that are not used"
    return lines or [f'<p class="fine">Nothing looks wrong, as far as these show it: {checked}.</p>']


# ---- numbers ----


def _numbers(part: Part) -> list[str]:
    if not part.table and part.name == TABLED_BELOW:
        return []
    if not part.table:
        return [f"<p>There is no table of the {escape(part.name)}: its training has not ended, or is an old one.</p>"]
    return [f"<h3>{escape(part.name.capitalize())}</h3>", *blocks(part.table)]


def blocks(text: str) -> Iterable[str]:
    """Yield the HTML of printed tables and of the lines between them.

    A table is a line of names, one of dashes below each, and the lines after it that leave the same gaps free.
    """
    lines, notes = text.strip("\n").split("\n"), []
    while lines:
        line = lines.pop(0)
        if not (lines and re.fullmatch(r"-+(  -+)+", lines[0])):
            notes.append(line)
            continue
        yield from _notes(notes)
        notes, rows = [], [line]
        spans = [match.span() for match in re.finditer("-+", lines.pop(0))]
        while lines and _fits(lines[0], spans):
            rows.append(lines.pop(0))
        yield _table([[row[start:end].strip() for start, end in spans] for row in rows])
    yield from _notes(notes)


def _fits(line: str, spans: Sequence[tuple[int, int]]) -> bool:
    gaps = [(end, after) for (_, end), (after, _) in pairwise(spans)]
    return len(line) > spans[1][0] and len(line) <= spans[-1][1] and not any(line[a:b].strip() for a, b in gaps)


def _table(rows: Sequence[Sequence[str]]) -> str:
    header, *body = rows
    numeric = [bool(body) and cell.lstrip("+-")[:1].isdigit() for cell in (body[0] if body else header)]

    def row(cells: Sequence[str], tag: str) -> str:
        of = [' class="number"' if number else "" for number in numeric]
        return "<tr>" + "".join(f"<{tag}{c}>{escape(t)}</{tag}>" for t, c in zip(cells, of, strict=True)) + "</tr>"

    lines = [row(header, "th"), *(row(cells, "td") for cells in body)]
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _notes(lines: Sequence[str]) -> list[str]:
    text = "\n".join(lines).strip("\n")
    return [f'<p class="notes">{escape(text)}</p>'] if text else []


# ---- how to make it again ----


def _again(parts: Sequence[Part]) -> Iterable[str]:
    yield (
        "<p>All options stand in the command, so that the defaults of another version change nothing. The same seed, "
        "data, versions and kernels give the same model bit by bit, other kernels the same but for rounding.</p>"
    )
    known: dict[str, Any] = {}
    for part in parts:
        config, results = part.config, part.results
        yield f"<h3>{escape(part.name.capitalize())}</h3>\n<pre>{_unbroken(part.command)}</pre>"
        contents = config.get("contents") or {}
        facts = {"data": config.get("data"), "seed": config.get("seed"), **(config.get("versions") or {}), **contents}
        new = {name: value for name, value in facts.items() if value is not None and known.get(name) != value}
        known |= new
        if new:
            rows = "".join(_fact(name, value, name in contents) for name, value in new.items())
            yield f'<table class="facts">\n{rows}</table>'
        if contents.keys() & new.keys():
            yield "<p>The last lines are the SHA-256 digests of the arrays that it was trained and tested on.</p>"
        if "seconds" in results:
            speed = f"{results['seconds']:,.1f} s in training, {results['images_per_second']:,} examples a second."
            yield f'<p class="times">{speed}</p>'


def _fact(name: str, value: Any, digest: bool) -> str:
    kind = ' class="digest"' if digest else ""
    return f"<tr><th>{escape(name)}</th><td{kind}>{escape(str(value))}</td></tr>\n"


def _unbroken(text: str) -> str:
    """Escape a text, in which the name of an option is not to be broken at its hyphens."""
    return re.sub(r"--[\w-]+", r"<span>\g<0></span>", escape(text))
