"""Predictions in a comparison: what is used, what is left out, what can be claimed then."""

import csv
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.fileio import dump, load

from dn_mmdet.compare import compare_folders, compare_runs
from dn_mmdet.compare.images.predictions import collect_predictions
from dn_mmdet.compare.images.read import read_detections, read_results
from dn_mmdet.compare.report.image_tables import class_tables, interval_table, render_differences
from dn_mmdet.detection import use_coco_files
from dn_mmdet.utils.errors import UserError
from tests.helpers.predicted import classifiers, detectors, make_data, predictions_of

IMAGES = 30
SEEDS = (0, 1, 2)
OPENED: dict = {}  # data sets, of all tests


@pytest.fixture(scope='module')
def gaining(tmp_path_factory):
    """DN-B finds most, BN half, each seed a little more; DN-B misses 30, which BN finds."""
    hits = {}
    for seed in SEEDS:
        hits['bn', seed] = {*range(1, 12 + seed), 30}
        hits['dnb', seed] = set(range(1, 26 + seed))
    return detectors(tmp_path_factory.mktemp('gaining'), hits, IMAGES)


@pytest.fixture(scope='module')
def one_image(tmp_path_factory):
    """DN-B finds what BN finds, and image 7 with every seed: a gain of that image alone."""
    hits = {
        (norm, seed): {1, 2, 3 + seed, *more}
        for seed in SEEDS
        for norm, more in (('bn', ()), ('dnb', (7,)))
    }
    return detectors(tmp_path_factory.mktemp('one'), hits, 8)


@pytest.fixture
def copied(gaining, tmp_path):
    """The folders again, to be damaged."""
    return [shutil.copytree(folder, tmp_path / Path(folder).name) for folder in gaining]


@pytest.fixture(scope='module')
def gain(gaining):
    return compared(gaining)


def compared(folders, resamples=200, **settings):
    return compare_folders([*map(str, folders)], predictions=True, resamples=resamples, **settings)


def test_a_gain_over_images_and_seeds(gain):
    (claim,) = gain.claims
    images = claim.images
    assert claim.verdict == 'gain' and images.seeds == SEEDS and images.count == IMAGES
    assert images.difference == pytest.approx(claim.difference.mean, abs=0.001)
    for interval in (images.both, images.images):
        assert 0 < interval.low < images.difference < interval.high
    assert (
        'with an interval over seeds and one over images and seeds that exclude zero'
        in claim.sentence
    )
    assert (
        f'95% bootstrap interval over images and seeds {images.both.low:+.3f} to '
        f'{images.both.high:+.3f}, 200 resamples of 30 images and seeds 0, 1, 2' in claim.sentence
    )


def test_a_gain_of_one_image_is_none_over_images(one_image):
    (seeds_alone,) = compare_folders(one_image).claims
    (claim,) = compared(one_image).claims
    assert seeds_alone.verdict == 'gain' and not claim.interval.contains_zero
    assert claim.verdict == 'not shown' and claim.images.both.contains_zero
    assert (
        'can be claimed because the interval over images and seeds contains zero.' in claim.sentence
    )


def test_one_seed_has_an_interval_over_images_and_no_verdict(gaining):
    (claim,) = compared([folder for folder in gaining if folder.endswith('0')]).claims
    assert claim.verdict == 'nothing' and claim.images.both is None
    assert claim.images.images.low > 0 and 'interval over images alone +' in claim.sentence


