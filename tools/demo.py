"""Compare BN with DN-B on the embedded data; if interrupted, the same command resumes."""

import argparse
import os
import sys
from typing import Any

# Threads that wait soon go to sleep, see tools/train.py. Read when torch is imported.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict[str, Any]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--work-root', default='work_dirs', help='folder of the runs')
    parser.add_argument(
        '--seed', type=whole_number(0, 2**32 - 1), default=0, help='seed of every run'
    )
    return vars(parser.parse_args())


if __name__ == '__main__':
    with user_errors():
        from dn_mmdet.experiments.demo import run_demo

        run_demo(**parse_args())
