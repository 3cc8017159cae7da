"""Prediction files are pickles, and are read as data."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.fileio import dump

from dn_mmdet.runs.predictions import read_predictions
from dn_mmdet.utils.errors import UserError


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_mmengine_dumps_is_read_as_it_was(tmp_path):
    item = dict(
        img_id=3,
        img_path='val/3.png',
        scale_factor=(1.0, 0.5),
        ori_shape=np.array([4, 5]),
        score=np.float32(0.25),
        pred_instances=dict(
            bboxes=torch.rand(5, 4)[:3],
            labels=torch.tensor([0, 1, 2]),
            scores=torch.rand(3, dtype=torch.float64).half(),
        ),
    )
    dump([item, dict(img_id=4)], tmp_path / 'out.pkl')
    first, second = read_predictions(tmp_path / 'out.pkl')
    assert second == dict(img_id=4) and first['img_path'] == 'val/3.png'
    assert first['score'] == 0.25 and first['ori_shape'].tolist() == [4, 5]
    for key, value in item['pred_instances'].items():
        found = first['pred_instances'][key]
        assert found.dtype == value.dtype and torch.equal(found, value)


@pytest.mark.parametrize(
    'hidden',
    [
        lambda path: [dict(img_id=Bomb(path))],
        # A storage inside a tensor is a file of torch.save of its own.
        lambda path: [dict(img_id=_Storage(path))],
    ],
)
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, hidden):
    file = tmp_path / 'evil.pkl'
    file.write_bytes(pickle.dumps(hidden(tmp_path / 'made')))
    with pytest.raises(UserError, match=r'evil\.pkl'):
        read_predictions(file)
    assert not (tmp_path / 'made').exists()


class _Storage:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        from io import BytesIO

        data = BytesIO()
        torch.save(Bomb(self.path), data)
        return torch.storage._load_from_bytes, (data.getvalue(),)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'cannot be read'),
        (b'', 'truncated, or was not written by tools/test.py --out'),
        (pickle.dumps([dict(img_id=1)] * 50)[:-40], 'truncated, or was not written'),
        (b'not a pickle', 'truncated, or was not written'),
        (pickle.dumps(dict(state_dict={})), 'does not hold predictions.*but a dict'),
        (pickle.dumps([]), 'but an empty list'),
        (pickle.dumps([[1, 2]]), 'but a list of list'),
        (pickle.dumps(eval), r'refused and none of it was run.*builtins\.eval'),
    ],
)
def test_what_is_no_prediction_file_is_refused_in_a_sentence(tmp_path, content, message):
    file = tmp_path / 'out.pkl'
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_predictions(file)
    assert str(file) in str(error.value)