def test_tables_say_what_each_interval_covers(gain, gaining):
    comparison = gain
    header, row = interval_table(comparison)
    assert header[2] == '95% over seeds' and header[4:] == [
        '95% over images',
        '95% over images and seeds',
    ]
    images = comparison.claims[0].images
    assert row[0] == 'DN-B (16, oup) - BN' and row[5] == (
        f'{images.both.low:+.3f} to {images.both.high:+.3f}'
    )
    (found,) = csv.DictReader(render_differences(comparison).splitlines())
    assert found['verdict'] == 'gain' and found['seeds_of_predictions'] == '0 1 2'
    for name, interval in (
        ('seeds', comparison.claims[0].interval),
        ('images', images.images),
        ('images_and_seeds', images.both),
    ):
        assert [float(found[f'over_{name}_{end}']) for end in ('low', 'high', 'resamples')] == [
            interval.low,
            interval.high,
            interval.resamples,
        ]
    (without,) = csv.DictReader(render_differences(compare_folders(gaining)).splitlines())
    assert without['over_images_low'] == '' and without['over_seeds_low'] == found['over_seeds_low']


def test_classes_from_predictions_stand_where_the_log_has_none(gain, gaining):
    (table,) = class_tables(gain)
    assert table[0] == ['class', 'objects', 'BN', 'DN-B (16, oup)', 'DN-B (16, oup) - BN']
    changes = [abs(float(row[-1])) for row in table[1:]]
    assert sorted(row[0] for row in table[1:]) == ['one', 'zero'] and changes == sorted(
        changes, reverse=True
    )
    assert all(row[1] == '15' and '±' in row[2] for row in table[1:])
    assert class_tables(compare_folders(gaining)) == []


def break_file(kind, file):
    predictions = load(file)
    if kind == 'cut off':
        file.write_bytes(file.read_bytes()[:-50])
        return
    if kind == 'other images':
        predictions[3]['img_path'] = 'elsewhere/44.png'
    if kind == 'unknown image':
        predictions[3]['img_id'] = 999
    if kind == 'twice':
        predictions[3] = predictions[4]
    if kind == 'fewer images':
        del predictions[3:]
    if kind == 'other classes':
        predictions[3]['pred_instances']['labels'] += 7
    if kind == 'no boxes':
        del predictions[3]['pred_instances']['scores']
    if kind == 'other length':
        predictions[3]['pred_instances']['scores'] = torch.rand(4)
    if kind == 'classifier':
        predictions = [dict(img_path='a.png', gt_label=0, pred_score=torch.rand(10))]
    if kind == 'another checkpoint':
        predictions = predictions_of([True] * IMAGES, '')
    dump(predictions, file)


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('cut off', 'truncated, or was not written'),
        ('other images', r'for other images: its image 4 \(44.png\)'),
        ('unknown image', 'for other images: its image 999'),
        ('twice', 'or occurs twice in the file'),
        ('fewer images', 'for other images: 27 of 30 are missing, for example image 4'),
        ('other classes', 'for other classes: image 4 has class number 7, the ground truth has 2'),
        ('no boxes', 'holds no detections: entry 3'),
        ('other length', 'holds no detections: entry 3'),
        ('classifier', 'holds no detections: entry 0'),
        ('another checkpoint', r'gives coco/bbox_mAP 1, but the log of .*dnb_seed2 ends with 0\.'),
    ],
)
def test_a_file_that_is_not_the_runs_own_is_refused(gain, gaining, tmp_path, kind, message):
    run, opened = gain.group('DN-B (16, oup)').runs[2], OPENED
    file = Path(shutil.copy(Path(run.work_dir, 'predictions.pkl'), tmp_path))
    assert read_results(run, file, gain.metric, opened).images == tuple(range(1, IMAGES + 1))
    break_file(kind, file)
    with pytest.raises(UserError, match=message) as error:
        read_results(run, file, gain.metric, opened)
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
@pytest.mark.parametrize('name_of', [lambda i: i, lambda i: f'id {i:02}'], ids=['numbers', 'texts'])
def test_ground_truth_as_labeling_tools_write_it(encoding, name_of, tmp_path):
    """Ids from 0 or texts, categories in another order than the classes, a byte order mark."""
    root = make_data(tmp_path / 'data', 6)
    path = Path(root, 'annotations/instances_val2017.json')
    content = json.loads(path.read_text())
    content['categories'] = [dict(id=name_of(0), name='one'), dict(id=name_of(7), name='zero')]
    for image in content['images']:
        image['id'] = name_of(image['id'])
    for box in content['annotations']:
        box['id'], box['image_id'] = name_of(box['id'] - 1), name_of(box['image_id'])
        box['category_id'] = name_of({1: 7, 2: 0}[box['category_id']])
    path.write_text(json.dumps(content), encoding=encoding)
    predictions = predictions_of([True] * 6, root)
    for item in predictions:
        item['img_id'] = name_of(item['img_id'])
    use_coco_files()
    dataset = CocoDataset(
        ann_file=str(path), data_prefix=dict(img=root), metainfo=dict(classes=('zero', 'one'))
    )
    metric = dict(type='CocoMetric', ann_file=str(path))
    results = read_detections(Path('file'), predictions, dataset, metric, 'coco/bbox_mAP')
    assert results.value() == 1
    assert results.images == tuple(name_of(i) for i in range(1, 7))
    truth = [info['bbox_label'] for i in range(6) for info in dataset.get_data_info(i)['instances']]
    assert truth == [item['pred_instances']['labels'].item() for item in predictions]


