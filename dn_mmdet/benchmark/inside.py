"""What the norm layers take of a model's step, forward and backward, beside what they must move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from ..ops.dispatch import use_path
from ..utils.python39 import zip_strict
from .measure import Subject
from .timing import time_interleaved

__all__ = ['LayerClock', 'Visit', 'time_layers']

ACTIVATIONS = (nn.ReLU, nn.ReLU6)
# Numbers that a norm must move for each of its input. Training reads x, and x again to write y,
# then dy and x, and both again to write dx. In evaluation BN reads x once and writes y; what makes
# its scale from x reads it before.
TRAINING, EVALUATION, BN_EVALUATION = 8, 3, 2
COPIED = 2**25  # float32 numbers of the copy, more than a cache holds


@dataclass
class Visit:
    """A norm layer and the activation behind it, in one step.

    Attributes:
        map (str): Height and width of its input, as '112x112'.
        bytes (int): What the norm must move: its map, and its weights once or, in training, three
            times (forward, backward, gradient). An activation apart moves more.
        seconds (float): Forward and backward.
    """

    map: str
    bytes: int
    seconds: float = 0.0


class LayerClock:
    """A context in which the norm layers and activations of a model are timed, on a CPU.

    The forward is timed from hook to hook of a module, with what Python takes; the backward as
    the sum of the nodes that lie between its output and its input in autograd's graph.

    Args:
        model (nn.Module): Whose step runs inside the context.
        norm (type): Class of its norm layers. What is inside one of them is a part of it.
        clock (Callable[[], float]): Seconds. Defaults to ``time.perf_counter``.

    Attributes:
        visits (list[Visit]): Of the last step, in the order of the forward pass. An activation
            counts with the norm that ran before it.
    """

    def __init__(
        self, model: nn.Module, norm: type, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.visits: list[Visit] = []
        self._model, self._norm, self._clock = model, norm, clock
        self._hooks = ExitStack()
        self._started, self._source = 0.0, None

    def __enter__(self) -> LayerClock:
        hooks = [self._model.register_forward_pre_hook(self._begin_step)]
        for layer in _outermost(self._model, (self._norm, *ACTIVATIONS)):
            hooks.append(layer.register_forward_pre_hook(self._begin_layer))
            hooks.append(layer.register_forward_hook(self._end_layer))
        for hook in hooks:
            self._hooks.callback(hook.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _begin_step(self, *_: object) -> None:
        self.visits = []

    def _begin_layer(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        if isinstance(layer, self._norm):
            self.visits.append(Visit('x'.join(map(str, x.shape[2:])), _least_bytes(layer, x)))
        # Before an activation in place makes itself the source of its input.
        self._source = x.grad_fn
        self._started = self._clock()

    def _end_layer(self, layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> None:
        seconds = self._clock() - self._started
        if not self.visits:  # an activation before the first norm
            return
        visit = self.visits[-1]
        visit.seconds += seconds

        def begin(*_: object) -> None:
            self._started = self._clock()

        def end(*_: object) -> None:
            visit.seconds += self._clock() - self._started

        for node in _nodes_between(y.grad_fn, self._source):
            node.register_prehook(begin)
            node.register_hook(end)


def time_layers(
    subjects: Mapping[str, Subject],
    norms: Mapping[str, type],
    repeats: int,
    warmup: int = 1,
    settle: int = 0,
) -> dict:
    """Time what the norm layers of models take of their steps, interleaved, on a CPU.

    Their steps are not those that are compared: the hooks take time themselves.

    Args:
        subjects (Mapping[str, Subject]): Label to a subject with a model.
        norms (Mapping[str, type]): Label to the class of its norm layers.
        repeats (int): Timed rounds.
        warmup (int): Untimed rounds before. Defaults to 1.
        settle (int): Untimed steps before each time. Defaults to 0.

    Returns:
        dict: ``copy``, the bytes a second of copying a large tensor to one that is there, which
        took its turns with the models; ``norms``, label to ``share`` of the step, ``seconds`` and
        ``bytes`` of all norm layers, with their activations, and the same by size of the map in
        ``maps``, with the number of ``layers``. Medians over the rounds.
    """
    clocks = {label: LayerClock(each.model, norms[label]) for label, each in subjects.items()}
    visits: dict[str, list[list[Visit]]] = {label: [] for label in subjects}
    source, target = torch.ones(COPIED), torch.zeros(COPIED)

    @contextmanager
    def watched(label: str) -> Iterator[None]:
        if label not in subjects:
            yield
            return
        with use_path(subjects[label].asked_path), clocks[label]:
            yield
        visits[label].append(clocks[label].visits)

    times = time_interleaved(
        {**{label: each.step for label, each in subjects.items()},
         'copy': lambda: target.copy_(source)},
        repeats=repeats, warmup=warmup, settle=settle, context=watched,
    )  # fmt: skip
    copied = 2 * source.nbytes
    return dict(
        copy=copied / median(times['copy']),
        norms={label: _summary(visits[label][warmup:], times[label]) for label in subjects},
    )


def _summary(rounds: list[list[Visit]], steps: list[float]) -> dict:
    groups: dict[str, list[list[Visit]]] = {}
    for size in dict.fromkeys(visit.map for visit in rounds[0]):
        groups[size] = [[each for each in visits if each.map == size] for visits in rounds]
    totals = [_seconds(visits) for visits in rounds]
    return dict(
        share=median(total / step for total, step in zip_strict(totals, steps)),
        **_numbers(rounds),
        maps=[dict(map=size, **_numbers(group)) for size, group in groups.items()],
    )


def _numbers(rounds: list[list[Visit]]) -> dict:
    return dict(
        layers=len(rounds[0]),
        bytes=sum(visit.bytes for visit in rounds[0]),
        seconds=median(map(_seconds, rounds)),
    )


def _seconds(visits: list[Visit]) -> float:
    return sum(visit.seconds for visit in visits)


def _outermost(module: nn.Module, kinds: tuple[type, ...]) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, kinds):
            yield child
        else:
            yield from _outermost(child, kinds)


def _least_bytes(layer: nn.Module, x: Tensor) -> int:
    weights = sum(each.nbytes for each in layer.parameters())
    if layer.training:
        numbers, times = TRAINING, 3
    else:
        numbers = BN_EVALUATION if isinstance(layer, nn.BatchNorm2d) else EVALUATION
        times = 1
    return numbers * x.nbytes + times * weights


def _nodes_between(
    node: torch.autograd.graph.Node | None, source: torch.autograd.graph.Node | None
) -> set[torch.autograd.graph.Node]:
    """All nodes that lead from an output to its input; weights' own are not among them."""
    found, new = set(), [node]
    while new:
        node = new.pop()
        # A leaf's node only puts the gradient down.
        if node is None or node is source or node in found or hasattr(node, 'variable'):
            continue
        found.add(node)
        new += [following for following, _ in node.next_functions]
    return found
