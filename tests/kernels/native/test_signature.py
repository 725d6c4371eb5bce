"""Reading the prototypes of C functions."""

from __future__ import annotations

import ctypes

import pytest

from minivae.kernels.native.library import prototypes
from minivae.kernels.native.signature import parse, parse_structures


def test_kinds_of_parameters() -> None:
    prototype = parse(
        """/* EXPORT void NAME(not_this)(int n) { */
        EXPORT int NAME(f)(int64_t n, real eps, const real x[n * 2], const real *image,
                           const int64_t image_strides[4], OPTIONAL const real b[n], real *const params[n],
                           const Pass *how, real y[n]) {"""
    )["f"]
    assert (prototype.typed, prototype.result) == (True, "int")
    kinds = {p.name: (p.kind, p.const, p.optional, p.size) for p in prototype.parameters}
    assert kinds == {
        "n": ("scalar", False, False, None),
        "eps": ("scalar", False, False, None),
        "x": ("array", True, False, "n * 2"),
        "image": ("array", True, False, None),
        "image_strides": ("strides", True, False, "4"),
        "b": ("array", True, True, "n"),
        "params": ("table", False, False, "n"),
        "how": ("structure", True, False, None),
        "y": ("array", False, False, "n"),
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("EXPORT float NAME(f)(int n) {", "f: cannot return 'float'"),
        ("EXPORT void NAME(f)(long n) {", "unknown type 'long'"),
        ("EXPORT void NAME(f)(const real **x) {", "cannot read the parameter"),
    ],
)
def test_prototypes_that_cannot_be_read_are_refused(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(source)


def test_structures_have_the_layout_of_c() -> None:
    axis, plan = parse_structures(
        "typedef struct { int64_t period, step; const int64_t *table; } Axis;"
        "typedef struct { real of_c_alone; } Hidden;"
        "typedef struct { Axis rows; int64_t N; } Plan;"
    ).values()
    assert [name for name, *_ in axis._fields_] == ["period", "step", "table"]
    assert ctypes.sizeof(plan) == 4 * 8


def test_every_exported_function_can_be_read() -> None:
    assert {"matmul", "convolve", "winograd", "set_num_threads"} <= set(prototypes())