def test_without_a_file_of_ground_truth_it_is_the_data_sets_own(tmp_path):
    """As CocoMetric has it for XML data."""
    root = make_data(tmp_path / 'data', 6)
    path = f'{root}/annotations/instances_val2017.json'
    predictions = predictions_of([True, False, True, True, False, True], root)
    dataset = CocoDataset(
        ann_file=path, data_prefix=dict(img=root), metainfo=dict(classes=('zero', 'one'))
    )
    by_file, by_data = (
        read_detections(
            Path('file'),
            predictions,
            dataset,
            dict(type='CocoMetric', ann_file=ann_file),
            'coco/bbox_mAP',
        )
        for ann_file in (path, None)
    )
    assert 0 < by_file.value() < 1
    assert by_data.value() == by_file.value() and by_data.by_class() == by_file.by_class()
    assert by_data.images == by_file.images and by_data.counts() == by_file.counts()


def test_a_file_that_cannot_be_used_is_left_out_and_its_run_is_not(copied):
    file = next(folder for folder in copied if folder.name == 'dnb_seed2') / 'predictions.pkl'
    file.write_bytes(pickle.dumps([dict(img_id=eval)]))
    comparison = compared(copied, 20)
    (reason,) = comparison.predictions.left_out
    assert reason.startswith(f'{file} is refused and none of it was run')
    (claim,) = comparison.claims
    assert claim.images.seeds == (0, 1) and '3 paired seeds' in claim.sentence


def test_runs_without_files(copied):
    for folder in copied:
        (folder / 'predictions.pkl').unlink()
    copied = copied[:2]
    comparison = compared(copied)
    assert comparison.predictions.left_out == () and comparison.claims[0].images is None
    # A pickle of another name is found; the newest counts.
    dump([dict(img_id=1)], copied[0] / 'old.pkl')
    assert 'old.pkl holds no detections' in compared(copied).predictions.left_out[0]


def test_data_that_is_gone_is_told(copied, tmp_path, capsys):
    for folder in copied:
        for file in folder.rglob('config.py'):
            file.write_text(file.read_text().replace('/data/', '/gone/'))
    reasons = compared(copied[:2]).predictions.left_out
    assert len(reasons) == 2 and all('cannot be opened here' in reason for reason in reasons)
    # The runs themselves are compared.
    compare_runs(copied[:2], tmp_path / 'out')
    told = capsys.readouterr().out
    assert all(f'predictions not used: {reason}' in told for reason in reasons)
    assert 'left out' not in told


