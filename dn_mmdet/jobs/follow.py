"""What the output of a training tells of how far it is."""

import re
from collections.abc import Callable, Iterable
from typing import TextIO

__all__ = ['follow']

# mmengine's log lines: "Epoch(train)  [2][ 50/187]  lr: ... eta: ... loss: 4.2 ..." and
# "Iter(train) [ 50/400]  lr: ...".
ITERATION = re.compile(
    r'(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].*?\bloss: ([\d.a-z]+)'
)
METRIC = re.compile(r'(?:Epoch|Iter)\(val\)\s.*?(coco/bbox_mAP|accuracy/top1): ([\d.]+)')


def follow(
    lines: Iterable[str], log: TextIO, epochs: int | None, report: Callable[[float, str], None]
) -> None:
    """Copy lines to a file as they come, and tell what they say.

    Args:
        lines (Iterable[str]): of the process.
        log (TextIO): gets each at once.
        epochs (int, optional): that the training has; None where it counts iterations alone.
        report (Callable[[float, str], None]): told the share done, 0 to 1, and how it stands.
    """
    metric = ''
    for line in lines:
        log.write(line)
        log.flush()
        if found := METRIC.search(line):
            metric = f', {found[1].split("/")[1].removeprefix("bbox_")} {found[2]}'
        if found := ITERATION.search(line):
            epoch, step, steps, loss = found.groups()
            share, where = int(step) / int(steps), ''
            if epoch is not None and epochs:
                share, where = (int(epoch) - 1 + share) / epochs, f'epoch {epoch}/{epochs}, '
            report(share, f'{where}iteration {step}/{steps}, loss {loss}{metric}')
