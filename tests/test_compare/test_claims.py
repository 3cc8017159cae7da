import itertools
from statistics import mean

import pytest

from dn_mmdet.compare import compare_folders
from dn_mmdet.compare.statistics import chance_of_one_sign, paired_bootstrap
from dn_mmdet.utils.errors import UserError
from tests.helpers.work_folders import BN, DNB


def test_the_bootstrap_agrees_with_all_resamples_counted_out():
    values = [0.01, -0.02, 0.05, 0.03]
    means = sorted(mean(pick) for pick in itertools.product(values, repeat=4))
    found = paired_bootstrap(values)
    # Of all 256 resamples 2.5 % lie below the seventh and above the seventh last.
    assert found.low == pytest.approx(means[6], abs=0.003)
    assert found.high == pytest.approx(means[-7], abs=0.003)
    assert found.resamples == 10_000 and found.contains_zero
    assert found == paired_bootstrap(values[::-1])
    narrow = paired_bootstrap(values, level=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_a_small_bootstrap_is_no_wider_than_its_values():
    found = paired_bootstrap([0.02, 0.03, 0.04])
    assert (found.low, found.high) == (pytest.approx(0.02), pytest.approx(0.04))
    assert not found.contains_zero and chance_of_one_sign(3) == 0.25


def test_a_gain_beyond_spread_and_zero(three_seeds):
    (claim,) = compare_folders(three_seeds).claims
    # Differences 0.02, 0.03, 0.04: by hand 0.03 and 0.01.
    assert claim.difference.mean == pytest.approx(0.03)
    assert claim.difference.spread == pytest.approx(0.01)
    assert claim.verdict == 'gain' and 'a gain that exceeds the spread' in claim.sentence
    assert '+0.030 ± 0.010' in claim.sentence and '3 paired seeds' in claim.sentence
    assert '+0.020 to +0.040, 10,000 resamples' in claim.sentence
    assert '1 of 4 comparisons' in claim.sentence


def runs_with(make_run, differences, first=0.40):
    return [
        make_run(f'{name}{seed}', [0.1, 0.2, value], seed=seed, norm=norm)
        for seed, difference in enumerate(differences)
        for name, norm, value in (('bn', BN, first), ('dnb', DNB, first + difference))
    ]


@pytest.mark.parametrize(
    ('differences', 'verdict', 'why'),
    [
        ((0.01, 0.05, 0.00), 'not shown', 'lies within the spread'),
        ((-0.01, 0.05, 0.05, 0.05, 0.05), 'gain', 'over seeds alone that excludes zero'),
        ((-0.01, 0.05, 0.05), 'not shown', 'the interval over seeds contains zero'),
        ((0.0, 0.0), 'not shown', 'lies within the spread; the interval over seeds contains zero'),
        ((0.001, 0.001, 0.001), 'not shown', 'not larger than the rounding of the logged values'),
        ((0.002, 0.002, 0.002), 'gain', 'excludes zero'),
        ((-0.02, -0.03), 'loss', 'a loss that exceeds the spread'),
        ((0.04,), 'nothing', 'nothing can be said from one seed'),
    ],
)
def test_what_is_called_a_gain(make_run, differences, verdict, why):
    (claim,) = compare_folders(runs_with(make_run, differences)).claims
    assert (claim.verdict, why in claim.sentence) == (verdict, True), claim.sentence
    assert ('a gain that' in claim.sentence) == (verdict == 'gain')


def test_differences_are_paired_by_seed(make_run):
    # The seeds are far apart, the norms are not; DN-B alone has seed 2.
    folders = [
        make_run(f'{name}{seed}', [0.1, 0.2, value], seed=seed, norm=norm)
        for name, norm, values in (
            ('bn', BN, {0: 0.2, 1: 0.6}),
            ('dnb', DNB, {0: 0.21, 1: 0.612, 2: 0.9}),
        )
        for seed, value in values.items()
    ]
    (claim,) = compare_folders(folders).claims
    assert claim.difference.mean == pytest.approx(0.011) and claim.verdict == 'gain'
    assert '2 paired seeds' in claim.sentence


def test_no_seed_in_common(make_run):
    (claim,) = compare_folders(
        [make_run('a', [0.1, 0.2, 0.3], seed=0), make_run('b', [0.1, 0.2, 0.9], seed=1, norm=DNB)]
    ).claims
    assert claim.verdict == 'nothing' and 'no seed in common' in claim.sentence


def test_a_seed_that_died_forbids_a_gain(make_run):
    folders = runs_with(make_run, (0.05, 0.06, 0.07))
    folders += [
        make_run('bn9', [0.1, 0.2, 0.4], seed=9),
        make_run('dnb9', [0.1], seed=9, norm=DNB, log_tail='the loss is nan\n'),
    ]
    comparison = compare_folders(folders)
    (claim,) = comparison.claims
    assert claim.verdict == 'not shown' and (
        'it leaves out 1 of 4 runs of DN-B (16, oup) (seed 9), which diverged' in claim.sentence
    )
    assert claim.difference.mean == pytest.approx(0.06)
    assert any(
        'dnb9 (seed 9) diverged: its log says: the loss is nan' in text for text in comparison.notes
    )
    alone = compare_folders([folders[0], folders[-1]]).claims[0]
    assert alone.verdict == 'nothing' and 'every run of DN-B (16, oup) diverged' in alone.sentence


def test_unfinished_runs_are_left_out_where_others_are_there(three_seeds, make_run):
    folder = make_run('bn3', [0.1, 0.2], seed=3, checkpoint='work_dirs/bn_pre_seed3/epoch_2.pth')
    comparison = compare_folders([*three_seeds, folder])
    assert comparison.groups[0].seeds == [0, 1, 2] and comparison.step is None
    assert comparison.left_out == (
        f'{folder}: it is not finished (2 of 3 epochs); --resume continues it.',
    )


def test_partial_runs_are_compared_where_all_have_come_and_nothing_is_claimed(make_run):
    folders = [
        make_run(f'{name}{seed}', maps, seed=seed, norm=norm)
        for seed in (0, 1)
        for name, norm, maps in (('bn', BN, [0.1, 0.2, 0.3]), ('dnb', DNB, [0.15, 0.26]))
    ]
    comparison = compare_folders(folders)
    (claim,) = comparison.claims
    assert comparison.step == 2 and claim.difference.mean == pytest.approx(0.06)
    assert claim.verdict == 'not shown' and 'not finished, this is epoch 2' in claim.sentence


@pytest.mark.parametrize(
    ('folders', 'message'),
    [
        (lambda make: [], 'two runs, and none of these'),
        (
            lambda make: [make('a', [0.1, 0.2, 0.3]), '/nowhere'],
            'two runs, and one of these.*/nowhere: there',
        ),
        (lambda make: [make('a', [0.1, 0.2, 0.3])] * 2, 'and one of these can be used'),
        (lambda make: [make('a', [0.1, 0.2, 0.3]), make('b', [])], 'no log was found'),
        (
            lambda make: [
                make(norm[-4:-2], [0.1], norm=norm, log_tail='the loss is nan\n')
                for norm in (BN, DNB)
            ],
            'every run diverged',
        ),
        (
            lambda make: [
                make('a', [0.1, 0.2, 0.3], seed=s) if s else make('b', [0.1, 0.2, 0.4])
                for s in (0, 1)
            ],
            'differ in the seed alone',
        ),
    ],
)
def test_too_few_runs_are_an_error_with_the_reasons(make_run, folders, message):
    with pytest.raises(UserError, match=f'(?s){message}'):
        compare_folders(folders(make_run))


def test_the_metric_is_chosen_or_refused(three_seeds, make_run):
    assert compare_folders(three_seeds).metric == 'coco/bbox_mAP'
    (claim,) = compare_folders(three_seeds, metric='mAP_50').claims
    assert claim.difference.mean == pytest.approx(0.045) and 'mAP_50' in claim.sentence
    with pytest.raises(UserError, match='--metric mAP_s.*coco/bbox_mAP, coco/bbox_mAP_50'):
        compare_folders(three_seeds, metric='mAP_s')
    nan = make_run('dnb7', [0.1, 0.2, float('nan')], norm=DNB)
    with pytest.raises(UserError, match='no metric in common'):
        compare_folders([three_seeds[0], nan])
