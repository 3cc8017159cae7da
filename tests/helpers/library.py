"""Whether the C++ operators were built; every environment with a compiler has them."""

import pytest

from dn_mmdet.ops.backends import cpp

NEEDS_LIBRARY = pytest.mark.skipif(bool(cpp.why_absent()), reason=cpp.why_absent() or 'absent')
