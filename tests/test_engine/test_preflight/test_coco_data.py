"""COCO data sets and metrics of a configuration: what is refused, noted and counted."""

import json
from copy import deepcopy

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from dn_mmdet.detection import CocoFile
from dn_mmdet.engine.preflight import survey_data
from dn_mmdet.engine.preflight.coco import check_coco
from dn_mmdet.engine.preflight.coco_metrics import check_coco_metrics
from dn_mmdet.engine.preflight.data import check_datasets
from dn_mmdet.engine.preflight.planned import PlannedDataset, PlannedRun
from dn_mmdet.utils.python39 import zip_strict

CLASSES = ['cat', 'dog']
BOX = dict(bbox=[8, 8, 20, 20], area=400, iscrowd=0)


def coco(images=4, start=1):
    """Images of which each has a cat and a dog."""
    ids = range(start, start + images)
    return dict(
        images=[dict(id=i, file_name=f'{i}.png', width=64, height=48) for i in ids],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        annotations=[
            dict(BOX, id=2 * i + label, image_id=i, category_id=label)
            for i in ids
            for label in (1, 2)
        ],
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'images').mkdir()
    for i in range(1, 9):
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / 'images' / f'{i}.png')
    return tmp_path


PACK = dict(type='PackDetInputs')


def dataset(name='train', **more):
    return dict(
        type='CocoDataset',
        ann_file=f'{name}.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=CLASSES),
        pipeline=[PACK],
        **{'test_mode': name != 'train', **more},
    )


