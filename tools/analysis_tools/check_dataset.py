"""Check the data of a configuration, list all that is found, and draw random images with boxes.

Nothing is trained. Exits with 1 if there is a mistake, which a run would be refused for.
"""

import argparse
import os
import sys

os.environ.setdefault('GOMP_SPINCOUNT', '2000')  # see tools/train.py

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='configuration file')
    parser.add_argument(
        '--out',
        metavar='PICTURE|FOLDER',
        help='.png, .svg or .pdf, or a folder for one picture of each data set; by default '
        'check_dataset.png in the work folder of the configuration',
    )
    parser.add_argument(
        '--num',
        type=whole_number(0),
        default=12,
        help='images of each data set; 0 draws none (default: 12)',
    )
    parser.add_argument(
        '--seed',
        type=whole_number(0, 2**32 - 1),
        default=0,
        help='decides which images (default: 0)',
    )
    parser.add_argument(
        '--parts',
        nargs='+',
        choices=['train', 'val', 'test'],
        help='by default all that the configuration has',
    )
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


def main() -> None:
    args = parse_args()
    with user_errors():
        from dn_mmdet.analysis.check_dataset import check_dataset

        check_dataset(**args)


if __name__ == '__main__':
    main()
