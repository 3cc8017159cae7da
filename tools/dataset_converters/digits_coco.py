"""Make the embedded benchmark: handwritten digits on photographs, as COCO.

Nothing is downloaded: the digits come with scikit-learn, the photographs with scikit-learn and
scikit-image. Validation uses digits and photographs that training does not.
"""

import argparse
import sys
from pathlib import Path

try:
    from dn_mmdet.datasets import DigitsSpec, build_digits_coco
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import HelpFormatter
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add('--out', type=Path, default=Path('data/digits'), help='folder to make')
    add('--train', type=int, default=3000, help='images in train2017')
    add('--val', type=int, default=500, help='images in val2017')
    add('--crops-train', type=int, default=8000, help='single-digit crops in crops/train')
    add('--crops-val', type=int, default=1000, help='single-digit crops in crops/val')
    add('--image-size', type=int, default=160, help='side of the images in pixels')
    add('--crop-size', type=int, default=80, help='side of the crops in pixels')
    add('--seed', type=int, default=0, help='same seed, same bytes')
    add(
        '--preview',
        type=Path,
        nargs='?',
        const=Path(),
        metavar='FILE',
        help='draw a contact sheet with boxes and labels; without FILE, OUT/preview.png',
    )
    add('--force', action='store_true', help='replace a data set made with other arguments')
    return parser.parse_args()


def main() -> None:
    """Make the data set, or say that it is there."""
    args = vars(parse_args())
    out, preview, force = args.pop('out'), args.pop('preview'), args.pop('force')
    if preview == Path():
        preview = out / 'preview.png'
    with user_errors():
        build_digits_coco(out, DigitsSpec(**args), force=force, preview=preview)


if __name__ == '__main__':
    main()
