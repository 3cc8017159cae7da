"""The command line of the self-test."""

import argparse
import sys

from ...utils.text import HelpFormatter
from . import failures, page, run_all


def main() -> int:
    """Run all parts and print the page."""
    argparse.ArgumentParser(
        prog='python -m dn_mmdet.ops.selftest',
        description='Hold all operators of dn_mmdet against plain PyTorch on this machine, and '
        'print a page for a report. Exits with 0 if those that would serve are right. Set '
        "TRITON_INTERPRET=1 to run the Triton kernels without a GPU, in Triton's interpreter.",
        formatter_class=HelpFormatter,
    ).parse_args()
    rows = run_all(lambda text: print(text, file=sys.stderr, flush=True))
    print(page(rows), flush=True)
    return int(bool(failures(rows)))


if __name__ == '__main__':
    sys.exit(main())
