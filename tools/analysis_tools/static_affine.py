"""Test a DN checkpoint as it is, then with alpha and lambda of each layer held at their means.

The drop in the second test is what computing scale and shift per sample contributes.
"""

import argparse
import os
import sys

os.environ.setdefault('GOMP_SPINCOUNT', '2000')  # see tools/train.py

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='configuration file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for logs, as for tools/test.py')
    parser.add_argument('--out', metavar='FILE', help='JSON file for both sets of metrics')
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


def main() -> None:
    args = parse_args()
    with user_errors():
        from dn_mmdet.analysis.static_affine import static_affine

        static_affine(**args)


if __name__ == '__main__':
    main()
