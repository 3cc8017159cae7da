"""Time and memory of norms: of one layer, with torch alone, and of whole models.

``python -m dn_mmdet.benchmark`` compares BN with DN-B on each of its paths as a layer;
:mod:`dn_mmdet.benchmark.models` compares norms in models, which needs mmdet.
"""

from .case import LAYOUTS, MODES, Case
from .environment import describe_environment, process_settings
from .memory import Memory, measure_memory
from .timing import Timing, choose_number, summarize_times, time_interleaved

__all__ = [
    'LAYOUTS',
    'MODES',
    'Case',
    'Memory',
    'Timing',
    'choose_number',
    'describe_environment',
    'measure_memory',
    'process_settings',
    'summarize_times',
    'time_interleaved',
]
