"""Helpers of the two modules that read C and CUDA sources: they drop comments and split lists at commas."""

from __future__ import annotations

import re

_COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def without_comments(text: str) -> str:
    """The text without its comments; line breaks and string literals stay, so that everything keeps its line."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return found if found.startswith('"') else " " + "\n" * found.count("\n")

    return _COMMENT_OR_STRING.sub(blank, text)


def split(text: str) -> list[str]:
    """The parts of a text between the commas that are outside all brackets, stripped; empty parts are left out."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth += {"(": 1, "<": 1, "[": 1, ")": -1, ">": -1, "]": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append(text[start:i].strip())
            start = i + 1
    return [part for part in [*parts, text[start:].strip()] if part]
