"""All cases of a benchmark: what is missing is measured, then table and picture are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...utils.files import check_output_folder
from ...utils.progress import Progress
from ..environment import describe_environment, process_settings, usable_device
from .cases import ModelCase
from .growth import write_growth
from .measure import measure_case
from .report import write_benchmark
from .results import ResultFile

__all__ = ['run_benchmark']

# Each takes the results and a folder, and returns the text, the files and whether no limit is
# missed.
REPORTS = {'benchmark': write_benchmark, 'growth': write_growth}


def run_benchmark(
    cases: Sequence[ModelCase],
    out: str | Path = 'work_dirs/benchmark',
    device: str = 'cpu',
    threads: int | None = None,
    report: str = 'benchmark',
) -> bool:
    """Measure every case that the result file does not hold yet, then write and print the report.

    A finished case is in the file at once; an interrupted one starts again. Cases count as finished
    when machine, versions, code and process settings are the same.

    Args:
        cases (Sequence[ModelCase]): What to measure.
        out (str | Path): Folder of ``benchmark.json``, ``benchmark.md`` and ``ratios.png``, or
            of ``growth.json``, ``.md`` and ``.png``. Defaults to 'work_dirs/benchmark'.
        device (str): 'cpu', 'cuda' or 'cuda:N'. Defaults to 'cpu'.
        threads (int, optional): Defaults to as many as torch chooses.
        report (str): 'benchmark', or 'growth' for the cases of that preset. Defaults to
            'benchmark'.

    Returns:
        bool: Whether no limit was missed.

    Raises:
        UserError: A device, model or input that cannot be used, or a foreign file in ``out``.
        KeyboardInterrupt: The message says how to continue.
    """
    check_output_folder(out, '--out')
    device, out = usable_device(device), Path(out)
    with process_settings(threads):
        results = ResultFile(out / f'{report}.json', describe_environment(device))
        if results.set_aside:
            print(
                'Results from another machine, code version or settings were moved to '
                f'{results.set_aside}'
            )
        try:
            _measure(cases, results, device)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f'{len(results.cells)} cases are in {results.file}; the same command continues '
                'with those that are missing'
            ) from None
    text, files, met = REPORTS[report](results, out)
    print(f'\n{text}\nIn {out}/: {", ".join([f"{report}.json", *files])}')
    return met


def _measure(cases: Sequence[ModelCase], results: ResultFile, device: torch.device) -> None:
    progress = Progress({case.name: case.cost for case in cases})
    for case in cases:
        if results.find(case):
            progress.skip(case.name, 'there already')
            continue
        step = progress.start(case.name)
        cell = measure_case(
            case, device, lambda done, of, step=step: step.show(done / of, f'round {done}/{of}')
        )
        results.add(cell)
        step.finish(
            ', '.join(f'{row["norm"]} {row["ratio"]:.2f}' for row in cell['rows'][1:]) or 'done'
        )
