"""Write the annotation lists of ImageNet-100 from an ILSVRC-2012 tree; no image is copied.

train.txt, val.txt and test.txt name images relative to IMAGENET_ROOT, each with its label, a place
in classes.txt: 20% of each class's training images are val, the rest train, and the original
validation images are test. Every image is looked at; those that are missing or broken are left
out, counted, and named in imagenet100.json. Interrupted, the same command goes on.
"""

import argparse
import sys
from pathlib import Path

try:
    from dn_mmdet.datasets import build_imagenet100
    from dn_mmdet.utils.errors import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
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
        help='one synset id a line; without it, the 100 classes that are shipped (the paper '
        'publishes 4 of its 100, which are among them)',
    )
    add(
        '--val-list',
        type=Path,
        metavar='FILE',
        help="labels of a val/ without class folders: the devkit's ground truth with meta.mat "
        "beside it, Caffe's val.txt, or Kaggle's LOC_val_solution.csv; without it, the first that "
        'is found in IMAGENET_ROOT',
    )
    add(
        '--val-share',
        type=float,
        default=0.2,
        help="share of each class's training images that is val",
    )
    add('--seed', type=int, default=0, help='seed of the draw of val')
    add(
        '--strict',
        action='store_true',
        help='end with status 1 where images are left out; the lists are written all the same',
    )
    add('--force', action='store_true', help='make the lists anew, with every image looked at')
    return parser.parse_args()


def main() -> None:
    """Make the lists, or say that they are there."""
    with user_errors():
        build_imagenet100(**vars(parse_args()))


if __name__ == '__main__':
    main()
