"""The README's example prints what it says it prints."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_example_prints_what_its_comments_say():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    promised = re.findall(r"^print\(.*\)\s+# ([^:\n]+)", code, re.MULTILINE)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed = result.stdout.splitlines()
    assert len(printed) == len(promised) == 5
    for said, is_so in zip(promised, printed, strict=True):
        said, is_so = ast.literal_eval(said), ast.literal_eval(is_so)
        if isinstance(said, float):  # 5 epochs of float32 on another BLAS
            assert is_so == pytest.approx(said, abs=2)
        else:
            assert is_so == said
