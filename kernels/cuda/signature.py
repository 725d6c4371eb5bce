"""Reads the `__global__` functions of a CUDA source: template parameters, parameters, launch bounds.

This is not a full C++ parser. It understands declarations like those in this project's kernels, and raises ValueError
for anything else:

    template <typename T, int BM, bool ADD = false>
    __global__ void __launch_bounds__(BM * 2) name(const T* __restrict__ x, T* const* params, long long n, Sizes s)

Parameters are numbers, pointers to numbers or to vectors of them (float4), tables of pointers, and structs of numbers
that are defined in the same source. Template arguments are types, integers and bools.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..csource import split, without_comments
from .parameters import Parameter, Pointer, Scalar, Structure, Table

MAX_THREADS = 1024  # per block, on every device so far

NUMBERS = {
    "bool": "bool",
    "char": "int8",
    "signed char": "int8",
    "unsigned char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "int": "int32",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "size_t": "uint64",
    "float": "float32",
    "double": "float64",
}
VECTORS = {f"{base}{n}": (base, n) for base in ("int", "float", "double") for n in (2, 4)} | {
    f"uint{n}": ("unsigned", n) for n in (2, 4)
}
_TYPE_OF_DTYPE = {np.dtype(name): c for c, name in reversed(NUMBERS.items())}

TemplateArgument = str | int | type | np.dtype[Any]


@dataclass(frozen=True)
class Signature:
    """One instance of a kernel: its C++ name, its parameters, and how many threads a block may have."""

    name: str
    parameters: tuple[Parameter, ...]
    max_threads: int


@dataclass(frozen=True)
class TemplateParameter:
    name: str
    is_type: bool
    is_bool: bool
    default: str | None


@dataclass(frozen=True)
class KernelDeclaration:
    """A kernel as the source declares it, without values for its template parameters."""

    name: str
    template: tuple[TemplateParameter, ...]
    parameters: tuple[str, ...]
    launch_bounds: str | None
    types: Mapping[str, str]  # aliases and structs of the source: name -> text
    constants: Mapping[str, str]

    def resolve(self, arguments: Sequence[TemplateArgument]) -> Signature:
        """The instance with these template arguments, such as ("float", 64, True); a NumPy dtype may stand for a type.

        Raises TypeError for template arguments of a wrong number or kind, and ValueError for a declaration that cannot
        be read.
        """
        given, spelled = self._template_arguments(arguments)
        name = f"{self.name}<{', '.join(spelled)}>" if self.template else self.name
        types = {**self.types, **{k: v for k, v in given.items() if isinstance(v, str)}}
        constants = {**self.constants, **{k: str(v) for k, v in given.items() if isinstance(v, int)}}
        try:
            parameters = tuple(_parameter(text, types, constants) for text in self.parameters)
            bounds = MAX_THREADS if self.launch_bounds is None else _evaluate(self.launch_bounds, constants)
        except ValueError as error:
            raise ValueError(f"kernel {name}: {error}") from None
        return Signature(name, parameters, bounds)

    def _template_arguments(self, arguments: Sequence[TemplateArgument]) -> tuple[dict[str, str | int], list[str]]:
        required = sum(p.default is None for p in self.template)
        if not required <= len(arguments) <= len(self.template):
            wanted = ", ".join(p.name for p in self.template)
            raise TypeError(f"kernel {self.name} has the template parameters <{wanted}>, got {tuple(arguments)!r}")
        given: dict[str, str | int] = {}
        spelled = []
        for i, parameter in enumerate(self.template):
            value: str | int
            if i < len(arguments):
                value = _template_value(self.name, parameter, arguments[i])
            else:
                value = _evaluate(str(parameter.default), {**self.constants, **{k: str(v) for k, v in given.items()}})
            given[parameter.name] = value
            spelled.append(str(bool(value)).lower() if parameter.is_bool else str(value))
        return given, spelled


def parse(source: str) -> dict[str, KernelDeclaration]:
    """All kernels of an expanded source (see source.expand), by name."""
    code = without_comments(source)
    text = _without_directives(code)
    types = _types(text)
    constants = dict(re.findall(r"\bconstexpr\s+(?:int|unsigned|long long|size_t)\s+(\w+)\s*=\s*([^;]+);", text))
    constants |= dict(re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(.+)$", code, re.MULTILINE))
    kernels = {}
    for match in re.finditer(r"\b__global__\b", text):
        head = text[max(text.rfind(c, 0, match.start()) for c in ";{}") + 1 : match.start()]
        tail = text[match.end() : match.end() + _body_start(text[match.end() :])]
        bounds, before = _take_launch_bounds(head)
        after_bounds, tail = _take_launch_bounds(tail)
        declared = re.fullmatch(r"\s*void\s+(\w+)\s*\((.*)\)\s*", tail, re.DOTALL)
        if declared is None:
            raise ValueError(f"cannot read this kernel: __global__ {' '.join(tail.split())}")
        name, parameters = declared.groups()
        template = re.search(r"\btemplate\s*<(.*)>", before, re.DOTALL)
        kernels[name] = KernelDeclaration(
            name,
            tuple(_template_parameter(p) for p in split(template[1])) if template else (),
            tuple(split(parameters)),
            bounds or after_bounds,
            types,
            constants,
        )
    return kernels


def _without_directives(text: str) -> str:
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", "", text, flags=re.MULTILINE)


def _types(text: str) -> dict[str, str]:
    """The aliases (`using index = long long;`, typedef) and plain structs of the source, by name, as text."""
    types = dict(re.findall(r"\busing\s+(\w+)\s*=\s*([\w\s]+?)\s*;", text))
    types |= {name: target for target, name in re.findall(r"\btypedef\s+([\w\s]+?)\s+(\w+)\s*;", text)}
    structs = re.findall(r"(template\s*<[^{};]*>\s*)?\bstruct\s+(?:alignas\(\d+\)\s*)?(\w+)\s*\{([^{}]*)\}\s*;", text)
    return types | {name: "{" + body + "}" for template, name, body in structs if not template}


def _body_start(text: str) -> int:
    found = re.search(r"[{;]", text)
    return found.start() if found else len(text)


def _take_launch_bounds(text: str) -> tuple[str | None, str]:
    """Cuts __launch_bounds__(threads[, blocks]) out of the text. Returns the expression for threads, and the rest."""
    found = re.search(r"__launch_bounds__\s*\(", text)
    if found is None:
        return None, text
    depth, end = 1, found.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    return split(text[found.end() : end - 1])[0], text[: found.start()] + " " + text[end:]


def _template_parameter(text: str) -> TemplateParameter:
    declaration, _, default = (part.strip() for part in text.partition("="))
    kind, _, name = declaration.rpartition(" ")
    is_type = kind in ("typename", "class")
    if not is_type and kind.strip() not in ("int", "unsigned", "unsigned int", "bool", "long long", "size_t"):
        raise ValueError(f"template parameter {text!r}: expected a type, an integer or a bool")
    if is_type and default:
        raise ValueError(f"template parameter {text!r}: a default type is not supported")
    return TemplateParameter(name, is_type, kind == "bool", default or None)


def _template_value(kernel: str, parameter: TemplateParameter, value: TemplateArgument) -> str | int:
    if not parameter.is_type:
        if not isinstance(value, (int, np.integer)):
            raise TypeError(f"kernel {kernel}: template parameter {parameter.name} is an integer, got {value!r}")
        return int(value)
    if isinstance(value, (type, np.dtype)):
        value = _TYPE_OF_DTYPE.get(np.dtype(value), str(value))
    if value not in NUMBERS:
        raise TypeError(f"kernel {kernel}: template parameter {parameter.name} is a type, got {value!r}")
    return str(value)


def _parameter(text: str, types: Mapping[str, str], constants: Mapping[str, str]) -> Parameter:
    """The parameter for a declaration such as `const T* __restrict__ ALIGNED(16) x`."""
    aligned = re.search(r"\bALIGNED\s*\(([^()]*)\)", text)
    plain = re.sub(r"\bALIGNED\s*\([^()]*\)|\b__restrict__\b|\b__grid_constant__\b", " ", text)
    match = re.fullmatch(r"\s*(?P<base>[\w\s]+?)\s*(?P<stars>(?:\*\s*(?:const\b\s*)?)*)(?P<name>\w+)\s*", plain)
    if match is None:
        raise ValueError(f"cannot read the parameter {text!r}")
    words = match["base"].split()
    const, base = "const" in words, " ".join(word for word in words if word != "const")
    depth = match["stars"].count("*")
    if not depth:
        return _value(match["name"], base, types)
    dtype, alignment = _pointee(base, types)
    if aligned:
        alignment = max(alignment, _evaluate(aligned[1], constants))
    pointer = Pointer(match["name"], dtype, const, alignment)
    if depth > 2:
        raise ValueError(f"cannot read the parameter {text!r}: more than two *")
    return pointer if depth == 1 else Table(match["name"], pointer)


def _value(name: str, base: str, types: Mapping[str, str]) -> Scalar | Structure:
    target = _follow(base, types)
    if not target.startswith("{"):
        return Scalar(name, _number(target))
    members = []
    for statement in filter(None, map(str.strip, target[1:-1].split(";"))):
        match = re.fullmatch(r"([\w\s]+?)\s+(\w+(?:\s*,\s*\w+)*)", statement)
        if match is None:
            raise ValueError(f"struct {base}: cannot read the members {statement!r}")
        dtype = _number(_follow(match[1].strip(), types))
        members += [Scalar(member.strip(), dtype) for member in match[2].split(",")]
    return Structure(name, tuple(members))


def _pointee(base: str, types: Mapping[str, str]) -> tuple[np.dtype[Any], int]:
    target = _follow(base, types)
    number, count = VECTORS.get(target, (target, 1))
    dtype = _number(number)
    return dtype, min(16, dtype.itemsize * count)


def _follow(name: str, types: Mapping[str, str]) -> str:
    for _ in range(len(types)):
        if name not in types:
            break
        name = types[name]
    return name


def _number(name: str) -> np.dtype[Any]:
    if name not in NUMBERS:
        raise ValueError(f"unknown type {name!r}; expected one of {', '.join(NUMBERS)}")
    return np.dtype(NUMBERS[name])


_OPERATORS: dict[type[ast.AST], Callable[..., int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.USub: operator.neg,
}


def _evaluate(expression: str, constants: Mapping[str, str]) -> int:
    """The value of an integer constant expression of C, of + - * / % <<, constants and template parameters."""

    def value(node: ast.AST, depth: int) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return int(node.value)
        if isinstance(node, ast.Name) and node.id in constants and depth < 20:
            return value(tree(constants[node.id]), depth + 1)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left, depth), value(node.right, depth))
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.operand, depth))
        raise ValueError(f"cannot evaluate {expression!r}: {ast.unparse(node)!r} is not a known constant")

    def tree(text: str) -> ast.AST:
        python = text.strip().replace("/", "//").replace("true", "True").replace("false", "False")
        try:
            return ast.parse(python, mode="eval").body
        except SyntaxError:
            raise ValueError(f"cannot evaluate {expression!r}: {text!r} is not a constant expression") from None

    return value(tree(expression), 0)
