"""Expands the own headers of a CUDA source, so that every compiler gets one text.

NVRTC finds no headers on a machine that has only pip wheels, and CuPy's cache of compiled kernels does not notice when
a header changes. So `#include "name.cuh"` is expanded here, in Python, each header once (as if it had `#pragma once`).
`#line` directives make the compilers' messages name the original file and line. No other include is allowed: what NVRTC
declares by itself (float4, expf, __shfl_sync, ...) is enough.
"""

from __future__ import annotations

import re
from pathlib import Path

# `T* ALIGNED(16) x` promises that the address x is a multiple of 16. signature.py reads it, the launcher checks it, and
# the compiler sees nothing of it.
PRELUDE = "#define ALIGNED(bytes)\n"

_INCLUDE = re.compile(r'\s*#\s*include\s*(?:"(?P<own>[^"]+)"|(?P<other>.*))')


def expand(path: Path) -> str:
    """The text of the file, in which each own header replaces its include.

    Raises FileNotFoundError for a header that does not exist, and ValueError for an include of anything else.
    """
    return PRELUDE + _expand(path, path.name, {path.resolve()})


def _expand(path: Path, label: str, seen: set[Path]) -> str:
    lines = [f'#line 1 "{label}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        include = _INCLUDE.match(line)
        if include is None:
            lines.append(line)
            continue
        if include["own"] is None:
            raise ValueError(f'{label}:{number}: only own headers, #include "name.cuh", can be included, got: {line}')
        header = path.parent / include["own"]
        if not header.is_file():
            raise FileNotFoundError(f"{label}:{number}: there is no header {include['own']!r} beside {path.name}")
        if header.resolve() not in seen:
            seen.add(header.resolve())
            lines.append(_expand(header, include["own"], seen).rstrip("\n"))
        lines.append(f'#line {number + 1} "{label}"')
    return "\n".join(lines) + "\n"