def test_unfinished_runs_have_no_comparable_predictions(gaining, copied):
    for folder in copied:
        for file in folder.rglob('scalars.json'):
            file.write_text(''.join(file.read_text().splitlines(keepends=True)[:-1]))
    comparison = compared(copied)
    assert comparison.step == 2 and comparison.claims[0].images is None
    assert 'Not all runs are finished' in comparison.predictions.left_out[0]


def test_metrics_that_predictions_do_not_give(gaining):
    comparison = compare_folders(gaining, 'coco/bbox_mAP')
    groups = comparison.groups, comparison.compared
    assert collect_predictions(*groups, 'voc/mAP').results == {}
    (told,) = collect_predictions(*groups, 'voc/mAP', test=True).left_out
    assert told.startswith('voc/mAP cannot be computed from predictions (only')


@pytest.fixture(scope='module')
def classified(tmp_path_factory):
    """Ten images, five of each class; DN-B takes image 0 and 9 for the other, BN 1 to 4."""
    labels = [0] * 5 + [1] * 5
    found = {}
    for seed in SEEDS:
        bn, dnb = np.array(labels), np.array(labels)
        bn[1 : 5 - seed % 2] = 1
        dnb[9] = 0
        dnb[0] = seed != 2
        found['bn', seed], found['dnb', seed] = bn.tolist(), dnb.tolist()
    return classifiers(tmp_path_factory.mktemp('classified'), found, labels)


def test_accuracy_by_image_and_class(classified):
    comparison = compared(classified, 2000)
    (claim,) = comparison.claims
    assert comparison.metric == 'accuracy/top1' and claim.images.count == 10
    # BN is right on 6, 7, 6 of ten images, DN-B on 8, 8, 9.
    assert claim.images.difference == pytest.approx(100 * (0.2 + 0.1 + 0.3) / 3)
    assert claim.verdict == 'not shown' and claim.images.both.contains_zero
    (table,) = class_tables(comparison)
    # Class 'one' is the first folder: BN has 1, 2, 1 of 5, DN-B 4, 4, 5; of 'zero' 5 and 4.
    assert table[0][:2] == ['class', 'images']
    assert [row[0] for row in table[1:]] == ['one', 'zero']
    assert table[1][1:] == ['5', '26.67 ± 11.55', '86.67 ± 11.55', '+60.00']
    assert table[2][1:] == ['5', '100.00 ± 0.00', '80.00 ± 0.00', '-20.00']


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('other images', 'for other images than the val data: .*png is only in one of them'),
        ('other classes', 'for other classes: an image has no pred_score for each of the 2'),
        ('other labels', 'its gt_label are not those of the val data'),
    ],
)
def test_a_classifiers_file_of_other_data_is_left_out(classified, tmp_path, kind, message):
    run = compare_folders(classified).groups[1].runs[2]
    file = Path(shutil.copy(Path(run.work_dir, 'predictions.pkl'), tmp_path))
    predictions = load(file)
    for item in predictions[2:4]:
        if kind == 'other images':
            item['img_path'] = item['img_path'].replace('02.png', '77.png')
        if kind == 'other classes':
            item['pred_score'] = torch.rand(3)
        if kind == 'other labels':
            item['gt_label'] = 1
    dump(predictions, file)
    with pytest.raises(UserError, match=message):
        read_results(run, file, 'accuracy/top1', OPENED)


def test_data_are_opened_without_running_the_configuration(copied, tmp_path):
    for file in copied[0].rglob('config.py'):
        text = file.read_text()
        assert "type='CocoMetric'" in text
        file.write_text(
            text.replace(
                "type='CocoMetric'", f"type='CocoMetric', f=open({str(tmp_path / 'made')!r}, 'w')"
            )
        )
    run = compare_folders(map(str, copied[:2])).group('BN').first
    with pytest.raises(
        UserError, match=r'config\.py: val_evaluator\.f is not a literal but open\('
    ):
        read_results(run, Path(run.work_dir, 'predictions.pkl'), 'coco/bbox_mAP')
    assert not (tmp_path / 'made').exists()
