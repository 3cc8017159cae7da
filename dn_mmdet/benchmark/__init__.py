"""Time and memory of operators and models, measured with torch alone.

``python -m dn_mmdet.ops.benchmark`` compares one norm layer, BN against DN-B on each of its paths.
"""

from ..utils.files import write_json
from .environment import LAYOUTS, MODES, describe_environment, process_settings
from .memory import Memory, measure_memory
from .timing import Timing, choose_number, summarise_times, time_interleaved

__all__ = [
    'LAYOUTS',
    'MODES',
    'Memory',
    'Timing',
    'choose_number',
    'describe_environment',
    'measure_memory',
    'process_settings',
    'summarise_times',
    'time_interleaved',
    'write_json',
]
