"""1, 2 and 4 ranks of mpiexec, and a process that is alone, get equal weights from every model, bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import ranks
import train_in_ranks as script
from train_in_ranks import EVERY, SOME, outcomes

from minivae.kernels import cpu_choice, use_cpu

SHORT, LONG = 3, 17  # epochs of three steps each


def digests(count: int, folder: Path, epochs: int) -> list[dict[str, Any]]:
    """Return what each of so many ranks has written."""
    folder.mkdir()
    code, _, err = ranks.run(count, script.__file__, folder, str(epochs), MINIVAE_NUM_THREADS="1")
    assert code == 0, err
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.parametrize("epochs", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_the_number_of_ranks_changes_no_bit_of_any_model(tmp_path: Path, epochs: int) -> None:
    if cpu_choice().name != "native":
        pytest.skip("the script compares both backends of the CPU")
    every = {count: digests(count, tmp_path / str(count), epochs) for count in (1, 2, 4)}
    expected = every[1][0]
    assert expected["native"].keys() == EVERY.keys()
    for count, of_ranks in every.items():
        for rank, found in enumerate(of_ranks):
            for part, of_models in expected.items():
                differing = [name for name, digest in of_models.items() if found[part][name] != digest]
                assert not differing, f"rank {rank} of {count}, {part}"
    for part, length in (("shared", 2), ("messages", 2), ("reference", epochs)):
        with use_cpu("reference" if part == "reference" else "native"):
            assert outcomes(tmp_path, length, SOME) == expected[part]
    assert expected["shared"] == expected["messages"]
