import os
import re

import cv2
import numpy as np
import pytest
import torch

from dn_mmdet.experiments.ablations import run
from dn_mmdet.experiments.ablations.cells import TEST_BATCHES, AblationCell
from dn_mmdet.experiments.ablations.results import AblationResults
from dn_mmdet.experiments.ablations.run import run_cell
from dn_mmdet.utils.errors import UserError

SHORT = dict(batch_size=4, iterations=2)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with crops of ten classes where the configuration looks for them."""
    root = tmp_path_factory.mktemp('ablations')
    rng = np.random.default_rng(0)
    for split, count in (('train', 2), ('val', 3)):
        for label in range(10):
            crops = root / 'data' / 'digits' / 'crops' / split / str(label)
            crops.mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 255, (80, 80, 3)).astype(np.uint8)
                cv2.imwrite(str(crops / f'{number}.png'), image)
    return root


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_a_cell_is_trained_and_tested_at_every_batch_size(tmp_path):
    cell = AblationCell('DNB', r=16, g='oup', seed=3, **SHORT)
    rows = run_cell(cell, str(tmp_path), test_batches=True)
    assert [row['test_batch_size'] for row in rows] == [100, *TEST_BATCHES]
    assert {row['diverged_at'] for row in rows} == {None}
    # In evaluation no image depends on its neighbours; 30 images make steps of 3.3 points.
    assert len({round(row['val'], 1) for row in rows}) == 1 and 0 <= rows[0]['val'] <= 100
    assert rows[0]['train'] % 12.5 == 0  # two batches of four
    checkpoint = torch.load(tmp_path / cell.name / 'iter_2.pth', weights_only=False)
    assert checkpoint['meta']['seed'] == 3
    assert any(key.endswith('sc.fc2_weight') for key in checkpoint['state_dict'])


def test_a_diverging_cell_is_a_result(tmp_path):
    (row,) = run_cell(
        AblationCell(lr=1e30, **{**SHORT, 'iterations': 5}), str(tmp_path), test_batches=True
    )
    assert row['val'] is None and row['train'] is None and 1 < row['diverged_at'] <= 5


def test_cells_are_trained_by_workers_and_saved_as_they_come(tmp_path, capsys):
    jobs = [(AblationCell(seed=seed, **SHORT), ()) for seed in (0, 1)]
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    run._train(jobs, results, tmp_path, workers=1)
    again = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    assert all(again.has(*job) for job in jobs)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith('2 cells to train, 1 at a time')
    done = [line for line in told if ': val ' in line]
    assert done[0].startswith('[1/2] BN, lr 0.05, batch 4, seed 0: val ')
    assert done[1].startswith('[2/2] BN, lr 0.05, batch 4, seed 1: val ') and len(done) == 2
    assert told[1].startswith('[1/2] BN, lr 0.05, batch 4, seed 0  (')
    assert all(line.endswith(' left in total)') for line in told[1:] if line not in done)


def test_a_cell_that_fails_is_named_and_the_finished_ones_stay(tmp_path, monkeypatch):
    good, bad = AblationCell(seed=0, **SHORT), AblationCell('NoSuchNorm', **SHORT)
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    with pytest.raises(UserError, match='nosuchnorm_lr0.05_b4_seed0.*NoSuchNorm'):
        run._train([(good, ()), (bad, ())], results, tmp_path, workers=1)
    assert AblationResults(tmp_path / 'ablations.csv', 'recipe').has(good)


def test_what_is_in_the_csv_file_is_not_trained_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run, 'build_digits_coco', lambda out: None)
    (folder / 'data/digits/digits.json').write_text('{}')
    trained = []

    def train(jobs, results, out, workers):
        trained.append([cell for cell, _ in jobs])
        for cell, test_batches in jobs[:5]:
            rows = [
                dict(test_batch_size=size, train=1.0, val=1.0, diverged_at=None, seconds=1.0)
                for size in (100, *test_batches)
            ]
            results.add(cell, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, '_train', train)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match='the same command continues with the missing'):
            run.run_ablations(tmp_path)
    first, second = trained
    assert second == first[5:]
    assert len(first) == len(set(first)) and {cell.seed for cell in first[: len(first) // 3]} == {0}
    # Other data, other results.
    (folder / 'data/digits/digits.json').write_text('{"seed": 1}')
    with pytest.raises(KeyboardInterrupt):
        run.run_ablations(tmp_path)
    assert trained[2] == first and os.listdir(tmp_path).count('ablations.csv') == 1


def test_one_cell_is_given_more_seeds(folder, tmp_path, monkeypatch):
    """Its row is then of all of them, and the others stay."""
    monkeypatch.setattr(run, 'build_digits_coco', lambda out: None)
    (folder / 'data/digits/digits.json').write_text('{}')
    trained = []

    def train(jobs, results, out, workers):
        trained.extend(cell.name for cell, _ in jobs)
        for cell, _ in jobs:
            row = dict(test_batch_size=100, train=1.0, val=cell.seed, diverged_at=None, seconds=1.0)
            results.add(cell, [row])

    monkeypatch.setattr(run, '_train', train)
    for seeds in ((0, 1), (4,)):
        run.run_ablations(tmp_path, seeds, only=['bn_*_b8_*', 'dnb_r16_goup_lr0.05_b8*'])
    names = [
        f'{norm}_lr0.05_b8_seed{seed}' for seed in (0, 1, 4) for norm in ('bn', 'dnb_r16_goup')
    ]
    assert trained == names
    text = (tmp_path / 'ablations.md').read_text()
    assert re.search(r'\| BN  +\|.*\| 8  +\| 1000 .*\| 3  +\| 1.0 ± 0.0 +\| 1.7 ± 2.1', text)
    # What is not trained is no row, and nothing is said of it.
    assert '| 1500 ' not in text and 'NaN ' not in text and '## Group size' not in text
    assert re.search(r'Without a finished cell, and left out: \d\d settings', text)
    assert 'does not train (Table 1: NaN) - not measured.' in text
    assert 'over the 1 cell of learning rate and batch size: above BN' in text
    with pytest.raises(UserError, match="--only 'b8' fits the name of no cell; they are as"):
        run.run_ablations(tmp_path, only=['b8'])


def test_the_recipe_is_what_decides_a_result(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'data' / 'digits').mkdir(parents=True)
    (tmp_path / 'data' / 'digits' / 'digits.json').write_text('the data')
    recipe = run._recipe()
    assert (
        recipe.endswith('the data')
        and 'optim_wrapper' in recipe
        and 'model=dict' in recipe.replace(' ', '')
    )
    assert 'isualizer' not in recipe  # published rows are of before it was named
