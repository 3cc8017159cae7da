"""Compare finished or partial runs by their logs; no GPU is needed.

If the work folders also hold predictions and the val data is available, claims about a difference
take into account the choice of images as well as seeds, and the images on which the groups differ
most are shown.

Nothing is trained, unless --configs A.py B.py is given in place of work folders: then each is
trained with each seed where that is missing. If interrupted, the same command continues.

Runs that differ only in the seed form one group. The report begins with what can be claimed of each
group against its baseline, and never calls a difference a gain if it lies within its spread over
seeds or its interval contains zero.
"""

import argparse
import os
import sys
from typing import Any

# Threads that wait soon go to sleep, see tools/train.py. Read when torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')

TRAINING = ('configs', 'seeds', 'work_root', 'workers', 'cfg_options')


def parse_args() -> tuple[dict[str, Any], dict[str, Any]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'work_dirs', nargs='*', metavar='WORK_DIR', help='work folders of tools/train.py'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/compare',
        metavar='FOLDER',
        help='folder of compare.html, compare.md, compare.csv and pictures (default: %(default)s)',
    )
    parser.add_argument(
        '--metric',
        metavar='NAME',
        help='the metric to compare by, such as coco/bbox_mAP_50 or mAP_50; by default '
        "COCO's mAP or top-1 accuracy",
    )
    parser.add_argument(
        '--baseline',
        metavar='NAME',
        help='a norm (BN), a group of the report, or the work folder of a run; by default each '
        'group is compared with the BN group whose configuration is closest',
    )
    parser.add_argument(
        '--predictions',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='use predictions.pkl, or else the newest pickle, in each work folder, for intervals '
        'over images and for pictures of the images on which the groups differ most',
    )
    parser.add_argument(
        '--test',
        action=argparse.BooleanOptionalAction,
        help='first make the predictions that are missing or older than the last checkpoint with '
        'tools/test.py, on the val data; if interrupted, the same command continues (default: '
        'only with --configs)',
    )
    parser.add_argument(
        '--resamples',
        type=whole_number(0),
        default=1000,
        metavar='N',
        help='number of bootstrap samples of the images; 1,000 for six runs take seconds with 500 '
        "images and minutes with COCO's 5,000; 0 means no intervals over images (default: "
        '%(default)s)',
    )
    training = parser.add_argument_group('to train missing runs, in place of WORK_DIR')
    training.add_argument(
        '--configs', nargs='+', metavar='CONFIG', help='configuration files, two or more'
    )
    training.add_argument(
        '--seeds',
        nargs='+',
        type=whole_number(0, 2**32 - 1),
        metavar='SEED',
        help='seeds to train each configuration with (default: 0 1 2)',
    )
    training.add_argument(
        '--work-root',
        metavar='FOLDER',
        help='the work folder of a run is '
        "FOLDER/<configuration's name>/seed_<seed> (default: work_dirs/compare)",
    )
    training.add_argument(
        '--workers',
        type=whole_number(1),
        metavar='N',
        help='runs at a time (default: one per core, or 1 with a GPU)',
    )
    CfgOptions.add_to(training, 'settings in every run')
    args = vars(parser.parse_args())
    if args['test'] is None:
        del args['test']
    given = {key: args.pop(key) for key in TRAINING}
    given = {key: value for key, value in given.items() if value is not None}
    if bool(args['work_dirs']) == ('configs' in given):
        parser.error('give work folders or --configs')
    if given and 'configs' not in given:
        parser.error(f'--{next(iter(given)).replace("_", "-")} goes with --configs')
    return args, given


if __name__ == '__main__':
    args, training = parse_args()
    with user_errors():
        from dn_mmdet.compare import compare_configs, compare_runs

        if training:
            args.pop('work_dirs')
            compare_configs(**training, **args)
        else:
            compare_runs(**args)
