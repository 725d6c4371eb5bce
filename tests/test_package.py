"""What a user of the package gets: a light import, and a wheel that holds everything."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

NEW_MODULES = """
import json, sys
import numpy
before = set(sys.modules)
import minivae
minivae.Tensor, minivae.functional
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(new - set(sys.stdlib_module_names))))
"""


def test_import_brings_nothing_but_numpy_and_the_standard_library():
    result = subprocess.run([sys.executable, "-c", NEW_MODULES], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == ["minivae"]


def test_everything_is_imported_on_first_use():
    code = (
        "import sys, minivae as mv; assert 'minivae.autograd' not in sys.modules; [getattr(mv, n) for n in mv.__all__]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tensors_have_their_operators_from_ops():
    code = "from {} import Tensor; print((2 * Tensor([1.0, 2.0], requires_grad=True)).sum().item())"
    command = [sys.executable, "-c"]
    result = subprocess.run([*command, code.format("minivae")], capture_output=True, text=True, check=True)
    assert result.stdout == "6.0\n"
    result = subprocess.run([*command, code.format("minivae.autograd")], capture_output=True, text=True)
    assert "unsupported operand type(s) for *: 'int' and 'Tensor'" in result.stderr


@pytest.mark.parametrize("name", ["minivae", "tests", "benchmarks"])
def test_in_a_checkout_minivae_contains_kernels_and_no_other_folder_of_the_root(name):
    code = "import minivae.kernels.geometry, minivae.{}".format
    result = subprocess.run([sys.executable, "-c", code(name)], cwd=ROOT, capture_output=True, text=True)
    assert f"No module named 'minivae.{name}'" in result.stderr


def test_an_unknown_name_is_an_attribute_error():
    import minivae as mv

    with pytest.raises(AttributeError, match="'modles'"):
        _ = mv.modles


def test_every_source_file_is_in_the_wheel_and_it_runs_from_an_empty_folder(tmp_path):
    source = tmp_path / "source"
    for name in ("minivae", "kernels"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    expected = {str(p.relative_to(ROOT)) for p in (ROOT / "minivae").rglob("*.py")}
    expected |= {f"minivae/{p.relative_to(ROOT)}" for p in (ROOT / "kernels").rglob("*.py")}
    expected |= {f"minivae/{p.relative_to(ROOT)}" for p in (ROOT / "kernels").rglob("*.cu*")}
    expected |= {"minivae/py.typed", "minivae/data/fashion_mini.npz"}
    expected |= {f"minivae/{p.relative_to(ROOT / 'minivae')}" for p in (ROOT / "minivae" / "explore").glob("*.*")}
    assert expected <= names
    empty = tmp_path / "empty"
    empty.mkdir()
    code = "import minivae, minivae.kernels.contract; print(minivae.models.VAE().sample(2).shape)"
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "(2, 1, 28, 28)\n"
