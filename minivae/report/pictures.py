"""Puts pictures and sounds into the page, each with its caption."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import PurePath

from .captions import CAPTIONS

MEDIA = {".png": "image/png", ".gif": "image/gif", ".wav": "audio/wav"}
MOST = 2_200_000  # bytes of pictures and sounds on the page, a third more as base64; what is beyond is only named
LARGE = 400_000  # bytes of a picture that is put on the page in 256 colours, which a spectrogram is not seen to lack


@dataclass(frozen=True)
class Picture:
    """A picture by its stem, its name in CAPTIONS, and its files, which may be sounds or a moving picture besides.

    part: the name of the training that it shows.
    """

    stem: str
    part: str
    files: dict[str, bytes]


def figures(pictures: Sequence[Picture], validated: Mapping[str, bool], several: bool) -> Iterable[str]:
    """Yield the HTML of pictures with their captions.

    validated: by part, whether its course is shown on validation images. several: whether a run has several parts,
    whose courses are named.
    """
    room = MOST
    for picture in pictures:
        title, text = CAPTIONS[picture.stem]
        title = f"{title} ({picture.part})" if several and picture.stem == "training" else title
        media = []
        for name, content in picture.files.items():
            shown = _lighter(content) if name.endswith(".png") and len(content) > LARGE else content
            fits = len(shown) <= room
            room -= len(shown) if fits else 0
            media.append(_media(name, shown, title) if fits else _named(name, content))
        seen = "validation" if validated[picture.part] else "test"
        caption = f"<figcaption><b>{escape(title)}.</b> {escape(text.format(seen=seen))}</figcaption>"
        yield "<figure>\n" + "\n".join([*media, caption]) + "\n</figure>"


def _lighter(png: bytes) -> bytes:
    """Draw a picture in 256 colours of its own."""
    from PIL import Image  # which matplotlib, that has drawn it, brings

    file = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue()


def _media(name: str, content: bytes, title: str) -> str:
    kind = MEDIA[PurePath(name).suffix]
    uri = f"data:{kind};base64,{b64encode(content).decode()}"
    if kind == "audio/wav":
        return f'<audio controls src="{uri}"></audio>'
    image = f'<img alt="{escape(title)}" src="{uri}">'
    return f'<div class="scroll wide">{image}</div>' if "training" in name else image


def _named(name: str, content: bytes) -> str:
    return f"<p>{escape(name)} is too large for this page, {len(content) / 1e6:.1f} MB; it lies beside it.</p>"
