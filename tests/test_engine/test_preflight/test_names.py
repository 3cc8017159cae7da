"""A name in a configuration file that nothing uses is told, since it changes nothing."""

import re

import pytest

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight.names import check_names
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import REPOSITORY

BASE = f"_base_ = '{REPOSITORY}/configs/ssdlite_mbv2_dnb_coco.py'\n"


@pytest.fixture
def notes(tmp_path):
    def notes(text):
        path = tmp_path / 'mine.py'
        path.write_text(text)
        run = PlannedRun(load_config(str(path)), 'train')
        check_names(run)
        return run.notes

    return notes


@pytest.mark.parametrize(
    'text, words',
    [
        ('max_epochs = 5', 'max_epochs in .*mine.py .* to change train_cfg.max_epochs, set that'),
        ('num_classes = 3', 'to change model.bbox_head.num_classes, set that'),
        ('input_size = (96, 96)', 'use it, or remove it'),
        ("test_pipeline = [dict(type='LoadImageFromFile')]", 'test_pipeline in .* nothing uses'),
    ],
)
def test_a_name_without_effect(text, words, notes):
    (note,) = notes(BASE + text)
    assert re.search(words, note)


@pytest.mark.parametrize(
    'text',
    [
        '',
        'max_epochs = 5\ntrain_cfg = dict(max_epochs=max_epochs)',
        'max_epochs = 5\ntrain_cfg = dict(max_epochs=5)',
        "n = 5\nload_from = f'{n}.pth'",
        'input_size = (320, 320)',
        "work_dir = 'elsewhere'",
        "data_root = 'data/coco/mine/'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))",
        "data_root = 'data/coco/'",
    ],
)
def test_a_name_with_an_effect(text, notes):
    assert notes(BASE + text) == []


def test_a_file_without_a_base_has_said_it_all(notes):
    assert notes('a = 1\nmax_epochs = 5\ntrain_cfg = dict(max_epochs=3)') == []


def test_the_folder_of_the_data(notes):
    text = BASE + "data_root = 'data/mine/'"
    with pytest.raises(UserError, match='the data sets keep the folder of its base, data/coco/.'):
        notes(text)
    explicit = "dict(dataset=dict(data_root='data/other/'))"
    loaders = ''.join(f'\n{part}_dataloader = {explicit}' for part in ('train', 'val', 'test'))
    assert notes(text + loaders) == [], 'a name that is left over'
