"""ReLU and ReLU6 as part of the DN-B layers in front of them."""

from __future__ import annotations

import inspect
import weakref
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import fx, nn

from .activated import FOLDED
from .batchnorms import forward_definer
from .dnb import DNB
from .modes import in_mode

__all__ = ['fold_activations']

# Of plain and folded activations alike, since a module may be that of a further norm.
NAMES = {kind: plain.__name__ for plain, folded in FOLDED.items() for kind in (plain, folded)}


def fold_activations(model: nn.Module) -> int:
    """Let every DN-B of a model apply the ReLU or ReLU6 that follows it.

    The model computes what it did, in one pass less over the output of the norm. Names of modules
    and keys of the state dict stay; :func:`revert_to_batchnorm` gives the activations back.

    What follows a norm is seen in the calls of each ``forward``, as torch.fx traces them, in
    training and in evaluation: in an ``nn.Sequential``, in a block that computes
    ``self.relu(self.bn1(x))``, or where the last layer of one block is a norm and another module
    applies the ReLU. A ReLU that other places use as well goes on to serve them. mmcv's
    ``ConvModule`` is known by what it says of itself. A module whose ``forward`` cannot be traced,
    since it depends on values, is taken to run the modules in it as a whole.

    Left alone are norms whose output goes anywhere but into a ReLU, norms and activations with
    hooks, which would see other maps, subclasses of the activations, and ``F.relu`` and the like,
    which would run all the same.

    Args:
        model (nn.Module): Changed in place.

    Returns:
        int: Number of DN-Bs that now apply an activation and did not before.

    Raises:
        TypeError: ``model`` is not a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got {type(model).__name__}')
    found = _Calls(model).activations()
    for norm, acts in found.items():
        (norm.activation,) = {NAMES[type(act.module)] for act in acts}
        norm.marks_output = not all(_is_conv_module(act.owner) for act in acts)
    for owner, module in set().union(*found.values()):
        if _is_conv_module(owner):
            owner.activate = nn.Identity()
            owner.with_activation = False
        else:
            module.__class__ = FOLDED.get(type(module), type(module))
    return len(found)


class _Act(NamedTuple):
    """An activation, and the module whose ``forward`` calls it."""

    owner: nn.Module
    module: nn.Module


class _Calls:
    """Who calls what in a model, as far as its norms are concerned."""

    def __init__(self, model: nn.Module):
        self.norms = [module for module in model.modules() if _may_apply_more(module)]
        # Module to the nodes of its calls, each with the module whose graph it is in.
        self.nodes = defaultdict(list)
        # Of norms in mmcv's modules, which call them by their own account.
        self.told = defaultdict(set)
        # Modules that are called, or may be, where nobody can see what becomes of the output.
        self.unseen = set()
        norms = set(self.norms)
        holders = [
            module
            for module in model.modules()
            if module not in norms and not norms.isdisjoint(module.modules())
        ]
        others = []
        for module in holders:
            definer = forward_definer(module)
            if _is_conv_module(module):
                self._ask(module)
            elif definer is nn.Sequential:
                self._add(module, _chain(module))
            elif definer is None:  # The tracer would take the forward of the class.
                self.unseen.update(_children(module))
            elif definer is not nn.Module:
                others.append(module)
        for training in (True, False):
            with in_mode(model, training):
                for module in others:
                    self._trace(module)

    def activations(self) -> dict[DNB, set[_Act]]:
        """Norms whose output goes into activations of one kind alone."""
        found = {norm: self._behind(norm) for norm in self.norms}
        return {
            norm: acts
            for norm, acts in found.items()
            if acts and len({NAMES[type(act.module)] for act in acts}) == 1
        }

    def _ask(self, module: nn.Module) -> None:
        if not module.with_norm:
            return
        act = module.activate if module.with_activation else None
        if tuple(module.order) == ('conv', 'norm', 'act') and _is_activation(act):
            self.told[module.norm].add(_Act(module, act))
        else:
            self.unseen.add(module.norm)

    def _trace(self, module: nn.Module) -> None:
        for arguments in _defaults(module):
            tracer, before = _Tracer(), dict(vars(module))
            try:
                graph = tracer.trace(module, concrete_args=arguments)
                tracer.check_nothing_is_kept()
                self._add(module, graph)
            except Exception:  # Whatever the code of others raises that meets no numbers.
                self.unseen.update(_children(module))
                if hasattr(tracer, 'graph'):  # As far as it got.
                    self.unseen.update(called for called, _ in _calls_in(module, tracer.graph))
            finally:
                vars(module).clear()
                vars(module).update(before)

    def _add(self, module: nn.Module, graph: fx.Graph) -> None:
        for called, node in _calls_in(module, graph):
            self.nodes[called].append((module, node))

    def _behind(self, module: nn.Module) -> set[_Act]:
        """The activations behind all calls of a module; none if there may be anything else."""
        if module in self.unseen or _has_hooks(module):
            return set()
        found = [
            *({act} for act in self.told.get(module, ())),
            *(self._behind_node(owner, node) for owner, node in self.nodes.get(module, ())),
        ]
        return set().union(*found) if all(found) else set()

    def _behind_node(self, owner: nn.Module, node: fx.Node) -> set[_Act]:
        user = next(iter(node.users)) if len(node.users) == 1 else None
        if user is None or user.args != (node,) or user.kwargs:
            return set()
        if user.op == 'output':
            return self._behind(owner)
        if user.op != 'call_module':
            return set()
        module = owner.get_submodule(user.target)
        if type(module) is nn.Identity and not _has_hooks(module):
            return self._behind_node(owner, user)
        return {_Act(owner, module)} if _is_activation(module) else set()


class _Tracer(fx.Tracer):
    """Sees the calls of one ``forward``, and does not look into those it calls."""

    proxy_buffer_attributes = True  # Else what is done to a buffer is done in earnest.

    def __init__(self) -> None:
        super().__init__()
        self.made = []

    def proxy(self, node: fx.Node) -> fx.Proxy:
        made = super().proxy(node)
        self.made.append(weakref.ref(made))
        return made

    def check_nothing_is_kept(self) -> None:
        """Maps that outlive the call, on the module or in a list, may be used by anybody."""
        if any(ref() is not None for ref in self.made):
            raise RuntimeError('a map is kept')

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def to_bool(self, obj: fx.Proxy) -> bool:
        # Where mmcv's and mmdet's modules ask for this, they checkpoint the same computation.
        if obj.node.target is getattr and obj.node.args[1] == 'requires_grad':
            return False
        return super().to_bool(obj)


def _chain(module: nn.Sequential) -> fx.Graph:
    """What the tracer would find, at once."""
    graph = fx.Graph()
    node = graph.placeholder('input')
    for name in module._modules:  # One that is there twice is called twice.
        node = graph.create_node('call_module', name, (node,))
    graph.output(node)
    return graph


def _calls_in(module: nn.Module, graph: fx.Graph) -> list[tuple[nn.Module, fx.Node]]:
    return [(module.get_submodule(n.target), n) for n in graph.nodes if n.op == 'call_module']


def _defaults(module: nn.Module) -> Iterator[dict[str, Any] | None]:
    """For each trace what it replaces: no argument, and then those that may be left out."""
    yield None
    parameters = inspect.signature(type(module).forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    if defaults:
        yield defaults


def _children(module: nn.Module) -> Iterator[nn.Module]:
    """What its ``forward`` may call: lists of modules have none of their own."""
    for child in module.children():
        yield child
        if forward_definer(child) is nn.Module:
            yield from _children(child)


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _may_apply_more(norm: nn.Module) -> bool:
    return type(norm) is DNB and norm.activation is None and 'forward' not in vars(norm)


def _is_activation(module: nn.Module | None) -> bool:
    return type(module) in NAMES and 'forward' not in vars(module) and not _has_hooks(module)


def _is_conv_module(module: nn.Module) -> bool:
    # By name, since mmcv need not be installed.
    cls = forward_definer(module)
    return cls is not None and cls.__name__ == 'ConvModule' and cls.__module__.startswith('mmcv.')
