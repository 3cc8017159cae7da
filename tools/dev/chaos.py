"""Train in several processes, let things happen to them, and compare with a calm run.

At random moments processes of the run are killed by SIGKILL, told to end by SIGTERM or stopped by
SIGSTOP: all of them, one, one that loads data, the launcher. Whenever the run has ended it is
started again with --resume. Its weights, optimizer, schedule and log must be those of a run of the
same seed that nothing happened to, bit for bit on CPU; while there is time, another run follows.
If interrupted, the same command goes on. Nothing is left running.
"""

import argparse
import os
import sys
from pathlib import Path

# See tools/train.py.
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

try:
    from dn_mmdet.engine import CfgOptions
    from dn_mmdet.utils.errors import user_errors
    from dn_mmdet.utils.text import HelpFormatter, whole_number
except ImportError as error:  # a missing package or an unsupported version
    sys.exit(f'error: {error}')


def parse_args() -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add('config', nargs='?', help='configuration; without it, a short run on the embedded digits')
    add('--work-dir', type=Path, default=Path('work_dirs/chaos'), help='folder of all runs')
    add('--processes', type=whole_number(1), default=2, help='of the run')
    add('--minutes', type=whole_number(0), default=30, help='how long things happen')
    add('--faults', type=whole_number(0), help='how many things happen at most')
    add(
        '--every',
        type=whole_number(0),
        default=60,
        metavar='SECONDS',
        help='mean time between two of them',
    )
    add(
        '--kinds',
        nargs='+',
        metavar='WORD',
        help='only those with one of these words in their name',
    )
    add('--seed', type=whole_number(0), help='of what happens when; without it, drawn and printed')
    CfgOptions.add_to(parser)
    return vars(parser.parse_args())


if __name__ == '__main__':
    with user_errors():
        from dn_mmdet.experiments.chaos import run_chaos

        run_chaos(**parse_args())
