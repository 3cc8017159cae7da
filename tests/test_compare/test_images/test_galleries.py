"""Pictures of the images that two groups differ on most, to either side."""

import csv
import html
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dn_mmdet.analysis.complexity import Complexity
from dn_mmdet.compare import compare_folders, compare_runs
from dn_mmdet.compare.images import galleries
from dn_mmdet.compare.images.galleries import find_extremes
from dn_mmdet.figures.class_gallery import draw_gallery
from dn_mmdet.figures.detections import PALETTE
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.predicted import classifiers, detectors


class Scores:
    def __init__(self, scores, margins=None):
        self._scores, self._margins = scores, scores if margins is None else margins

    def scores(self):
        return np.array(self._scores, dtype=float)

    def margins(self):
        return np.array(self._margins, dtype=float)


def test_extremes_are_of_both_sides_and_of_the_mean_over_seeds():
    pairs = [
        (Scores([0, 0.5, 1, 0.2, 0.9]), Scores([1, 0.6, 0, 0.2, 0.4])),
        (Scores([1, 0.5, 1, 0.2, 0.7]), Scores([0, 0.9, 0.2, 0.2, 0.6])),
    ]
    # Means of the difference: 0, 0.25, -0.9, 0, -0.3.
    found = find_extremes(pairs, 3)
    assert (found.better, found.worse, found.counts) == ([1], [2, 4], (1, 2))
    assert found.first == pytest.approx([0.5, 0.5, 1, 0.2, 0.8])
    assert found.second == pytest.approx([0.5, 0.75, 0.1, 0.2, 0.5])
    assert find_extremes(pairs, 1).worse == [2]


def test_equal_differences_are_ranked_by_margin():
    first = Scores([0, 0, 0, 1, 1], [0.4, 0.1, 0.3, 0.6, 0.9])
    second = Scores([1, 1, 1, 0, 0], [0.6, 0.9, 0.6, 0.4, 0.4])
    found = find_extremes([(first, second)], 5)
    assert found.better == [1, 2, 0] and found.worse == [4, 3]


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """Eight images: DN-B alone finds 1 and 2 with either seed, BN alone 7; 3 to 6 both."""
    folder = tmp_path_factory.mktemp('found')
    return detectors(
        folder,
        {
            ('bn', 0): {3, 4, 5, 6, 7},
            ('dnb', 0): {1, 2, 3, 4, 5, 6},
            ('bn', 1): {3, 4, 5, 6, 7, 8},
            ('dnb', 1): {1, 2, 3, 4, 5, 6},
        },
        8,
    )


def share_of(picture, color):
    """Share of the pixels of the picture that have (nearly) the color."""
    pixels = np.asarray(Image.open(picture).convert('RGB')).astype(int)
    return (abs(pixels - color).max(axis=2) < 40).mean()


def test_the_report_shows_detections_where_they_differ_most(found, tmp_path, monkeypatch):
    drawn = []
    draw = galleries.draw_side_by_side
    monkeypatch.setattr(
        galleries, 'draw_side_by_side', lambda *args: (drawn.append(args), draw(*args))
    )
    monkeypatch.setattr(
        sys.modules['dn_mmdet.compare.run'],
        'count_sizes',
        lambda groups: ({group.label: Complexity(1, 1) for group in groups}, []),
    )
    compare_runs(found, tmp_path, resamples=50)
    ((dataset, rows, shown, _, titles, threshold),) = drawn
    # Images 1 and 2, then 7, which BN finds with both seeds, and 8, with one of two.
    assert [dataset.get_data_info(row)['img_id'] for row in rows] == [1, 2, 7, 8]
    assert titles[0] == ['ground truth, 1.png', 'BN, mean F1 0.00', 'DN-B (16, oup), mean F1 1.00']
    assert titles[3][1:] == ['BN, mean F1 0.50', 'DN-B (16, oup), mean F1 0.00']
    assert len(shown['first']) == 8 and threshold == 0.3
    picture = tmp_path / 'detections_dn_b_16_oup.png'
    assert Image.open(picture).size == (1080, 1440)
    assert all(share_of(picture, np.array(color)) > 0.001 for color in PALETTE[:2])
    page, text = ((tmp_path / f'compare.{kind}').read_text() for kind in ('html', 'md'))
    assert page.count('data:image/png;base64,') == 3
    for report in (html.unescape(re.sub('<[^>]*>', '', page)), text):
        assert 'Of 8 images, DN-B (16, oup) is better on 2 and BN on 2' in report
        assert '95% over images and seeds' in report and 'drawn with replacement 50 times' in report
    assert '](detections_dn_b_16_oup.png)' in text and '--resamples 50' in text
    (row,) = csv.DictReader((tmp_path / 'differences.csv').read_text().splitlines())
    assert row['images'] == '8' and row['over_images_and_seeds_resamples'] == '50'


def test_without_predictions_the_report_is_of_the_logs(found, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules['dn_mmdet.compare.run'], 'count_sizes', lambda groups: ({}, []))
    comparison = compare_runs(found, tmp_path, predictions=False)
    assert comparison.predictions is None and not list(tmp_path.glob('detections*'))
    text = (tmp_path / 'compare.md').read_text()
    assert 'not part of the interval' in text and '--no-predictions' in text


@pytest.fixture(scope='module')
def said(tmp_path_factory):
    labels = [0] * 4 + [1] * 4
    wrong = [1, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 0]
    return classifiers(
        tmp_path_factory.mktemp('said'),
        {
            (norm, seed): found
            for seed in (0, 1)
            for norm, found in zip_strict(('bn', 'dnb'), wrong)
        },
        labels,
    )


def test_classifiers_have_a_gallery_with_what_they_say(said, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(galleries, 'draw_gallery', lambda parts, file: drawn.append(parts))
    comparison = compare_folders(said, predictions=True, resamples=0)
    (gallery,) = galleries.draw_galleries(comparison.predictions, comparison.compared, tmp_path)
    (better, first), (worse, second) = drawn[0]
    assert better == 'DN-B (16, oup) is right more often' and worse == 'BN is right more often'
    assert [(Path(path).name, text) for path, text in first] == [
        ('00.png', 'true: one\nBN: zero x2\nDN-B (16, oup): one x2')
    ]
    assert [(Path(path).name, text) for path, text in second] == [
        ('07.png', 'true: zero\nBN: zero x2\nDN-B (16, oup): one x2')
    ]
    assert gallery.file == 'classes_dn_b_16_oup.png'
    assert gallery.counts.startswith('Of 8 images, DN-B (16, oup) is better on 1 and BN on 1')


def test_a_gallery_holds_every_image(tmp_path):
    for i, color in enumerate(PALETTE[:6]):
        Image.new('RGB', (40, 30 + i), color).save(tmp_path / f'{i}.png')
    images = [(str(tmp_path / f'{i}.png'), f'true: {i}\nBN: 1') for i in range(6)]
    draw_gallery([('a', images[:5]), ('none', []), ('b', images[5:])], tmp_path / 'out.png')
    width, height = Image.open(tmp_path / 'out.png').size
    assert width == 1040 and 700 < height < 1100
    assert all(share_of(tmp_path / 'out.png', np.array(color)) > 0.02 for color in PALETTE[:6])


def test_file_names_are_distinct():
    names = []
    for label in ('DN-B (16, 1)', 'DN-B (16,1)', '../' * 40, 'a/b'):
        names.append(galleries._file_name('detections', label, names))
    assert len(set(names)) == 4 and all(re.fullmatch(r'\w{1,80}\.png', name) for name in names)
