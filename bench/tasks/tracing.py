"""Gradients of several models as a graph of torch's kernels, without calls that compute nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import getitem
from typing import Any, TypeAlias

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

aten: Any = torch.ops.aten
RESHAPES = (aten.view.default, aten._unsafe_view.default, aten.expand.default)

Result: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]
"""A tensor, or two of which it is the batched product, (c, m, k) and (c, k, n)."""

DIRECT = {
    aten.add.Tensor: torch.add,
    aten.bmm.default: torch.bmm,
    aten.mul.Tensor: torch.mul,
    aten.relu.default: torch.relu,
    aten.sum.dim_IntList: torch.sum,
    aten.transpose.int: torch.transpose,
}
"""Functions that call the same kernels with less time in Python."""


def trace(
    function: Callable[..., Any], parameters: dict[str, torch.Tensor], *others: Any
) -> Callable[..., Sequence[Result]]:
    """Return a function of the tensors in the arguments, in order, to those of the result.

    It calls the kernels that `function` calls on these arguments, except for batched products in
    the result, which are left to the caller, reshapes to the same shape, and pairs of equal
    transposes. The caller may change the parameters before it computes the products.
    """
    graph = make_fx(function)(parameters, *others).graph
    changing = [node for node in graph.nodes if node.op == "placeholder"][: len(parameters)]
    for node in graph.nodes:
        if (source := _same(node)) is not None:
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    output = graph.output_node()
    results: Any = output.args[0]
    output.args = ([_factors(node, changing) for node in results],)
    graph.eliminate_dead_code()
    for node in graph.nodes:
        node.target = DIRECT.get(node.target, node.target)
    graph.set_codegen(CodeGen())
    return GraphModule(torch.nn.Module(), graph)


def _factors(node: Node, changing: Sequence[Node]) -> Node | tuple[Any, ...]:
    """Return the factors of a batched product that is only a result; other nodes as they are."""
    if node.target != aten.bmm.default or len(node.users) > 1:
        return node
    return node if any(_viewed(factor) in changing for factor in node.args) else node.args


def _viewed(node: Any) -> Any:
    """Return the node of which another is a view, itself if of none."""
    while node.op == "call_function" and (
        node.target in (*RESHAPES, getitem)
        or any(x.alias_info for x in node.target._schema.returns)
    ):
        node = node.args[0]
    return node


def _same(node: Node) -> Node | None:
    """Return the earlier node of which a call returns the same view; None for other calls."""
    source = node.args[0] if node.args else None
    if not isinstance(source, Node):
        return None
    if node.target in RESHAPES and node.meta["val"].shape == source.meta["val"].shape:
        return source
    if node.target == source.target == aten.transpose.int and node.args[1:] == source.args[1:]:
        first = source.args[0]
        return first if isinstance(first, Node) else None
    return None
