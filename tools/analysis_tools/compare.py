"""Compare finished or partial runs by their logs; no GPU is needed.

Where work folders hold predictions too, and the val data is here, what can be claimed of a
difference rests on the choice of images as well as on seeds, and the images on which the groups
differ most are shown.

Nothing is trained, unless --configs A.py B.py is given in place of work folders: then each is
trained with each seed where that is missing. After an interrupt the same command continues.

Runs that differ in the seed alone are one group. The report begins with what can be claimed of each
group against its baseline, and calls no difference a gain that lies within its spread over seeds,
or whose interval contains zero.
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
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')

TRAINING = ('configs', 'seeds', 'work_root', 'workers', 'cfg_options')


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of 0 or more')
    return int(text)


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
        help='the metric that decides, such as coco/bbox_mAP_50 or mAP_50; by default '
        "COCO's mAP or top-1 accuracy",
    )
    parser.add_argument(
        '--baseline',
        metavar='NAME',
        help='a norm (BN), a group of the report, or the work folder of a run; by default each '
        'group has the BN group that differs least from it',
    )
    parser.add_argument(
        '--predictions',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='use predictions.pkl, else the newest pickle, of each work folder: for intervals over '
        'images too, and for pictures of the images on which the groups differ most',
    )
    parser.add_argument(
        '--test',
        action=argparse.BooleanOptionalAction,
        help='first make the predictions that are missing or older than the last checkpoint with '
        'tools/test.py, on the val data; after an interrupt the same command continues (default: '
        'only with --configs)',
    )
    parser.add_argument(
        '--resamples',
        type=_whole,
        default=1000,
        metavar='N',
        help='draws of images; 1,000 of six runs take seconds with 500 images and minutes with '
        "COCO's 5,000; 0 means no intervals over images (default: %(default)s)",
    )
    training = parser.add_argument_group('to train what is missing, in place of WORK_DIR')
    training.add_argument(
        '--configs', nargs='+', metavar='CONFIG', help='configuration files, two or more'
    )
    training.add_argument(
        '--seeds', nargs='+', type=int, metavar='SEED', help='of each (default: 0 1 2)'
    )
    training.add_argument(
        '--work-root',
        metavar='FOLDER',
        help='the work folder of a run is '
        "FOLDER/<configuration's name>/seed_<seed> (default: work_dirs/compare)",
    )
    training.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='runs at a time (default: one for each core, with a GPU 1)',
    )
    training.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='settings of every run, as tools/train.py has them',
    )
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