def surveyed(train=None, val=None, metric=None, **more):
    """Check the given parts, which are files, or configurations of data sets."""
    parts = {'train': train, 'val': val}
    cfg = Config(dict(default_scope='mmdet', **more))
    for part, given in parts.items():
        if given is None:
            continue
        if 'images' in given:
            with open(f'{part}.json', 'w') as file:
                json.dump(given, file)
            given = dataset(part)
        cfg[f'{part}_dataloader'] = dict(
            batch_size=1, num_workers=0, dataset=given, sampler=dict(type='DefaultSampler')
        )
    if val is not None:
        cfg.val_evaluator = metric or dict(type='CocoMetric', ann_file='val.json')
    run = PlannedRun(
        cfg, 'train', survey=True, parts=[part for part, given in parts.items() if given]
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        for check in (check_datasets, check_coco_metrics):
            with run.going_on():
                check(run)
    return run


def change(content, part, index, **values):
    content = deepcopy(content)
    content[part][index].update(values)
    return content


def test_good_data(folder):
    run = surveyed(coco(), coco(3))
    assert not run.errors and not run.notes
    for part, images in (('train', 4), ('val', 3)):
        content = run.contents[f'{part}_dataloader.dataset']
        assert content.classes == CLASSES and content.images == images
        assert content.boxes == 2 * images and content.used == {'cat': images, 'dog': images}


def crowded(content):
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1
    return content


def without_boxes(content):
    return content | dict(annotations=[])


@pytest.mark.parametrize('part', ['train', 'val'])
@pytest.mark.parametrize(
    'spoil, words',
    [
        (without_boxes, ['lists 4 images and no annotation of the classes']),
        (crowded, ['none of the 8 boxes', '8 crowds (first id 3)', 'iscrowd is 1']),
        (
            lambda c: change(c, 'annotations', 0, bbox=[1, 2, float('nan'), 4]),
            ['the bbox of 1 of 8 annotations', '[1, 2, nan, 4]', 'entry 0, id 3'],
        ),
        (
            lambda c: change(c, 'annotations', 0, image_id='1'),
            ['the image_id of 1 annotations', "'1' (text) against 1 (integer)"],
        ),
        (lambda c: change(c, 'images', 0, width='64'), ["the first is '64'"]),
        (
            lambda c: change(c, 'categories', 1, name='cat'),
            ["1 names occur more than once in 'categories': cat", 'the ids 1, 2'],
        ),
        (lambda c: change(c, 'categories', 1, name='Dog '), ["Is 'dog' meant to be 'Dog '?"]),
        (
            lambda c: c | dict(categories=[*c['categories'], dict(id=3, name='tree')]),
            ['1 of the file is not in the list (tree)', 'preflight.class_subset=True'],
        ),
    ],
)
def test_what_is_refused_in_any_part(spoil, words, part, folder):
    run = surveyed(**{part: spoil(coco())})
    assert run.errors
    for word in words:
        assert word in run.errors[0]
    assert f'{part}.json' in run.errors[0] or part in run.errors[0]


def plus(name):
    return lambda c: c | dict(categories=[*c['categories'], dict(id=3, name=name)])


@pytest.mark.parametrize(
    'spoil, list_of_val, cure',
    [
        (plus('tree'), CLASSES, "has ('cat', 'dog'); to leave these out on purpose, set"),
        (lambda c: change(c, 'categories', 1, name='dogs'), CLASSES, "has ('cat', 'dog'); to"),
        (lambda c: change(c, 'categories', 1, name='Dog'), CLASSES, "has ('cat', 'dog')."),
        (
            lambda c: c,
            ['Cat', 'Dog'],
            'Set val_dataloader.dataset.metainfo.classes and num_classes',
        ),
    ],
)
def test_the_cure_for_a_val_file_is_no_list_of_its_own(spoil, list_of_val, cure, folder):
    (folder / 'val.json').write_text(json.dumps(spoil(coco())))
    val = dataset('val') | dict(metainfo=dict(classes=list_of_val))
    assert cure in surveyed(coco(), val).errors[0]


@pytest.mark.parametrize('part', ['train', 'val'])
def test_images_that_several_entries_name(part, folder):
    content = change(coco(2), 'images', 1, file_name='1.png')
    run = surveyed(**{part: content})
    assert not run.errors and 'names 1 image files more than once' in ''.join(run.notes)
    del content['annotations'][-1]
    assert 'so each sample of them lacks boxes' in surveyed(**{part: content}).errors[0]


def test_boxes_that_are_given_twice(folder):
    content = coco()
    content['annotations'].append(dict(content['annotations'][2], id=90))
    for part in ('train', 'val'):
        assert '1 of 9 boxes' in ''.join(surveyed(**{part: content}).notes)


def test_a_list_of_coco_that_nobody_wrote(folder):
    surveyed(coco())
    given = dataset()
    del given['metainfo']
    (sentence,) = surveyed(given).errors
    assert '78 are missing' in sentence and 'is taken where metainfo names no classes' in sentence


def test_a_val_file_may_lack_a_class_and_a_train_file_may_not(folder):
    lacking = coco()
    lacking['categories'].pop()
    lacking['annotations'] = [a for a in lacking['annotations'] if a['category_id'] == 1]
    run = surveyed(val=lacking)
    assert not run.errors
    assert run.notes == ['val.json lacks 1 of the 2 classes of val_dataloader.dataset (dog).']
    assert '1 is missing in the file (dog)' in surveyed(lacking).errors[0]
    none = change(change(lacking, 'categories', 0, name='tree'), 'annotations', 0, id=77)
    assert '2 are missing in the file' in surveyed(val=none, preflight=SUBSET).errors[0]


SUBSET = dict(class_subset=True)


def test_the_order_of_categories_is_free(folder):
    content = coco()
    content['categories'].reverse()
    run = surveyed(content, content)
    assert not run.errors and not run.notes


def test_the_order_matters_where_labels_follow_the_file(folder, monkeypatch):
    from mmdet.datasets import CocoDataset

    class Other(CocoDataset):
        COCOAPI = type('Api', (CocoDataset.COCOAPI,), {})

    monkeypatch.setitem(DATASETS.module_dict, 'Other', Other)
    content = coco()
    content['categories'].reverse()
    surveyed(content)
    (sentence,) = surveyed(dataset() | dict(type='Other')).errors
    assert "position 0 ('cat' in the list, 'dog' in the file): labels follow the file" in sentence


@pytest.mark.parametrize('name', ['animals', 'cat'])
def test_the_root_of_roboflow_is_left_out(name, folder):
    content = coco()
    for category in content['categories']:
        category['supercategory'] = name
    content['categories'].insert(0, dict(id=0, name=name, supercategory='none'))
    run = surveyed(content)
    assert not run.errors and len(run.notes) == 1
    assert f"the category '{name}' (id 0) of train.json is left out" in run.notes[0]
    assert run.contents['train_dataloader.dataset'].used == {'cat': 4, 'dog': 4}
    assert CocoFile('train.json').get_cat_ids(CLASSES) == [1, 2]


def test_classes_that_lose_all_boxes_or_have_none(folder):
    lost = coco()
    for annotation in lost['annotations'][1::2]:
        annotation['area'] = 0
    (sentence,) = surveyed(lost).errors
    assert "none of the 4 boxes of class 'dog'" in sentence and 'as its area' in sentence
    lost['annotations'] = lost['annotations'][::2]
    run = surveyed(lost)
    assert not run.errors and '1 of the 2 classes have no boxes in train.json (dog)' in run.notes[0]


def test_a_part_lost_is_noted(folder):
    run = surveyed(change(coco(), 'annotations', 0, bbox=[8, 8, 0, 20], id=900))
    assert not run.errors and run.notes == [
        '1 of 8 boxes in train.json are not used: 1 of zero size (first id 900).'
    ]


@pytest.mark.parametrize(
    'options, kept, words',
    [
        (dict(), 4, ''),
        (dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)), 3, ''),
        (dict(filter_cfg=dict(min_size=49)), 0, 'none of the 4 images of train.json are left'),
        (dict(filter_cfg=dict(min_size='32')), None, 'with a number of pixels'),
        (dict(filter_cfg=32), None, 'filter_cfg is 32: write dict('),
    ],
)
def test_images_after_the_filter(options, kept, words, folder):
    content = coco()
    content['annotations'] = content['annotations'][2:]
    surveyed(content)
    run = surveyed(dataset(**options))
    assert bool(run.errors) == bool(words) and words in ''.join(run.errors)
    if kept is not None:
        assert run.contents['train_dataloader.dataset'].images == kept
    if kept:
        with DefaultScope.overwrite_default_scope('mmdet'):
            assert len(DATASETS.build(dataset(**options) | dict(pipeline=[]))) == kept


