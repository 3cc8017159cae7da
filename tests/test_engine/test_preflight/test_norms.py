"""A dynamic norm that is held where it starts does nothing but BatchNorm, and the run says so."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from dn_mmdet import DNB
from dn_mmdet.engine.preflight.norms import check_norms
from dn_mmdet.engine.preflight.planned import PlannedRun


class Frozen(nn.Sequential):
    """Freezes its first norm when it is put in training, as mmdet's MobileNetV2 does."""

    def train(self, mode=True):
        super().train(mode)
        self[0].requires_grad_(False)


def notes_of(model, mode='train'):
    run = PlannedRun(Config(dict(model=dict(type='Unused'))), mode)
    run.model = model
    check_norms(run)
    return run.notes


def test_norms_that_stay_batch_norms_are_named():
    (note,) = notes_of(Frozen(DNB(4), DNB(4)))
    assert note.startswith('1 of 2 dynamic norms are not trained') and '(0)' in note
    assert 'frozen_stages=-1' in note and 'requires_grad=True' in note


@pytest.mark.parametrize('mode', ['train', 'test'])
def test_what_is_trained_or_tested_or_has_learned_is_not(mode):
    learned = DNB(4)
    with torch.no_grad():
        learned.sc.fc2_weight[0] = 1
    assert not notes_of(nn.Sequential(DNB(4), nn.BatchNorm2d(4).requires_grad_(False)), mode)
    assert not notes_of(Frozen(learned, DNB(4)), mode)
    assert bool(notes_of(Frozen(DNB(4)), mode)) == (mode == 'train')
