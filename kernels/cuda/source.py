"""The text of a CUDA kernel as a compiler gets it: own headers expanded, so that one text feeds every compiler.

NVRTC finds no headers on a machine that has only pip wheels, and CuPy's cache of compiled kernels does not notice
when a header changes. So `#include "name.cuh"` is expanded here, in Python, each header once (as if it had
`#pragma once`). `#line` directives keep the compilers' messages at the file and line of the author. No other include
is allowed: what NVRTC declares by itself (float4, expf, __shfl_sync, ...) is enough.
"""

from __future__ import annotations

import re
from pathlib import Path

# ALIGNED(16) before a pointer parameter's name is a promise that the launcher checks; for the compiler it is nothing.
PRELUDE = "#define ALIGNED(bytes)\n"

_INCLUDE = re.compile(r'\s*#\s*include\s*(?:"(?P<own>[^"]+)"|(?P<other>.*))')


def expand(path: Path) -> str:
    """The text of the file with its own headers in place of their includes.

    Raises FileNotFoundError for a header that is not there and ValueError for an include of anything else.
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
