"""Compare finished or partial runs by their logs; nothing is trained, no GPU and no data is needed.

Runs that differ in the seed alone are one group. The report says first what may be said of each
group against its baseline, and calls no difference a gain that lies within its spread over seeds.
"""

import argparse
import os
import sys

# Threads that wait soon go to sleep, see tools/train.py. Read when torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.engine import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='work folders of tools/train.py')
    parser.add_argument(
        '--out', default='work_dirs/compare', metavar='FOLDER',
        help='folder of compare.html, compare.md, compare.csv and pictures (default: %(default)s)')
    parser.add_argument(
        '--metric', metavar='NAME',
        help="what decides, as coco/bbox_mAP_50 or mAP_50; by default COCO's mAP or top-1 accuracy")
    parser.add_argument(
        '--baseline', metavar='NAME',
        help='a norm (BN), a group of the report, or the work folder of a run; by default each '
        'group has the BN group that differs least from it')
    return vars(parser.parse_args())


if __name__ == '__main__':
    with user_errors():
        from dn_mmdet.compare import compare_runs
        compare_runs(**parse_args())
