"""The product of the table with all wrong values, and whether the table is complete."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from .judge import Row, cases, wrong
from .names import parameters, public
from .table_models import CONDITIONAL, NAMES, VQVAES

MODELS = NAMES
BASES = ("models.Estimator", "models.Codec")
QUANTIZERS = ("VectorQuantizer", "ResidualVectorQuantizer", "FiniteScalarQuantizer")
CALLBACKS = ("Callback", "EarlyStopping", "BestCheckpoint")
TABLES = sorted(p.stem for p in Path(__file__).parent.glob("table_*.py"))
TABLE: dict[str, Row] = {}
for name in TABLES:
    TABLE |= importlib.import_module(f"{__package__}.{name}").TABLE


# Names that have no row, and why.
RESULT = "a result, made by the package"
MADE = "takes Tensors that the model has made"
FILE = "tests/training/ tries it with other values and with damaged files"
LOOP = "called by the training loop with what fit() has checked"
LOOP_CALLS = ("prepare", "before_step", "begin_epoch", "end_epoch", "players", "batched", "tensor")
EXEMPT = {
    "GradientError": "an exception",
    "Function.apply": "takes what forward() takes",
    "Function.forward": "written by the user",
    "Function.backward": "written by the user",
    "Function.save": "of what forward() has got or made",
    "Function.checked": "called by the backward pass with what backward() gave",
    "Tensor.__reduce_ex__": "called by copy and pickle",
    "Tensor.__format__": "called by format(), which takes nothing but a str",
    "Tensor.wrap": "for code that has just made the array; it trusts its caller",
    "nn.Module.forward": "abstract",
    "nn.Module.named_tensors": "takes a class, for the package's own use",
    **{f"models.PixelCNN.{n}": MADE for n in ("features", "logits_of_stage", "conditioning")},
    **{f"models.WaveNet.{n}": MADE for n in ("from_skips", "biases")},
    **{n: "a base class, see the quantisers" for n in public() if n.startswith("nn.Quantizer")},
    **{f"nn.{n}.code_shape": "called by the model with the size of its latents" for n in QUANTIZERS},
    **{f"nn.{name}": RESULT for name in ("Quantized",)},
    **{f"uses.{name}": RESULT for name in ("AnomalySplit", "CompressionRow", "Denoising", "Detection", "ProbeRow")},
    **{f"uses.{name}": RESULT for name in ("Disentanglement", "FormatRow", "Realism", "Unpacked", "Wholeness")},
    **{f"models.{m}.{n}": LOOP for m in MODELS for n in LOOP_CALLS},
    **{f"training.{name}": LOOP for name in ("Trainer", "Trainer.run", "Trainer.step", "evaluate")},
    **{f"training.{c}.{m}": LOOP for c in CALLBACKS for m in ("begin", "after_epoch", "end")},
    **{f"training.{c}.is_best": LOOP for c in CALLBACKS if c != "Callback"},
    **{f"training.{c}.load_state_dict": FILE for c in CALLBACKS},
    **{f"training.{n}": FILE for n in ("Trainer.load_state", "load_checkpoint", "save_checkpoint")},
    **{f"models.{m}.check_output": "takes what the model has computed" for m in MODELS},
    **{
        f"models.{m}.get_params": "its flag is scikit-learn's, for models in models, of which there are none"
        for m in MODELS
    },
    **{
        f"models.{m}.check_labels": "of a model without labels, which takes anything"
        for m in MODELS
        if m not in CONDITIONAL
    },
    **{f"models.{m}.check_latents": "of a model without latents" for m in VQVAES},
    **{
        f"models.{m}.{n}": "for constructors and build() of models, tests/models/test_own_networks.py"
        for m in MODELS
        for n in ("keep_modules", "module")
    },
    **{n: "a base class, whose methods have rows with the models" for n in public() if n.startswith(BASES)},
}


def test_every_public_name_and_each_of_its_parameters_is_in_the_table():
    found = {name: parameters(name, function) for name, function in public().items() if name not in EXEMPT}
    missing = [name for name, names in found.items() if names and name not in TABLE]
    assert not missing
    wrong = {
        name: (names, list(TABLE[name].arguments))
        for name, names in found.items()
        if names and set(names) != set(TABLE[name].arguments)
    }
    assert not wrong


def test_no_exemption_is_left_over():
    assert set(EXEMPT) <= set(public())
    assert not set(EXEMPT) & set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_the_valid_call_is_valid(name):
    outcome = TABLE[name].base
    assert outcome.error is None or (TABLE[name].refused and isinstance(outcome.error, TABLE[name].errors))


@pytest.mark.parametrize("name", TABLE)
def test_every_argument_is_right_or_refused(name):
    row = TABLE[name]
    found = [
        f"{argument} = {label}: {problem}"
        for argument in row.arguments
        for label, value, meaning in cases(row, argument)
        if (problem := wrong(row, argument, value, meaning))
    ]
    assert not found, f"{len(found)} of {name}\n" + "\n".join(found)
