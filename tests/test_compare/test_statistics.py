import math

import pytest

from dn_mmdet.compare.statistics import compare, summarize


def rows(*values, diverged=()):
    return [
        dict(seed=seed, val=value, diverged_at=5 if seed in diverged else None)
        for seed, value in enumerate(values)
    ]


def test_mean_and_sample_standard_deviation():
    summary = summarize(rows(90.0, 92.0, 94.0), 'val')
    assert summary.mean == 92.0 and summary.spread == pytest.approx(2.0)
    assert str(summary) == '92.0 ± 2.0'


def test_a_diverged_run_is_counted_and_not_averaged():
    summary = summarize(rows(90.0, None, 94.0, diverged=[1]), 'val')
    assert summary.mean == 92.0 and str(summary) == '92.0 ± 2.8 (NaN in 1 of 3)'
    assert str(summarize(rows(None, None, diverged=[0, 1]), 'val')) == 'NaN in 2 of 2'


@pytest.mark.parametrize(
    ('second', 'verdict'),
    [
        ((91.0, 93.1, 94.9), 'higher'),
        ((89.0, 91.1, 92.9), 'lower'),
        ((93.0, 91.0, 94.0), 'within the spread'),
        ((90.0, 92.0, 94.0), 'within the spread'),
    ],
)
def test_a_difference_needs_more_than_its_spread(second, verdict):
    difference = compare(summarize(rows(90.0, 92.0, 94.0), 'val'), summarize(rows(*second), 'val'))
    assert difference.verdict == verdict


def test_differences_are_paired_by_seed():
    # The seeds differ by 40 points, the two sides by 1 in each seed.
    low, high = rows(50.0, 70.0, 90.0), rows(51.0, 71.0, 91.0)
    low, high = summarize(low, 'val'), summarize(high, 'val')
    difference = compare(low, high)
    assert (difference.mean, difference.spread, difference.verdict) == (1.0, 0.0, 'higher')
    assert str(difference) == '+1.0 ± 0.0, higher'


def test_five_seeds_have_an_interval():
    """A mean within the spread of single seeds may still be sure to be above zero."""
    low, high = rows(50.0, 60.0, 70.0, 80.0, 90.0), rows(51.0, 63.0, 72.0, 95.0, 94.0)
    four = compare(summarize(low[1:], 'val'), summarize(high[1:], 'val'))
    assert str(four) == '+6.0 ± 6.1, within the spread'
    difference = compare(summarize(low, 'val'), summarize(high, 'val'))
    assert not difference.interval.contains_zero
    assert str(difference) == '+5.0 ± 5.7, within the spread; 95% +1.8 to +10.0'


def test_fewer_than_three_seeds_are_no_verdict():
    difference = compare(summarize(rows(90.0), 'val'), summarize(rows(99.0), 'val'))
    assert difference.verdict == 'one seed' and str(difference) == '+9.0 ± 0.0, one seed'
    difference = compare(summarize(rows(90.0, 91.0), 'val'), summarize(rows(99.0, 99.0), 'val'))
    assert str(difference) == '+8.5 ± 0.7, two seeds'


def test_a_side_that_diverged_lost():
    good, bad = summarize(rows(90.0, 91.0), 'val'), summarize(rows(95.0, None, diverged=[1]), 'val')
    assert compare(bad, good).verdict == 'higher' and compare(good, bad).verdict == 'lower'
    assert 'diverged' in str(compare(good, bad)) and math.isnan(compare(good, bad).mean)
    both = compare(bad, bad)
    assert (both.mean, both.verdict) == (0.0, 'one seed')
