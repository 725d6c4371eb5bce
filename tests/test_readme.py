"""The README's examples print what they say they print."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_examples_print_what_their_comments_say(tmp_path):
    """One after the other, in one process: the second one goes on with the first one's data."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    code = "\n".join(blocks)
    promised = re.findall(r"^print\(.*\)\s+# ([^:\n]+)", code, re.MULTILINE)
    environment = {**os.environ, "PYTHONPATH": str(README.parent)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert (tmp_path / "sparse.npz").is_file()
    printed = result.stdout.splitlines()
    assert len(printed) == len(promised) == 5
    for said, is_so in zip(promised, printed, strict=True):
        said, is_so = ast.literal_eval(said), ast.literal_eval(is_so)
        if isinstance(said, float):  # 5 epochs of float32 on another BLAS
            assert is_so == pytest.approx(said, abs=2)
        else:
            assert is_so == said
