"""The former name of ``python -m dn_mmdet.benchmark``, for scripts that call it."""

import runpy

__all__ = []

if __name__ == '__main__':
    # By name and not imported: imports run downward only.
    runpy.run_module('dn_mmdet.benchmark', run_name='__main__', alter_sys=True)
