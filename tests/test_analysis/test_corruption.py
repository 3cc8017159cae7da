"""Corrupted images: the same for all models, and the figures of the benchmark."""

import json
import runpy
import sys
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from dn_mmdet.analysis import corruption
from dn_mmdet.analysis.corruption import (
    KINDS,
    Corrupted,
    SeededCorrupt,
    check_corruptions,
    measure_corrupted,
)
from dn_mmdet.analysis.static_affine import static_affine
from dn_mmdet.engine import load_config
from dn_mmdet.paths import configs_root, tools_root
from dn_mmdet.utils.errors import UserError
from tests.helpers.checkpoints import save
from tests.helpers.tiny import write_coco, write_config

CONFIG = """
_base_ = '{configs}/digits/mbv2_ablation_digits.py'
model = dict(num_classes=2, backbone=dict(norm_cfg=dict(_delete_=True, type='BN')))
loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(
    **loader, dataset=dict(data_root='{root}/images', data_prefix=dict(img_path='')))
test_dataloader = val_dataloader
"""


@pytest.fixture
def noisy(monkeypatch):
    """Noise of numpy's in the place of the package, and how often it was asked for."""
    asked = []

    def corrupt(image, corruption_name, severity):
        asked.append((corruption_name, severity))
        return np.uint8(np.clip(image + severity * np.random.normal(size=image.shape), 0, 255))

    monkeypatch.setitem(sys.modules, 'imagecorruptions', SimpleNamespace(corrupt=corrupt))
    monkeypatch.setattr(corruption, 'find_spec', lambda name: name)
    return asked


def corrupted(image, *settings):
    return SeededCorrupt(*settings).transform(dict(img=image.copy()))['img']