def test_a_set_without_boxes_among_others(folder):
    surveyed(without_boxes(coco()), coco())
    empty, full = dataset('train'), dataset('val', test_mode=False)

    def joined(*parts):
        return surveyed(dict(type='ConcatDataset', datasets=list(parts)))

    run = joined(empty, full)
    assert not run.errors and 'train.json lists 4 images and no annotation' in run.notes[0]
    assert 'none of the 2 data sets of train_dataloader has a box' in joined(empty, empty).errors[0]


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(data_prefix='images'), "data_prefix is 'images': write data_prefix=dict(img=FOLDER)"),
        (dict(data_prefix=None), 'data_prefix is None: write data_prefix=dict(img=FOLDER)'),
        (dict(data_prefix=dict(img_path='images')), 'write data_prefix=dict(img=FOLDER)'),
        (dict(data_prefix=dict(img=None)), 'write data_prefix=dict(img=FOLDER)'),
        (dict(data_root=3), 'data_root is 3: write one path'),
        (dict(ann_file=['train.json']), "ann_file is ['train.json']: write one path"),
        (dict(metainfo='cat'), "metainfo is 'cat': write metainfo=dict(classes=[...])"),
        (dict(metainfo=dict(classes=[])), 'classes is []: write the names'),
        (dict(metainfo=dict(classes=['cat', 2])), 'classes has 2, which is no text'),
        (dict(metainfo=dict(classes=['cat', 'dog', 'cat'])), 'more than once (cat)'),
        (dict(metainfo=dict(CLASSES=['cat', 'dog'])), 'has CLASSES, which is not read'),
        (dict(metainfo=dict(classes='cat')), "classes=('cat', )"),
    ],
)
def test_configurations_of_data_sets(options, words, folder):
    surveyed(coco())
    assert words in surveyed(dataset() | options).errors[0]


def test_a_survey_lists_all(folder):
    content = change(coco(), 'annotations', 0, area=None)
    content['categories'][1]['name'] = 'tree'
    (folder / 'images' / '2.png').unlink()
    errors = surveyed(content).errors
    assert len(errors) == 3
    for sentence, words in zip_strict(errors, ('the area of 1', 'tree', '2.png')):
        assert words in sentence


