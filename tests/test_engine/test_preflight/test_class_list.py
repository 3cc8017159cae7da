"""One class list for a run: what is in another order is mapped by name, the rest is refused."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.engine.preflight import DatasetContent, PlannedRun, survey_data
from dn_mmdet.engine.preflight.class_list import (
    check_class_list,
    give_class_lists,
    use_one_class_list,
)
from dn_mmdet.engine.preflight.label_order import check_label_order
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import CLASSES, write_image_folder

ABC = ('ape', 'bee', 'cat')


def data(classes=None, type_='mmdet.CocoDataset', **more):
    given = {} if classes is None else dict(metainfo=dict(classes=classes))
    return dict(type=type_, ann_file='a.json', **given, **more)


def planned(train=None, *val, mode='train', **more):
    """A run whose data are not there."""
    val = val[0] if len(val) == 1 else dict(type='ConcatDataset', datasets=list(val))
    cfg = dict(
        train_dataloader=dict(dataset=train), val_dataloader=dict(dataset=val), val_cfg=dict()
    )
    cfg['test_dataloader'] = dict(dataset=val)
    return PlannedRun(Config({**cfg, **more}), mode)


def lists(run):
    """Part to class list that its data set would be built with."""
    return {
        found.key: tuple(found.cls._load_metainfo(found.cfg.get('metainfo')).get('classes', ()))
        for found in run.datasets()
    }


def mapped(run):
    use_one_class_list(run)
    for found in run.datasets():
        own = found.cls._load_metainfo(found.cfg.get('metainfo')).get('classes')
        if own is not None:
            check_class_list(found, own)
    return run


@pytest.mark.parametrize('type_', ['mmdet.CocoDataset', 'mmdet.XMLDataset', 'mmdet.VOCDataset'])
@pytest.mark.parametrize(
    'val, note',
    [
        (('cat', 'ape', 'bee'), 'lists the classes in another order'),
        (['bee', 'ape', 'cat'], 'lists the classes in another order'),
        (('cat', 'ape'), 'lists 2 of the 3 classes'),
        (None, 'has no class list of its own'),
    ],
)
def test_other_data_sets_take_the_list_of_training(type_, val, note):
    run = mapped(planned(data(ABC), data(val, type_)))
    assert set(lists(run).values()) == {ABC}
    assert len(run.notes) == 1
    assert f'val_dataloader.dataset {note}' in run.notes[0]
    assert "train_dataloader.dataset, ['ape', 'bee', 'cat']" in run.notes[0]


def test_one_list_is_left_alone():
    run = mapped(planned(data(ABC), data(list(ABC)), data(ABC)))
    assert run.notes == [] and run.metainfo == {}


def test_all_parts_are_mapped():
    train = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[data(ABC), data(ABC[::-1])]),
    )
    run = mapped(planned(train, data(ABC[::-1]), data(ABC[1:])))
    assert set(lists(run).values()) == {ABC}
    assert len(run.metainfo) == len(run.notes) == 3


def test_colors_go_with_the_classes():
    colors = [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    val = dict(data(), metainfo=dict(classes=ABC[::-1], palette=colors[::-1], more='kept'))
    train = dict(data(), metainfo=dict(classes=ABC, palette=colors))
    run = mapped(planned(train, val))
    assert run.metainfo == {
        'val_dataloader.dataset': dict(classes=ABC, palette=colors, more='kept')
    }
    assert 'palette' not in mapped(planned(data(ABC), val)).metainfo['val_dataloader.dataset']


def test_other_processes_are_told():
    run = mapped(planned(data(ABC), data(ABC[::-1])))
    other = planned(data(ABC), data(ABC[::-1]))
    give_class_lists(other, run.metainfo)
    assert lists(other) == lists(run)


class FollowsFiles(DATASETS.get('mmdet.CocoDataset') or object):
    def load_data_list(self):
        return []


@pytest.mark.parametrize(
    'train, val, words',
    [
        (
            data(ABC),
            data(('ape', 'bee', 'dog')),
            ["of val_dataloader.dataset does not fit that of train_dataloader.dataset, ['ape', ",
             "1 name is not in the other ('dog') and 1 name is missing in it ('cat')",
             'Set val_dataloader.dataset.metainfo.classes', 'preflight.class_subset=True'],
        ),
        (
            data(('polar_bear', 'ape')),
            data(('Polar bear', 'ape')),
            ["(is 'Polar bear' the same as 'polar_bear'? Then write it alike)"],
        ),
        (
            dict(type='ConcatDataset', datasets=[data(('ape',)), data(ABC)]),
            data(('ape',)),
            ["2 names are not in the other ('bee', 'cat')",
             'Give all data sets of training one list, metainfo.classes'],
        ),
        (
            data(ABC),
            data(ABC[::-1], FollowsFiles),
            ["(number 0 is 'cat' against 'ape')", 'labels of a FollowsFiles follow its files'],
        ),
    ],
)  # fmt: skip
def test_lists_that_do_not_fit(train, val, words):
    with pytest.raises(UserError) as error:
        mapped(planned(train, val))
    for word in words:
        assert word in str(error.value)
    run = planned(train, val, preflight=dict(class_names=False))
    before = lists(run)
    assert lists(mapped(run)) == before and run.notes == []


def checkpoint(folder, meta):
    torch.save(dict(state_dict=dict(w=torch.zeros(1)), meta=meta), folder / 'weights.pth')
    return str(folder / 'weights.pth')


@pytest.mark.parametrize(
    'meta', [dict(dataset_meta=dict(classes=ABC)), dict(dataset_meta=dict(CLASSES=list(ABC))),
             dict(CLASSES=ABC)]
)  # fmt: skip
@pytest.mark.parametrize('mode, more', [('test', {}), ('train', dict(resume=True))])
def test_a_run_that_goes_on_with_a_checkpoint_takes_its_list(meta, mode, more, tmp_path):
    path = checkpoint(tmp_path, meta)
    run = mapped(planned(data(ABC[::-1]), data(ABC[1:]), mode=mode, load_from=path, **more))
    assert set(lists(run).values()) == {ABC}
    assert f'it takes that of {path}' in run.notes[0]


@pytest.mark.parametrize(
    'meta', [{}, None, 3, dict(dataset_meta=None), dict(dataset_meta=dict(classes='ape')),
             dict(dataset_meta=dict(classes=[1, 2]))]
)  # fmt: skip
def test_a_checkpoint_that_does_not_say_its_classes(meta, tmp_path):
    run = mapped(planned(None, data(ABC[::-1]), mode='test', load_from=checkpoint(tmp_path, meta)))
    assert lists(run) == {'test_dataloader.dataset': ABC[::-1]} and run.notes == []


def test_a_checkpoint_of_other_classes(tmp_path):
    path = checkpoint(tmp_path, dict(dataset_meta=dict(classes=ABC)))
    val = data(('ape', 'bee', 'dog'))
    with pytest.raises(UserError) as error:
        mapped(planned(None, val, mode='test', load_from=path))
    for word in (path, "'dog'", 'preflight.class_names=False'):
        assert word in str(error.value)
    run = mapped(planned(val, val, load_from=path))
    assert len(run.notes) == 1
    assert "begins with the weights of 'cat' for 'dog'" in run.notes[0]
    assert set(lists(run).values()) == {('ape', 'bee', 'dog')}


@pytest.mark.parametrize('shuffled', [True, False])
def test_labels_of_a_checkpoint_that_mmdet_alone_trained(shuffled, tmp_path):
    names = ABC[::-1] if shuffled else ABC
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5], area=25, iscrowd=0)
    content = dict(
        images=[dict(id=1, file_name='1.png', width=9, height=9)],
        categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
        annotations=[box],
    )
    (tmp_path / 'a.json').write_text(json.dumps(content))
    path = checkpoint(tmp_path, dict(dataset_meta=dict(classes=ABC)))
    val = data(ABC, data_root=str(tmp_path))
    run = planned(None, val, mode='test', load_from=path)
    run.contents['test_dataloader.dataset'] = DatasetContent(ABC)
    check_label_order(run)
    assert len(run.notes) == shuffled
    if run.notes:
        for word in ('[cat, bee, ape]', f'{tmp_path}/a.json', path):
            assert word in run.notes[0]


def test_class_folders_are_mapped_by_name(tmp_path, monkeypatch):
    """A class that validation has no folder of does not shift those behind it."""
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        write_image_folder(tmp_path / split)
    (tmp_path / 'train/.ipynb_checkpoints').mkdir()
    folder = tmp_path / 'val' / sorted(CLASSES)[0]
    (folder / '0.png').unlink()
    folder.rmdir()

    def survey():
        loaders = {
            f'{part}_dataloader': dict(
                batch_size=1,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='mmengine.ImageFolder', data_root=part, pipeline=[]),
            )
            for part in ('train', 'val')
        }
        return survey_data(Config(loaders), ('train', 'val'))

    run = survey()
    assert run.errors == []
    assert '1 of the 10 classes of val_dataloader.dataset have no folder' in ''.join(run.notes)
    built = [DATASETS.build(found.cfg) for found in run.datasets()]
    for dataset in built:
        assert dataset.metainfo['classes'] == tuple(sorted(CLASSES))
        for item in map(dataset.get_data_info, range(len(dataset))):
            assert f'/{sorted(CLASSES)[item["gt_label"]]}/' in f'/{item["img_path"]}'
    (tmp_path / 'val/one').rename(tmp_path / 'val/unknown')
    (sentence,) = survey().errors
    assert "1 name is not in the other ('unknown')" in sentence
    assert 'Rename or remove the folders of val' in sentence


def test_training_writes_down_and_builds_what_was_mapped(place):
    """Through the whole preflight: the configuration of the run has one list."""
    path = place / 'data/annotations/instances_val2017.json'
    content = json.loads(path.read_text())
    content['categories'].reverse()
    path.write_text(json.dumps(content))
    cfg = load_config('tiny.py', {'val_dataloader.dataset.metainfo.classes': CLASSES[::-1]})
    notes = run_preflight(cfg, 'train')
    assert any('val_dataloader.dataset lists the classes in another order' in n for n in notes)
    assert tuple(cfg.val_dataloader.dataset.metainfo.classes) == CLASSES
