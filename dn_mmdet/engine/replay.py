"""Batches and steps whose random numbers follow from their place in the run alone.

A run that is resumed in the middle then goes on as one that never stopped: nothing of a random
generator needs to be stored, whatever draws from it in whichever process, and the number of
workers makes no difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, IterableDataset

from .preflight.registries import find_type

__all__ = ['ReplayableLoader', 'make_replayable', 'seed_generators', 'seed_step']


def make_replayable(runner: Runner) -> None:
    """Have a run load batches that a resumed run loads in the same way; to be called before it.

    Its data loader becomes a :class:`ReplayableLoader`. Loops other than mmengine's own, and
    streams, which have no places, are left alone.

    Args:
        runner (Runner): Whose training loop is not built yet.
    """
    loop, loader = getattr(runner, '_train_loop', None), getattr(runner, '_train_dataloader', None)
    if not isinstance(loop, dict):
        return
    by_epoch = loop.get('by_epoch')
    own = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    kind = own if by_epoch is not None else find_type(LOOPS, loop.get('type'))
    if kind not in (EpochBasedTrainLoop, IterBasedTrainLoop):
        return
    if isinstance(loader, dict):
        loader = runner.build_dataloader(
            loader,
            seed=runner.seed,
            diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
        )
    # A loop takes a loader as it is.
    runner._train_dataloader = loader
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        return
    with suppress(AttributeError):  # as a list has it
        # What torch asks a data set for a batch with.
        loader.dataset.__getitems__ = _SeededFetch(loader.dataset, (runner.seed, get_rank()))
    # torch does not let it be changed, which is meant for a loader in use.
    loader.__dict__['batch_sampler'] = _NumberedBatches(loader.batch_sampler)
    cls = type(loader)
    loader.__class__ = type(cls.__name__, (ReplayableLoader, cls), {})
    loader.iteration, loader.skip = (lambda: runner.iter), 0
    if kind is EpochBasedTrainLoop:
        options = {key: value for key, value in loop.items() if key != 'by_epoch'}
        runner._train_loop = {**options, 'type': _EpochLoop}


def seed_step(runner: Runner) -> None:
    """Seed what is random in a step, in all processes alike unless they are to differ."""
    rank = get_rank() if runner._randomness_cfg.get('diff_rank_seed') else 0
    seed_generators(runner.seed, rank, 1, runner.iter)


def seed_generators(*place: int) -> None:
    """Seed Python's, NumPy's and torch's generators.

    Args:
        place (int): Numbers from 0, of which each sequence gives other random numbers.
    """
    words = np.random.SeedSequence(place).generate_state(4)
    random.seed(int(words[0]))
    np.random.seed(words[1:])
    # torch.manual_seed would take a stack trace for devices that are not in use.
    torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(int(words[0]))


class ReplayableLoader(DataLoader):
    """A data loader that passes over batches without loading them, and numbers the others.

    Attributes:
        skip (int): How many batches come as None, at the beginning.
        iteration (Callable[[], int]): Number of the iteration that a first batch is for.
    """

    skip: int
    iteration: Callable[[], int]

    def __iter__(self) -> Iterator[Any]:
        """Begin only when the first batch is asked for: by then a run has been resumed."""
        batches = iter(self.batch_sampler.batches)
        while self.skip:
            if next(batches, None) is None:
                return
            self.skip -= 1
            yield None
        self.batch_sampler.number(batches, self.iteration())
        yield from super().__iter__()


class _EpochLoop(EpochBasedTrainLoop):
    """An epoch whose first batches were passed over."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        if data_batch is not None:
            super().run_iter(idx, data_batch)


class _Batch(list):
    """Indices of the images of a batch, and its number in the run."""

    number: int


class _NumberedBatches:
    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['batches'], name)

    def __len__(self) -> int:
        return len(self.batches)

    def number(self, batches: Iterator[Sequence], first: int) -> None:
        self._next, self._first = batches, first

    def __iter__(self) -> Iterator[_Batch]:
        # torch's loader asks twice for an iterator, and uses the second one.
        for number, batch in enumerate(self._next, self._first):
            numbered = _Batch(batch)
            numbered.number = number
            yield numbered


class _SeededFetch:
    """Loads the images of a batch, in a worker or not."""

    def __init__(self, dataset: Any, place: tuple[int, ...]) -> None:
        self.dataset, self.place = dataset, place
        self.fetch = getattr(dataset, '__getitems__', None)

    def __call__(self, batch: Sequence) -> list:
        if isinstance(batch, _Batch):
            seed_generators(*self.place, 0, batch.number)
        return self.fetch(batch) if self.fetch else [self.dataset[index] for index in batch]
