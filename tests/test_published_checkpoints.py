"""The shipped checkpoints are what checkpoints/README.md says."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import dn_mmdet  # noqa: F401
from dn_mmdet.layers.state import form_mismatch, rekeyed

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = sorted((REPOSITORY / 'checkpoints').glob('*.pth'))
README = (REPOSITORY / 'checkpoints' / 'README.md').read_text()


def test_the_readme_names_every_file():
    assert FILES and set(re.findall(r'^\| `(\S+-[0-9a-f]{8}\.pth)`', README, re.M)) == {
        file.name for file in FILES
    }


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_a_file_is_small_and_named_by_its_hash(file):
    content = file.read_bytes()
    assert len(content) < 5e6
    assert file.stem.endswith('-' + hashlib.sha256(content).hexdigest()[:8])


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_the_detector_takes_the_whole_backbone(file):
    published = torch.load(file, weights_only=True)
    norm = file.name.split('_')[1]
    config = Config.fromfile(REPOSITORY / f'configs/digits/ssdlite_mbv2_{norm}_digits.py')
    backbone = MODELS.build(dict(config.model.backbone, init_cfg=None))
    given = {key: value.shape for key, value in published['state_dict'].items()}
    assert given == {f'backbone.{key}': value.shape for key, value in backbone.state_dict().items()}
    # It is taken by its prefix, where mmengine tells no layer its form.
    state = rekeyed(published['state_dict'], lambda key: key.removeprefix('backbone.'))
    assert form_mismatch(backbone, state, told=False) is None


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_the_accuracy_of_the_readme_is_that_of_the_file(file):
    meta = torch.load(file, weights_only=True)['meta']
    row = next(line for line in README.splitlines() if file.name in line)
    assert f'| {meta["metrics"]["accuracy/top1"]:.1f} |' in row
    assert f'randomness.seed={meta["seed"]}`' in row
    assert not re.search(r'[\'"]/', meta['cfg'])  # no path of the machine that trained it
