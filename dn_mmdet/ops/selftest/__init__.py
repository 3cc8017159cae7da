"""What every path computes on this machine, on a page that can be pasted into a report.

Run it with ``python -m dn_mmdet.ops.selftest``. It exits with 0 where the paths that would serve
are right, and with 1 otherwise.
"""

from .parts import Row, Task, run_all
from .report import failures, page

__all__ = ['Row', 'Task', 'failures', 'page', 'run_all']
