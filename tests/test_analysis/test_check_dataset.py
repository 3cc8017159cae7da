"""The tool that looks at data alone: what it lists, counts and draws."""

import json
import runpy
import sys

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from dn_mmdet.analysis import check_dataset as module
from dn_mmdet.analysis.check_dataset import check_dataset
from dn_mmdet.analysis.loaded_dataset import LoadedDataset
from dn_mmdet.engine.preflight import PlannedRun
from dn_mmdet.paths import tools_root
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import CLASSES, snapshot, write_coco, write_config, write_image_folder

ANNOTATIONS = 'data/annotations/instances_{}2017.json'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, with a small data set and ``tiny.py``."""
    monkeypatch.chdir(tmp_path)
    write_coco(tmp_path / 'data')
    write_config(tmp_path)
    return tmp_path


def edit(file, change):
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def of_dataset(**cfg):
    """The one data set of a configuration, loaded."""
    run = PlannedRun(Config(dict(train_dataloader=dict(dataset=cfg))), 'train')
    with DefaultScope.overwrite_default_scope('mmdet'):
        (data,) = run.datasets()
        return LoadedDataset(data)


def of_coco(root, **cfg):
    return of_dataset(
        type='CocoDataset',
        data_root=str(root),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=CLASSES),
        **cfg,
    )


def test_good_data_are_counted_and_drawn(place, capsys):
    check_dataset('tiny.py', num=3)
    said = capsys.readouterr().out
    # What is read twice is told once.
    assert '| train     | 8      | 8            | 10    | 10           | 0       |' in said
    assert '| val, test | 4      | 4            | 4     | 4            | 0       |' in said
    assert '| seven | 1     | 0         |' in said
    assert 'Mistakes' not in said and said.endswith('No mistakes were found.\n')
    picture = 'work_dirs/tiny/check_dataset.png'
    assert f'Contact sheet: {picture}' in said
    assert Image.open(place / picture).size[0] > 800


def test_all_mistakes_of_all_parts_are_listed_before_it_ends(place, capsys):
    (place / 'data/val2017/002.jpg').unlink()
    edit(place / ANNOTATIONS.format('train'), lambda d: d['annotations'][2].update(bbox='far'))
    options = {'model.bbox_head.num_classes': 3}
    with pytest.raises(UserError, match=r'[3-9] mistakes were found in the data of tiny\.py'):
        check_dataset('tiny.py', num=2, cfg_options=options)
    said = capsys.readouterr().out.partition('Mistakes:')[2]
    for words in ('instances_train2017.json', '002.jpg', 'model.bbox_head.num_classes is 3'):
        assert words in said


def test_mistakes_of_what_reads_the_data_are_listed_once(place, capsys):
    options = {
        'train_dataloader.batch_size': 0,
        'val_dataloader.dataset.annfile': 'a.json',
        'default_hooks.timer.every': 3,  # which no data set has to do with
    }
    with pytest.raises(UserError, match='2 mistakes were found'):
        check_dataset('tiny.py', num=0, parts=['train', 'val'], cfg_options=options)
    said = capsys.readouterr().out.partition('Mistakes:')[2]
    assert said.count('train_dataloader.batch_size is 0') == 1
    assert "val_dataloader.dataset has the argument 'annfile'" in said


def test_what_is_broken_is_left_out_of_the_sheet(place, capsys):
    (place / ANNOTATIONS.format('train')).write_text('{"images": [')
    (place / 'data/val2017/001.jpg').write_bytes(b'no image')
    with pytest.raises(UserError, match='found in the data'):
        check_dataset('tiny.py', out='sheets')
    said = capsys.readouterr().out
    assert 'the data set train cannot be loaded (' in said
    assert 'so it is not counted or drawn' in said.partition('Mistakes:')[0]
    assert [path.name for path in place.glob('sheets/*')] == ['val_test.png']


def test_an_exception_that_no_check_foresees_is_a_mistake(place, capsys, monkeypatch):
    def load(data):
        raise ZeroDivisionError('of a class of data sets')

    monkeypatch.setattr(module, 'LoadedDataset', load)
    with pytest.raises(UserError, match='2 mistakes|1 mistake'):
        check_dataset('tiny.py')
    said = capsys.readouterr().out.partition('Mistakes:')[2]
    assert 'train cannot be loaded (ZeroDivisionError: of a class of data sets)' in said
    assert not (place / 'work_dirs').exists()


def test_class_folders_without_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image_folder(tmp_path / 'crops', number=2)
    (tmp_path / 'data_alone.py').write_text(
        "train_dataloader = dict(batch_size=4, sampler=dict(type='DefaultSampler'),"
        " dataset=dict(type='ImageFolder', data_root='crops'))\n"
    )
    check_dataset('data_alone.py', out='sheet.svg', num=5)
    said = capsys.readouterr().out
    assert '| train    | 20     | 20           |       |              |         |' in said
    assert '| five  | 2     |' in said
    assert (tmp_path / 'sheet.svg').stat().st_size > 10_000


@pytest.mark.parametrize(
    'arguments, words',
    [
        (dict(out='sheet.gif'), r'--out sheet\.gif is neither a folder nor'),
        (dict(out='tiny.py'), r'--out tiny\.py is neither'),
        (dict(num=-1), '--num -1'),
        (dict(seed=-1), '--seed -1'),
        (dict(parts=['val'], cfg_options={'val_dataloader': None}), 'has no val_dataloader'),
    ],
)
def test_arguments_that_do_not_fit(arguments, words, place):
    before = snapshot(place)
    with pytest.raises(UserError, match=words):
        check_dataset('tiny.py', **arguments)
    assert snapshot(place) == before


def test_no_images_writes_nothing(place, capsys):
    before = snapshot(place)
    check_dataset('tiny.py', num=0, parts=['val'])
    said = capsys.readouterr().out
    assert '| val      | 4' in said and 'train' not in said and 'Contact sheet' not in said
    assert snapshot(place) == before


def test_filter_crowds_and_small_boxes_are_counted(place):
    def spoil(document):
        document['annotations'][0]['iscrowd'] = 1
        document['annotations'][1]['bbox'][2:] = 0, 5
        del document['annotations'][2]

    edit(place / ANNOTATIONS.format('train'), spoil)
    usage = of_coco('data', filter_cfg=dict(filter_empty_gt=True, min_size=0), indices=5).usage
    assert (usage.images_given, usage.images, usage.ignored) == (8, 5, 1)
    assert usage.detection and usage.classes == CLASSES
    # The first is a crowd, the second has no width, the third is gone with its image.
    assert usage.labels == {3: 1, 4: 1, 5: 1}


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_boxes_lie_on_the_image_as_training_sees_it(orientation, place):
    turned = {
        1: None,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_90,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    shown = Image.new('RGB', (60, 40))
    shown.paste((240, 30, 30), (10, 5, 30, 15))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = shown if turned is None else shown.transpose(turned)
    stored.save(place / 'data/train2017/000.jpg', exif=exif, quality=100, subsampling=0)

    def describe(document):
        document['images'][0].update(width=60, height=40)
        document['annotations'][0].update(bbox=[10, 5, 20, 10], area=200)

    edit(place / ANNOTATIONS.format('train'), describe)
    image = of_coco('data').image(0)
    (box,) = image.boxes
    assert (list(box.corners), box.name, box.ignored) == ([10, 5, 30, 15], 'zero', False)
    assert image.title == '000.jpg: 1 box'
    red = image.pixels.astype(int)[..., 0] > 120
    expected = np.zeros((40, 60), dtype=bool)
    expected[5:15, 10:30] = True
    assert (red == expected).all()
    assert max(image.shrunk().pixels.shape) == 420
    assert np.allclose(image.shrunk().boxes[0].corners, [70, 35, 210, 105])


def test_the_loader_of_the_pipeline_is_taken(place):
    gray = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackDetInputs')]
    pixels = of_coco('data', pipeline=gray).image(0).pixels
    assert pixels.shape == (64, 64, 3) and (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize('raised, status', [(None, 0), (UserError, 1), (KeyboardInterrupt, 130)])
def test_status_of_the_tool(raised, status, place, monkeypatch, capsys):
    def survey(cfg, parts):
        if raised is KeyboardInterrupt:
            raise KeyboardInterrupt
        run = PlannedRun(cfg, 'train', survey=True, parts=parts)
        if raised:
            run.refuse('it is wrong.')
        return run

    monkeypatch.setattr(module, 'survey_data', survey)
    tool = str(tools_root() / 'analysis_tools/check_dataset.py')
    monkeypatch.setattr(sys, 'argv', [tool, 'tiny.py', '--num', '0', '--parts', 'train'])
    if status:
        with pytest.raises(SystemExit) as left:
            runpy.run_path(tool, run_name='__main__')
        assert left.value.code == status
    else:
        runpy.run_path(tool, run_name='__main__')
    said = capsys.readouterr()
    assert (
        said.err
        == {
            0: '',
            1: 'error: 1 mistake was found in the data of tiny.py, see above.\n',
            130: 'interrupted\n',
        }[status]
    )
    assert ('1. it is wrong.' in said.out) == (status == 1)
