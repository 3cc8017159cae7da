"""Every path against float64 over shapes, layouts, dtypes, modes and options."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dn_mmdet.ops.activation import bounds_of
from dn_mmdet.ops.backends import cpp
from tests.helpers.operator_cases import cases, error_scales, in_float64, run
from tests.helpers.tolerances import assert_rounded, rounding

PATHS = ['reference', 'aten'] if cpp.why_absent() else ['reference', 'aten', 'cpp']


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(case=cases(), recompute=st.booleans())
def test_equals_float64(case, recompute):
    wide = in_float64(case)
    scales = error_scales(wide)
    bounds = bounds_of(case.options['activation'])
    if bounds:
        # Where float32 cannot say whether the activation is open, no gradient is sent.
        plain = replace(wide, options=case.options | {'activation': None})
        y = run(plain, 'reference')['y']
        near = rounding(y, case.x.dtype, scales['y'])
        closed = torch.stack([(y - bound).abs() <= near for bound in bounds]).any(0)
        case = replace(case, dy=case.dy.masked_fill(closed, 0))
        wide = in_float64(case)
    expected = run(wide, 'reference')
    for path in PATHS:
        found = run(case, path, recompute)
        assert found.keys() == expected.keys()
        for name, value in found.items():
            dtype = case.x.dtype if name in ('y', 'x.grad', 'k.grad') else torch.float32
            assert value.dtype == dtype
            assert_rounded(value, expected[name], dtype, scales[name], f'{path}: {name}')
