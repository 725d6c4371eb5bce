"""The README's examples print what they say they print."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(README.parent)}


BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: code.splitlines()[0][:40])
def test_each_example_prints_what_its_comments_say(code, tmp_path):
    promised = re.findall(r"^print\(.*\)\s+# ([^:\n]+)", code, re.MULTILINE)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    printed = result.stdout.splitlines()
    assert len(printed) == len(promised) > 0
    for said, is_so in zip(promised, printed, strict=True):
        try:
            said, is_so = ast.literal_eval(said), ast.literal_eval(is_so)
        except (ValueError, SyntaxError):  # an array, say
            assert is_so == said.strip()
            continue
        if isinstance(said, float):  # epochs of float32 on another BLAS
            assert is_so == pytest.approx(said, abs=2)
        else:
            assert is_so == said
