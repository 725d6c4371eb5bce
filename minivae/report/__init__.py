"""A page about a training: one HTML file with everything in it, which needs no script and loads nothing.

findings.py    what went wrong in a training, in words, with the cure
captions.py    what each picture shows and how to read it, and what each model is
page.py        the page
"""

from .captions import ABOUT, CAPTIONS
from .findings import Finding, findings
from .page import Part, page
from .pictures import Picture

__all__ = ["ABOUT", "CAPTIONS", "Finding", "Part", "Picture", "findings", "page"]
