"""Write the annotation lists of ImageNet-100 from an ILSVRC-2012 tree; no image is copied.

train.txt, val.txt and test.txt list images relative to IMAGENET_ROOT, each with its label, an index
into classes.txt. 20% of each class's training images form val, the rest train, and the original
validation images form test. Every image is checked; those that are missing or broken are left out,
counted, and listed in imagenet100.json. If interrupted, the same command resumes.
"""

import argparse
import sys
from pathlib import Path

try:
    from dn_mmdet.datasets import build_imagenet100
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import HelpFormatter
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add(
        'root',
        type=Path,
        metavar='IMAGENET_ROOT',
        help='folder with train/ and val/, or with ILSVRC/ as Kaggle packs it',
    )
    add('--out', type=Path, default=Path('data/imagenet100'), help='folder for the lists')
    add(
        '--classes',
        type=Path,
        metavar='FILE',
        help='one synset id per line; by default, the 100 classes that ship with the package (the '
        'paper publishes 4 of its 100, which are among them)',
    )
    add(
        '--val-list',
        type=Path,
        metavar='FILE',
        help="labels of a val/ without class folders: the devkit's ground truth with meta.mat "
        "next to it, Caffe's val.txt, or Kaggle's LOC_val_solution.csv; by default, the first one "
        'found in IMAGENET_ROOT',
    )
    add(
        '--val-share',
        type=float,
        default=0.2,
        help="fraction of each class's training images used for val",
    )
    add('--seed', type=int, default=0, help='seed for drawing val')
    add(
        '--strict',
        action='store_true',
        help='exit with status 1 if images are left out; the lists are written anyway',
    )
    add('--force', action='store_true', help='rebuild the lists and check every image again')
    return parser.parse_args()


def main() -> None:
    """Make the lists, or say that they are there."""
    with user_errors():
        build_imagenet100(**vars(parse_args()))


if __name__ == '__main__':
    main()