def test_a_run_stops_at_the_first(folder):
    surveyed(change(coco(), 'annotations', 0, area=None))
    cfg = Config(dict(train_dataloader=dict(dataset=dataset())))
    with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(Exception, match='the area'):
        check_coco(PlannedDataset(PlannedRun(cfg, 'train'), 'train_dataloader.dataset', dataset()))


def metric(**more):
    return dict(type='CocoMetric', ann_file='val.json', **more)


def test_an_evaluation_of_other_images(folder):
    surveyed(coco(), coco())
    (folder / 'other.json').write_text(json.dumps(coco(4, start=5)))
    renamed = change(coco(), 'images', 0, file_name='5.png')
    (folder / 'renamed.json').write_text(json.dumps(renamed))
    (folder / 'more.json').write_text(json.dumps(coco(8)))
    for name, words in (
        ('other', '4 of them are not in it (1.png'),
        ('renamed', "1 of them have the id of another image there (the first is 1, '1.png'"),
        ('more', '4 of its images that have boxes are not in val.json'),
        ('nowhere', 'the annotation file nowhere.json does not exist'),
    ):
        run = surveyed(val=dataset('val'), metric=metric() | dict(ann_file=f'{name}.json'))
        assert len(run.errors) == 1 and words in run.errors[0], name


def test_metrics_of_joined_data_sets(folder):
    surveyed(coco(), coco(4, start=5))
    (folder / 'both.json').write_text(json.dumps(coco(8)))
    (folder / 'same.json').write_text(json.dumps(coco(4, start=5)))
    joined = dict(type='ConcatDataset', datasets=[dataset('train', test_mode=True), dataset('val')])
    both = metric() | dict(ann_file='both.json')
    run = surveyed(val=joined, metric=both)
    assert not run.errors and not run.notes
    (sentence,) = surveyed(val=joined, metric=metric()).errors
    assert 'the images to evaluate come from train.json' in sentence
    twice = joined | dict(datasets=[dataset('same', test_mode=True), dataset('val')])
    (sentence,) = surveyed(val=twice, metric=metric()).errors
    assert 'image ids occur more than once (5, 6, 7 and 1 more)' in sentence
    apart = dict(
        type='MultiDatasetsEvaluator',
        metrics=[metric() | dict(ann_file='same.json'), metric()],
        dataset_prefixes=['a', 'b'],
    )
    run = surveyed(val=twice, metric=apart)
    assert not run.errors and not run.notes


def test_true_boxes_of_the_samples(folder):
    surveyed(val=coco())
    alone = dict(type='CocoMetric')
    (sentence,) = surveyed(val=dataset('val'), metric=alone).errors
    assert "add 'instances' to meta_keys of PackDetInputs" in sentence
    packed = dataset('val') | dict(pipeline=[PACK | dict(meta_keys=['img_id', 'instances'])])
    run = surveyed(val=packed, metric=alone)
    assert not run.errors and run.contents['val_dataloader.dataset'].used == {'cat': 4, 'dog': 4}


def test_masks(folder):
    content = coco()
    words = surveyed(val=content, metric=metric(metric=['bbox', 'segm'])).errors[0]
    assert '8 of the 8 annotations in val.json have no segmentation (the first has id 3)' in words
    for annotation in content['annotations']:
        annotation['segmentation'] = [[8, 8, 28, 8, 28, 28]]
    assert not surveyed(val=content, metric=metric(metric='segm')).errors


def test_images_that_an_evaluation_leaves_out(folder):
    surveyed(val=coco())
    (note,) = surveyed(val=dataset('val', indices=2)).notes
    assert 'val_dataloader.dataset.indices leaves out images of val.json' in note
    content = coco()
    content['annotations'] = content['annotations'][2:]
    surveyed(val=content)
    filtered = dataset('val', test_mode=False, filter_cfg=dict(filter_empty_gt=True))
    (note,) = surveyed(val=filtered).notes
    assert '1 of the 4 images of val.json are not evaluated' in note and 'test_mode=True' in note


def test_a_survey_of_a_whole_configuration(folder):
    surveyed(coco())
    cfg = Config(dict(train_dataloader=dict(batch_size=1, num_workers=0, dataset=dataset())))
    cfg.default_scope = 'mmdet'
    assert survey_data(cfg, ['train']).contents['train_dataloader.dataset'].boxes == 8