def test_an_image_has_the_same_noise_for_all_and_no_other_image_has_it(noisy, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    first = corrupted(image, 'fog', 3)
    assert (np.random.get_state()[1] == state).all()  # of a run's own draws nothing changes
    assert (corrupted(image, 'fog', 3) == first).all()
    for other in (corrupted(image, 'fog', 5), corrupted(image, 'snow', 3)):
        assert (other != first).any()
    moved = corrupted(np.roll(image, 1, 0), 'fog', 3)
    assert (moved.astype(int) - np.roll(image, 1, 0) != first.astype(int) - image).any()
    # What was made once is read.
    folder = str(tmp_path / 'kept')
    before = len(noisy)
    for _ in range(2):
        assert (corrupted(image, 'fog', 3, folder) == first).all()
    assert len(noisy) == before + 1 and len(list((tmp_path / 'kept').iterdir())) == 1


def test_every_kind_is_one_that_can_be_repeated():
    pytest.importorskip(
        'imagecorruptions',
        reason='imagecorruptions is not installed: pip install imagecorruptions-imaug',
    )
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for kind in KINDS:
        first = corrupted(image, kind, 3)
        assert first.shape == image.shape and first.dtype == np.uint8 and (first != image).any()
        assert (corrupted(image, kind, 3) == first).all(), kind


def test_the_means_are_those_of_the_benchmark():
    found = Corrupted(
        {'a': 0.5, 'b': 0.0, 'c': -1.0},
        {
            'fog': {'1': {'a': 0.4, 'b': 0.1, 'c': -1.0}, '3': {'a': 0.2, 'b': 0.1, 'c': -1.0}},
            'snow': {'1': {'a': 0.2, 'b': 0.1, 'c': -1.0}, '3': {'a': 0.0, 'b': 0.1, 'c': -1.0}},
        },
    )
    assert found.of_kind('fog', 'a') == pytest.approx(0.3)
    assert found.under_corruption('a') == pytest.approx(0.2)
    assert found.relative('a') == pytest.approx(0.4)
    # Of nothing there is no share, and COCO's -1 is no measurement.
    assert np.isnan(found.relative('b')) and np.isnan(found.relative('c'))


@pytest.fixture
def place(tmp_path, monkeypatch, noisy):
    """Grey images, dark or bright, and a network for them."""
    for label, level in enumerate((40, 200)):
        folder = tmp_path / 'images' / str(label)
        folder.mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(folder / f'{i}.png'), np.full((40, 40, 3), level + i, np.uint8))
    config = tmp_path / 'run.py'
    config.write_text(CONFIG.format(configs=configs_root(), root=tmp_path))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'run.pth')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_tool(place, noisy, monkeypatch, capsys):
    tool = str(tools_root() / 'analysis_tools/corruption.py')
    arguments = ['--kinds', 'fog', 'snow', '--severities', '2', '5', '--out', 'found.json']
    monkeypatch.setattr(sys, 'argv', [tool, 'run.py', 'run.pth', *arguments])
    runpy.run_path(tool, run_name='__main__')
    assert noisy == [(kind, s) for kind in ('fog', 'snow') for s in (2, 5) for _ in range(4)]
    found = Corrupted(**json.loads((place / 'found.json').read_text()))
    assert list(found.corrupted) == ['fog', 'snow'] and list(found.corrupted['fog']) == ['2', '5']
    told = capsys.readouterr().out
    assert 'snow, severity 2 (3 of 4)' in told
    assert '| corruption | severity 2 | severity 5 | mean accuracy/top1 |' in told
    assert f'| {found.under_corruption("accuracy/top1"):.3f} ' in told


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(kinds=['rain']), "'rain' is no kind of corruption that can be repeated: choose from"),
        # Its noise does not follow from numpy's seed.
        (dict(kinds=['impulse_noise']), "'impulse_noise' is no kind of corruption that can be"),
        (dict(severities=[6]), '6 is no severity of corruption .*: choose from 1, 2, 3, 4, 5'),
        (dict(severities=[]), 'give each severity of corruption once, and one at least'),
        (dict(kinds=['fog', 'fog']), 'give each kind of corruption once'),
    ],
)
def test_what_cannot_be_had_is_refused(settings, message, noisy):
    with pytest.raises(UserError, match=message):
        check_corruptions(**settings)


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setattr(corruption, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='pip install imagecorruptions-imaug'):
        check_corruptions()


def test_a_detector_that_detects_nothing(tmp_path, monkeypatch, noisy):
    """mmdet has no metrics then: there is nothing to lose, or all of it is lost."""
    write_coco(tmp_path / 'data')
    config = write_config(tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        save(tmp_path / 'run.pth', MODELS.build(load_config(str(config)).model).state_dict())
    monkeypatch.chdir(tmp_path)
    nothing, asked = {'model.test_cfg.score_thr': 2.0}, dict(kinds=['fog'], severities=[1, 5])
    for tool in (partial(measure_corrupted, **asked), static_affine):
        with pytest.raises(UserError, match='run.pth detects nothing at all on the test images'):
            tool(str(config), 'run.pth', cfg_options=nothing)
    found = iter(
        [
            {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_s': -1.0},
            {},
            {'coco/bbox_mAP': 0.1, 'coco/bbox_mAP_s': -1.0},
        ]
    )
    monkeypatch.setattr(Runner, 'test', lambda self: next(found))
    measured = measure_corrupted(str(config), 'run.pth', out='found.json', **asked)
    assert measured.corrupted['fog']['1'] == {'coco/bbox_mAP': 0.0, 'coco/bbox_mAP_s': -1.0}
    assert measured.of_kind('fog', 'coco/bbox_mAP') == 0.05


def test_without_loading_there_is_no_place_for_it(place):
    with open(place / 'run.py', 'a') as file:
        file.write("test_dataloader['dataset']['pipeline'] = [dict(type='PackClassInputs')]\n")
    with pytest.raises(UserError, match='has no LoadImageFromFile'):
        corruption.measure_corrupted('run.py', 'run.pth', kinds=['fog'], severities=[1])
