"""The backward pass of c = a * (a + a), walked along the real nodes of autograd/graph.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.autograd import Tensor
from minivae.autograd.graph import Leaf, Node, add_up, topological_order

from .sheet import BLUE, FAINT, GREY, ORANGE, SMALL, STRONG, Sheet

SIZE = (6.4, 3.3)


def find() -> dict[str, Any]:
    """The nodes in topological order, each with its value, and the steps of the backward pass: dy, and what is sent."""
    a = Tensor(np.array(3.0), requires_grad=True)
    b = a + a
    c = a * b
    made = {tensor._node: (name, tensor) for name, tensor in (("a", a), ("b", b), ("c", c))}
    order = [node for node in topological_order(_node(c)) if node in made]
    nodes = [_described(node, *made[node]) for node in order]
    gradients, steps = {_node(c): np.ones(())}, []
    for node in reversed(order):  # the loop of graph.leaf_gradients, which also notes what it does
        dy = gradients.pop(node)
        sent = () if isinstance(node, Leaf) else node.checked(node.backward(dy))
        add_up(gradients, node.edges, sent)
        to = [[made[edge][0], float(g)] for edge, g in zip(node.edges, sent, strict=True) if edge and g is not None]
        steps.append({"node": made[node][0], "dy": float(dy), "sent": to})
    return {"nodes": nodes, "steps": steps}


def _node(tensor: Tensor) -> Node:
    assert tensor._node is not None
    return tensor._node


def _described(node: Node, name: str, tensor: Tensor) -> dict[str, Any]:
    return {"name": name, "kind": type(node).__name__, "value": tensor.item()}


def draw(sheet: Sheet, found: dict[str, Any]) -> None:
    """Values above, forwards; gradients below, backwards; the steps as a list."""
    values = {node["name"]: node for node in found["nodes"]}
    steps = {step["node"]: step for step in found["steps"]}
    formula = {"a": "a", "b": "b = a + a", "c": "c = a * b"}
    place = dict(zip(values, (0.35, 2.55, 4.75), strict=True))
    blue, red = STRONG[BLUE], STRONG[ORANGE]
    for name, node in values.items():
        words = f"{formula[name]} = {node['value']:g}\n{node['kind']}: dy = {steps[name]['dy']:g}"
        sheet.box((place[name], 1.75), (1.35, 0.62), words, BLUE if node["kind"] != "Leaf" else GREY, size=SMALL)
    ab, ac = [g for to, g in steps["b"]["sent"] if to == "a"], [g for to, g in steps["c"]["sent"] if to == "a"]
    (bc,) = (g for to, g in steps["c"]["sent"] if to == "b")
    for y, bend in ((2.22, -0.12), (2.12, 0.0)):
        sheet.arrow((1.7, y), (2.55, y), blue, bend)
    sheet.arrow((3.9, 2.17), (4.75, 2.17), blue)
    sheet.arrow((1.0, 2.37), (5.45, 2.37), blue, -0.16)
    sheet.arrow((2.55, 1.92), (1.7, 1.92), red)
    sheet.arrow((2.55, 1.82), (1.7, 1.82), red, -0.12)
    sheet.arrow((4.75, 1.87), (3.9, 1.87), red)
    sheet.arrow((5.45, 1.75), (1.0, 1.75), red, -0.26)
    sheet.text((2.12, 1.62), " and ".join(f"{g:g}" for g in ab), SMALL, red, "center")
    sheet.text((4.32, 1.67), f"{bc:g}", SMALL, red, "center")
    sheet.text((3.22, 1.03), " and ".join(f"{g:g}" for g in ac), SMALL, red, "center")
    sheet.text((0.35, 3.1), "forwards: values", SMALL, blue)
    sheet.text((1.75, 3.1), "backwards: what a node sends along its edges", SMALL, red)
    for i, step in enumerate(found["steps"]):
        sheet.text((0.35, 0.75 - 0.26 * i), f"{i + 1}.", SMALL, FAINT)
        sheet.text((0.6, 0.75 - 0.26 * i), _told(step), SMALL)


def _told(step: dict[str, Any]) -> str:
    if not step["sent"]:
        return f"{step['node']} is a leaf: all its uses have answered, and its gradient is the sum, {step['dy']:g}"
    sent = ", ".join(f"{g:g} to {to}" for to, g in step["sent"])
    return f"{step['node']} has dy = {step['dy']:g} and sends {sent}"
