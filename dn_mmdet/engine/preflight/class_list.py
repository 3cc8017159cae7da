"""One class list for a run: a label means the same in all its data sets, and in its checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import ConfigDict

from ...datasets.files.image_folder import class_folders
from ...utils.text import first_few
from ..checkpoint_file import meta_of
from .categories import alike
from .planned import ClassList, PlannedDataset, PlannedRun, silence
from .registries import config_scope

__all__ = ['check_class_list', 'give_class_lists', 'use_one_class_list']

# A class of data sets to what a subclass must not do in its own way, for its labels to be places
# of names in the list that the configuration gives, whatever the files say.
BY_NAME = {
    'CocoDataset': ('load_data_list', 'parse_data_info', 'COCOAPI'),
    'XMLDataset': ('load_data_list', '_parse_instance_info'),
    'ImageFolder': ('load_data_list',),
}


def use_one_class_list(run: PlannedRun) -> None:
    """Give all data sets of a run one class list, where their labels follow the list by name.

    It is the list that the checkpoint was trained with, where one is tested or resumed and says
    so, or else that of the first data set. A data set takes it, in the configuration in memory,
    if it lists the same names in another order, only some of them, or none of its own; what was
    changed is kept in ``run.metainfo`` and told in a note. The switch ``class_names`` turns this
    off.

    Raises:
        UserError: A list has another order, and labels of that data set follow its files.
    """
    if not run.switches.class_names:
        return
    run.class_list = _of_checkpoint(run)
    for data in run.datasets():
        with run.going_on():
            own = _own_list(data)
            if run.class_list is None:
                if own is None:
                    return  # known when its files are read
                run.class_list = own
            elif own is None or own.names != run.class_list.names:
                _adapt(run, data, own, run.class_list)
    _note_other_classes(run)


def give_class_lists(run: PlannedRun, metainfo: Mapping[str, Mapping]) -> None:
    """Change data sets as :func:`use_one_class_list` did in another process.

    Args:
        run (PlannedRun): Its configuration is changed in place.
        metainfo (Mapping[str, Mapping]): Dotted key of a data set to its ``metainfo``.
    """
    with config_scope(run.cfg):
        for data in run.datasets():
            if data.key in metainfo:
                data.cfg['metainfo'] = ConfigDict(metainfo[data.key])


def check_class_list(data: PlannedDataset, classes: Sequence[str]) -> None:
    """Check the class names that a data set was found to have against the class list of its run.

    Args:
        data (PlannedDataset): The first one of a run whose list is not known yet decides it.
        classes (Sequence[str]): Its class names, in the order of its labels.

    Raises:
        UserError: They differ, so that a label does not mean the same everywhere.
    """
    run, names = data.run, tuple(classes)
    if not run.switches.class_names:
        return
    if run.class_list is None:
        run.class_list = ClassList(names, data.key)
    wanted = run.class_list
    if names == wanted.names:
        return
    if set(names) == set(wanted.names):
        run.refuse(_other_order(data, names, wanted))
        return
    extra = [name for name in names if name not in wanted.names]
    lacking = [name for name in wanted.names if name not in names]
    parts = []
    if extra:
        parts.append(f'{_count(extra)} not in the other ({first_few(map(repr, extra))})')
    if lacking:
        parts.append(f'{_count(lacking)} missing in it ({first_few(map(repr, lacking))})')
    run.refuse(
        f'the class list of {data.key} does not fit that of {wanted.source}, {_shown(wanted)}: '
        f'{" and ".join(parts)}, so labels would not mean the same in both'
        f'{_did_you_mean(extra, lacking)}. {_cure(data, extra, wanted)}.'
    )


def _of_checkpoint(run: PlannedRun) -> ClassList | None:
    """The list that a checkpoint was trained with, where the run goes on with its labels."""
    path = run.checkpoint_gone_on_with
    return None if path is None else _trained_list(run, path)


def _trained_list(run: PlannedRun, path: str) -> ClassList | None:
    meta = meta_of(run.files.checkpoint(path, 'load_from'))
    # mmdet 2 kept CLASSES in the meta itself.
    metainfo = meta.get('dataset_meta', meta)
    if not isinstance(metainfo, Mapping):
        return None
    return _class_list({str(key).lower(): value for key, value in metainfo.items()}, path)


def _own_list(data: PlannedDataset) -> ClassList | None:
    """The class list of a data set as far as the configuration alone tells it."""
    metainfo, load = data.cfg.get('metainfo'), getattr(data.cls, '_load_metainfo', None)
    if load is None or not (metainfo is None or isinstance(metainfo, Mapping)):
        return None
    with silence():  # the Runner builds it again
        classes = load(metainfo).get('classes')
    # The colors of the class of data sets are no matter of this configuration.
    palette = (metainfo or {}).get('palette')
    found = _class_list(dict(classes=classes, palette=palette), data.key)
    folder = data.folder('img_path')
    if found is None and _is_by_name(data.cls, 'ImageFolder') and os.path.isdir(folder):
        return ClassList(tuple(class_folders(folder)), data.key)
    return found


def _class_list(metainfo: Mapping[str, Any], source: str) -> ClassList | None:
    classes, palette = metainfo.get('classes'), metainfo.get('palette')
    if not isinstance(classes, (list, tuple)) or not classes:
        return None
    if not all(isinstance(name, str) for name in classes):
        return None
    fits = isinstance(palette, (list, tuple)) and len(palette) == len(classes)
    return ClassList(tuple(classes), source, palette if fits else None)


def _adapt(run: PlannedRun, data: PlannedDataset, own: ClassList | None, wanted: ClassList) -> None:
    folders = _is_by_name(data.cls, 'ImageFolder')
    stated = folders or 'classes' in (data.cfg.get('metainfo') or {})
    same = own is not None and set(own.names) == set(wanted.names)
    if not _is_by_name(data.cls):
        if same:
            run.refuse(_other_order(data, own.names, wanted))
        return
    if own is not None and stated and not set(own.names) <= set(wanted.names):
        return  # told by check_class_list, which knows the files
    metainfo = ConfigDict(data.cfg.get('metainfo') or {})
    metainfo.classes = wanted.names
    # Colors are by place too.
    metainfo.pop('palette', None)
    if wanted.palette is not None:
        metainfo.palette = wanted.palette
    data.cfg['metainfo'] = run.metainfo[data.key] = metainfo
    if same:
        what = 'lists the classes in another order'
    elif stated:
        what = f'lists {len(own.names)} of the {len(wanted.names)} classes'
    else:
        what = 'has no class list of its own'
    run.note(f'{data.key} {what}: it takes that of {wanted.source}, {_shown(wanted)}.')


def _note_other_classes(run: PlannedRun) -> None:
    """The weights of a head that training begins with may be those of other classes."""
    path, own = run.cfg.get('load_from'), run.class_list
    if run.survey or run.mode != 'train' or not path or run.cfg.get('resume') or own is None:
        return
    given = _trained_list(run, path)
    if given and given.names != own.names and len(given.names) == len(own.names):
        i = next(i for i, name in enumerate(given.names) if name != own.names[i])
        run.note(
            f'load_from={path} was trained for other classes than those of {own.source}: training '
            f'begins with the weights of {given.names[i]!r} for {own.names[i]!r}, and so on.'
        )


def _is_by_name(cls: type, *names: str) -> bool:
    """Whether labels are places of names in the list of the configuration."""
    return any(
        all(getattr(cls, name) is getattr(base, name) for name in BY_NAME[base.__name__])
        for base in cls.__mro__
        if base.__name__ in (names or BY_NAME)
    )


def _other_order(data: PlannedDataset, names: Sequence[str], wanted: ClassList) -> str:
    i = next(i for i, name in enumerate(names) if name != wanted.names[i])
    return (
        f'the class list of {data.key} has the names of that of {wanted.source} in another order '
        f'(number {i} is {names[i]!r} against {wanted.names[i]!r}), and labels of a '
        f'{data.cls.__name__} follow its files: bring these into the order {_shown(wanted)}.'
    )


def _cure(data: PlannedDataset, extra: Sequence[str], wanted: ClassList) -> str:
    key, source = data.key, wanted.source
    if _is_by_name(data.cls, 'ImageFolder'):
        return f'Rename or remove the folders of {data.folder("img_path")} that are not in it'
    if not _is_by_name(data.cls):
        return f'Make both from the same classes, in the same order ({source})'
    if key.startswith('train_dataloader') and source.startswith('train_dataloader'):
        return (
            'Give all data sets of training one list, metainfo.classes, with all of the names, and '
            'set num_classes of the head to their number'
        )
    if source.endswith('_dataloader.dataset') or 'dataloader.dataset.' in source:
        off = ''
    else:
        off = ', or, if only names differ, preflight.class_names=False under --cfg-options'
    return (
        f'Set {key}.metainfo.classes to that list (and preflight.class_subset=True, if the '
        f'annotations have other categories that shall be left out){off}'
    )


def _did_you_mean(extra: Sequence[str], lacking: Sequence[str]) -> str:
    near = alike(extra, lacking)
    if not near:
        return ''
    return f' (is {near[0][0]!r} the same as {near[0][1]!r}? Then write it alike)'


def _shown(classes: ClassList) -> str:
    return f'[{first_few(map(repr, classes.names), 10)}]'


def _count(names: Sequence[str]) -> str:
    return f'{len(names)} name{" is" if len(names) == 1 else "s are"}'
