"""Made-up results of the benchmark of models."""

from dataclasses import asdict

from dn_mmdet.benchmark.models.results import ResultFile


def row(norm, ratio=1.0, rounds=9, saved_ratio=1.0):
    """A norm in a case."""
    return dict(
        norm=norm,
        path='cpp' if 'DN' in norm else None,
        seconds=0.1 * ratio,
        seconds_q1=0.09 * ratio,
        seconds_q3=0.11 * ratio,
        ratio=ratio,
        ratio_q1=ratio - 0.02,
        ratio_q3=ratio + 0.02,
        rounds=rounds,
        saved=2**20,
        saved_ratio=saved_ratio,
        peak=2**21,
        peak_ratio=1.0,
    )


def measured(cell, **ratios):
    """A case with BN and these norms."""
    return dict(
        asdict(cell),
        left_out={},
        rows=[row('BN'), *(row(norm, ratio) for norm, ratio in ratios.items())],
    )


def results(tmp_path, *cells, **environment):
    """A file of such cases."""
    found = ResultFile(
        tmp_path / 'benchmark.json', dict(dict(device='cpu', threads=2), **environment)
    )
    for cell in cells:
        found.add(cell)
    return found
