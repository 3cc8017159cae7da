"""Intervals over images and seeds, against what can be counted out by hand."""

import numpy as np
import pytest

from dn_mmdet.compare.images.intervals import image_intervals, resampled_values
from dn_mmdet.compare.images.results import ClassResults


def classifier(right):
    """Of images of class 0, those are right that are 1 here."""
    right = np.array(right, dtype=bool)
    probabilities = np.where(right[:, None], [[0.9, 0.1]], [[0.2, 0.8]])
    return ClassResults(
        range(len(right)), np.zeros(len(right), int), probabilities, right, ('a', 'b'), None
    )


def differences_of(pairs, resamples, seed=0):
    values = resampled_values([side for pair in pairs for side in pair], resamples, seed)
    return values[:, 1::2] - values[:, ::2]


@pytest.fixture(scope='module')
def counted():
    """Two seeds, two images: only with the first seed, on the first image, one side is better."""
    pairs = [(classifier([0, 1]), classifier([1, 1])), (classifier([1, 0]), classifier([1, 0]))]
    return differences_of(pairs, 4_000)


# Of two images drawn twice the first comes up 2, 1, 0 times in 1, 2, 1 of 4 cases. With both
# seeds that is 50, 25, 0 points. Drawn twice, the seeds give 100, 50, 0 times the share of the
# first image: of 16 cases 1 gives 100, 4 give 50, 4 give 25 and 7 give 0.
@pytest.mark.parametrize(
    ('level', 'images', 'both'),
    [
        (0.95, (0, 50), (0, 100)),
        (0.8, (0, 50), (0, 50)),
        (0.3, (25, 25), (0, 25)),
    ],
)
def test_small_cases_counted_out(counted, level, images, both):
    found = image_intervals(counted, [50, 0], 2, (0, 1), level)
    assert (found.images.low, found.images.high) == pytest.approx(images)
    assert (found.both.low, found.both.high) == pytest.approx(both)
    assert (found.difference, found.count, found.seeds) == (25, 2, (0, 1))
    assert found.images.resamples == found.both.resamples == 4_000
    assert found.widest is found.both


def test_each_draw_has_its_share(counted):
    values, counts = np.unique(counted[:, 0], return_counts=True)
    assert values.tolist() == [0, 50, 100]
    assert counts / len(counted) == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert not counted[:, 1].any()


def test_runs_are_measured_on_the_same_draws():
    random = np.random.default_rng(1)
    right = random.random(200) < 0.7
    alike = differences_of([(classifier(right), classifier(right))], 50)
    assert not alike.any()
    other = resampled_values([classifier(right)], 50)
    assert other.std() > 1 and (other == resampled_values([classifier(right)], 50)).all()
    assert (other != resampled_values([classifier(right)], 50, seed=1)).any()


def test_one_seed_has_no_interval_over_seeds(counted):
    found = image_intervals(counted[:, :1], [50], 2, (0,))
    assert found.both is None and found.widest is found.images
    assert (found.images.low, found.images.high) == (0, 100)


def test_draws_without_an_object_are_no_draws():
    found = image_intervals(np.array([[1.0], [np.nan], [3.0]]), [2.0], 3, (0,))
    assert (found.images.resamples, found.images.low) == (2, pytest.approx(1.05))
