"""`minivae explore RUN`: a page on this machine in which a trained model answers to the mouse.

    page.html, page.css, *.js       what the browser shows; page.js begins, and asks the server by JSON
    server.py                       the server: which requests it answers, and which it refuses
    explorer.py                     what a model answers: images of latents or codes, codes of images, nats
    wire.py                         how images, clips and sounds travel
    code_maps.py                    the codes of every model that has some, as a list of maps

Nothing is asked of a model by its class. It has codes if it has `code_cost`, else latents; nats if it has codes or a
`posterior`; and takes labels if it is `conditional`.
"""

from .explorer import Explorer
from .server import PageServer

__all__ = ["Explorer", "PageServer"]
