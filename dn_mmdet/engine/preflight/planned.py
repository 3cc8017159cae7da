"""What a check looks at: a run that has not begun, its data sets, and the files that it names."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, TypeVar

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from torch import nn

from ...datasets.files.coco import annotation_problems, load_annotations
from ...utils.errors import UserError
from ..checkpoint_file import read_checkpoint
from .registries import config_mistakes, dicts_in, find_type

__all__ = [
    'ClassList',
    'DatasetContent',
    'Files',
    'PlannedDataset',
    'PlannedRun',
    'Switches',
    'silence',
]

T = TypeVar('T')


@dataclass(frozen=True)
class Switches:
    """What the key ``preflight`` of a configuration loosens.

    Args:
        images (bool): Whether every image file is opened. Defaults to True.
        class_subset (bool): Whether a class list may leave out categories of the annotation file.
            Defaults to False.
        checkpoint (bool): Whether ``load_from`` must give all weights. Defaults to True.
        class_names (bool): Whether all data sets, and a checkpoint that is tested, must have one
            class list. Defaults to True.
    """

    images: bool = True
    class_subset: bool = False
    checkpoint: bool = True
    class_names: bool = True

    @classmethod
    def of(cls, cfg: Config) -> Switches:
        """Read them from a configuration.

        Raises:
            UserError: ``preflight`` is not a dict, or has another key.
        """
        given, known = cfg.get('preflight', {}), [entry.name for entry in fields(cls)]
        if not isinstance(given, Mapping):
            raise UserError(
                f'preflight is {given!r}, not a dict of the switches {", ".join(known)}.'
            )
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise UserError(
                f'preflight has no switch {unknown[0]!r}: valid switches are {", ".join(known)}.'
            )
        return cls(**given)


class Files:
    """The files of a run, each read once however many of its parts name it.

    It lives as long as a preflight, so that the memory is free when the run begins.
    """

    def __init__(self) -> None:
        self._done: dict[tuple[str, ...], Any] = {}

    def annotations(
        self, path: str, key: str, labels: bool = True, evaluated: bool = False
    ) -> dict[str, Any]:
        """A COCO annotation file that is as it must be; not to be changed.

        Args:
            path (str): The JSON file.
            key (str): The configuration key that names it, for messages.
            labels (bool): Whether it must have annotations. Defaults to True.
            evaluated (bool): Whether COCOeval reads it. Defaults to False.

        Returns:
            dict: What the file holds; see :func:`annotation_problems`.

        Raises:
            UserError: The file is missing, not JSON, or not as it must be.
        """
        content, problems = self.judged_annotations(path, key, labels, evaluated)
        if problems:
            raise UserError(problems[0][1])
        return content

    def judged_annotations(
        self, path: str, key: str, labels: bool = True, evaluated: bool = False
    ) -> tuple[Any, list[tuple[str, str]]]:
        """A COCO annotation file and all that is wrong with it, for a survey.

        Args:
            path (str): The JSON file.
            key (str): The configuration key that names it, for messages.
            labels (bool): Whether it must have annotations. Defaults to True.
            evaluated (bool): Whether COCOeval reads it. Defaults to False.

        Returns:
            tuple[Any, list[tuple[str, str]]]: What the file holds, and what
            :func:`annotation_problems` yields of it.

        Raises:
            UserError: The file is missing or not JSON.
        """
        content = self.once('annotations', path, work=lambda: load_annotations(path, key))
        problems = self.once(
            f'problems {labels} {evaluated}',
            path,
            work=lambda: list(annotation_problems(content, path, labels, evaluated)),
        )
        return content, problems

    def checkpoint(self, path: str, source: str, remedy: str = 'check the path') -> Mapping:
        """What a checkpoint holds, with the arguments and errors of :func:`read_checkpoint`."""
        return self.once('checkpoint', path, work=lambda: read_checkpoint(path, source, remedy))

    def once(self, kind: str, *paths: str, work: Callable[[], T]) -> T:
        """The result of some work on files, which is done only the first time it is asked for.

        Args:
            kind (str): What is done, as 'images'.
            *paths (str): The files and folders; other names of the same ones count as them.
            work (Callable): Does it; takes nothing.

        Returns:
            T: What it returned.

        Raises:
            UserError: From the work, each time.
        """
        known = kind, *map(os.path.realpath, paths)
        if known not in self._done:
            try:
                self._done[known] = work()
            except UserError as error:
                self._done[known] = error
        if isinstance(self._done[known], UserError):
            raise self._done[known]
        return self._done[known]


@dataclass(frozen=True)
class ClassList:
    """The names that labels are places of.

    Args:
        names (tuple[str, ...]): In the order of the labels.
        source (str): Dotted key of the data set, or the checkpoint, that says so.
        palette (Sequence, optional): Colors of the classes, as ``metainfo`` has them. Defaults to
            None.
    """

    names: tuple[str, ...]
    source: str
    palette: Sequence | None = None


@dataclass
class PlannedRun:
    """A run that has not begun, as its checks get it.

    Args:
        cfg (Config): The whole configuration; ``load_from`` and ``resume`` are final.
        mode (str): 'train' or 'test'.
        survey (bool): Whether all that is wrong is kept in ``errors``, instead of the first mistake
            being raised. Defaults to False.
        parts (Sequence[str], optional): Which of 'train', 'val' and 'test' are looked at. Defaults
            to those that a run of the mode has.

    Attributes:
        notes (list[str]): What the checks have to say in the log of the run.
        errors (list[str]): In a survey, what is wrong.
        contents (dict[str, DatasetContent]): What each data set holds, by its dotted key; filled
            by :func:`check_datasets`.
        class_list (ClassList, optional): That of the run, as far as it is known yet.
        metainfo (dict[str, Mapping]): What data sets were given instead of their own ``metainfo``,
            by dotted key.
        switches (Switches): What the configuration loosens.
        files (Files): Reads each file once.
        model (nn.Module): Built at its first use and thrown away at the end; checks load weights
            into it.

    Raises:
        UserError: The key ``preflight`` of the configuration is wrong.
    """

    cfg: Config
    mode: str
    survey: bool = False
    parts: Sequence[str] | None = None
    notes: list[str] = field(default_factory=list, init=False)
    errors: list[str] = field(default_factory=list, init=False)
    contents: dict[str, DatasetContent] = field(default_factory=dict, init=False)
    class_list: ClassList | None = field(default=None, init=False)
    metainfo: dict[str, Mapping] = field(default_factory=dict, init=False)
    switches: Switches = field(init=False)
    files: Files = field(default_factory=Files, init=False)

    def __post_init__(self) -> None:
        self.switches = Switches.of(self.cfg)

    def refuse(self, sentence: str) -> None:
        """Say that something is wrong which does not keep a check from looking further.

        Args:
            sentence (str): What is wrong, where, and what to do.

        Raises:
            UserError: The sentence, except in a survey, which keeps it in ``errors``.
        """
        if not self.survey:
            raise UserError(sentence)
        if sentence not in self.errors:
            self.errors.append(sentence)

    def note(self, sentence: str) -> None:
        """Say something once in the log of the run, however many data sets it is true of."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """In a survey, keep the UserError that ends a block, and go on behind it."""
        try:
            yield
        except UserError as error:
            self.refuse(str(error))

    @cached_property
    def model(self) -> nn.Module:
        """The model of the configuration; in a survey without one, something without classes.

        Raises:
            UserError: It cannot be built.
        """
        if self.survey and self.cfg.get('model') is None:
            return nn.Identity()
        with silence(), config_mistakes(self.cfg, 'the model'):
            # As the Runner does.
            given = self.cfg.get('data_preprocessor')
            defaults = None if given is None else {'data_preprocessor': given}
            # A copy, since some of mmdet's heads write into their part of a configuration.
            return MODELS.build(deepcopy(self.cfg.model), default_args=defaults)

    @property
    def checkpoint_gone_on_with(self) -> str | None:
        """The checkpoint whose labels the run uses as they are: one tested, or resumed."""
        goes_on = self.mode == 'test' or self.cfg.get('resume')
        return self.cfg.get('load_from') or None if goes_on and not self.survey else None

    def looked_at(self) -> Sequence[str]:
        """Which of 'train', 'val' and 'test' the checks look at."""
        if self.parts is not None:
            return self.parts
        if self.mode == 'test':
            return ('test',)
        return ('train', 'val') if self.cfg.get('val_cfg') is not None else ('train',)

    def loaders(self) -> Iterator[tuple[str, Mapping]]:
        """Part and configuration of every data loader; one that is built already is left out."""
        for part in self.looked_at():
            loader = self.cfg.get(f'{part}_dataloader')
            if isinstance(loader, Mapping):
                yield part, loader

    def datasets(self) -> Iterator[PlannedDataset]:
        """Every data set that the run reads; wrappers around data sets are looked through.

        Raises:
            UserError: The type of one is not registered anywhere.
        """
        for part in self.looked_at():
            evaluator = self._metrics(part) if part != 'train' else ()
            labels = not any(metric.get('format_only') for _, metric, _ in evaluator)
            for key, dataset in _unwrapped(self._dataset(part), f'{part}_dataloader.dataset'):
                yield PlannedDataset(self, key, dataset, labels)

    def metrics(self) -> Iterator[tuple[str, Mapping, type | None, list[PlannedDataset]]]:
        """Dotted key, configuration and class of every metric, and the data sets it is taken on."""
        for part in self.looked_at():
            if part == 'train':
                continue
            datasets = [data for data in self.datasets() if data.part == part]
            # mmdet's MultiDatasetsEvaluator takes each metric on one part of a ConcatDataset.
            evaluator = self.cfg.get(f'{part}_evaluator')
            apart = isinstance(evaluator, Mapping) and 'dataset_prefixes' in evaluator
            for i, (key, metric, cls) in enumerate(self._metrics(part)):
                own = f'{part}_dataloader.dataset.datasets.{i}'
                taken = [d for d in datasets if not apart or f'{d.key}.'.startswith(f'{own}.')]
                yield key, metric, cls, taken

    def _dataset(self, part: str) -> Any:
        loader = self.cfg.get(f'{part}_dataloader')
        return loader.get('dataset') if isinstance(loader, Mapping) else None

    def _metrics(self, part: str) -> Iterator[tuple[str, Mapping, type | None]]:
        key = f'{part}_evaluator'
        return _each_metric(self.cfg.get(key), key)


@dataclass(frozen=True)
class DatasetContent:
    """What a check found in a data set.

    Args:
        classes (Sequence[str], optional): The class names, in the order of the labels. Defaults to
            None, not known.
        images (int, optional): How many images the data set has after its own filter
            (``filter_cfg``), before ``indices``. Defaults to None, not known.
        boxes (int, optional): How many boxes its annotation files hold. Defaults to None, not
            known.
        used (Mapping[str, int], optional): How many boxes of each class are learned from, or are to
            be found in an evaluation. Defaults to None, not known.
    """

    classes: Sequence[str] | None = None
    images: int | None = None
    boxes: int | None = None
    used: Mapping[str, int] | None = None


@dataclass(frozen=True)
class PlannedDataset:
    """A data set of a run that has not begun, as its checks get it.

    Args:
        run (PlannedRun): The run, with its switches and files.
        key (str): Dotted key in the whole configuration, as 'train_dataloader.dataset'.
        cfg (Mapping): Configuration of the data set.
        labels (bool): Whether there must be annotations; an evaluation that only writes
            predictions needs none. Defaults to True.
    """

    run: PlannedRun
    key: str
    cfg: Mapping
    labels: bool = True

    @cached_property
    def cls(self) -> type:
        """The class.

        Raises:
            UserError: It is not registered anywhere.
        """
        cls = find_type(DATASETS, self.cfg.get('type'))
        if not isinstance(cls, type):
            raise UserError(
                f'{self.key}.type is {self.cfg.get("type")!r}, which is not a registered data set: '
                'check the spelling, or import its module with custom_imports.'
            )
        return cls

    @property
    def steps(self) -> list[tuple[int, Mapping, type]]:
        """Place, configuration and class of each step of the pipeline whose class is known."""
        given = enumerate(self.cfg.get('pipeline') or ())
        found = [
            (i, step, find_type(TRANSFORMS, step.get('type')))
            for i, step in given
            if isinstance(step, Mapping)
        ]
        return [entry for entry in found if isinstance(entry[2], type)]

    @property
    def part(self) -> str:
        """'train', 'val' or 'test'."""
        return self.key.partition('_dataloader')[0]

    def refuse_alone(self, sentence: str) -> None:
        """Say that the data set gives nothing, which is wrong unless it is one of several.

        Args:
            sentence (str): What is wrong, where, and what to do.

        Raises:
            UserError: The sentence, unless the data set is a part of a ConcatDataset or the run is
                a survey.
        """
        (self.run.note if self.joined else self.run.refuse)(sentence)

    @property
    def joined(self) -> bool:
        """Whether it is one of several that a wrapper joins."""
        return '.datasets.' in self.key

    @property
    def root_option(self) -> str:
        """What ``--cfg-options`` sets to another data folder: for all data sets where all have one.

        See ``dn_mmdet.engine.data_root.use_data_root``.
        """
        cfg = self.run.cfg
        roots = {
            os.path.normpath(inner['data_root'])
            for part in ('train', 'val', 'test')
            for _, inner in dicts_in(cfg.get(f'{part}_dataloader'), part)
            if isinstance(inner.get('data_root'), str)
        }
        stated = cfg.get('data_root')
        if isinstance(stated, str):
            roots.add(os.path.normpath(stated))
        return 'data_root' if len(roots) == 1 else f'{self.key}.data_root'

    def folder(self, prefix: str) -> str:
        """The folder that a key of ``data_prefix`` names, below ``data_root``."""
        given = self.cfg.get('data_prefix') or ''
        inner = given.get(prefix, '') if isinstance(given, Mapping) else given
        return os.path.join(self.cfg.get('data_root') or '', inner)


@contextmanager
def silence() -> Iterator[None]:
    """Keep what building logs for the Runner, which builds all of it again."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


def _unwrapped(cfg: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    """The data sets inside RepeatDataset, ConcatDataset and the like."""
    if not isinstance(cfg, Mapping):
        return  # built in Python by the caller, who knows it
    if isinstance(cfg.get('dataset'), Mapping):
        yield from _unwrapped(cfg['dataset'], f'{key}.dataset')
    elif isinstance(cfg.get('datasets'), (list, tuple)):
        for i, inner in enumerate(cfg['datasets']):
            yield from _unwrapped(inner, f'{key}.datasets.{i}')
    else:
        yield key, cfg


def _each_metric(evaluator: Any, key: str) -> Iterator[tuple[str, Mapping, type | None]]:
    """Dotted key, configuration and class of every metric of an evaluator."""
    if isinstance(evaluator, Mapping) and isinstance(evaluator.get('metrics'), Sequence):
        yield from _each_metric(evaluator['metrics'], f'{key}.metrics')
    elif isinstance(evaluator, Mapping):
        yield key, evaluator, find_type(METRICS, evaluator.get('type'))
    elif isinstance(evaluator, Sequence) and not isinstance(evaluator, str):
        for i, metric in enumerate(evaluator):
            yield from _each_metric(metric, f'{key}.{i}')
