"""Tables as text, see :mod:`dn_mmdet.markdown`."""

from ..markdown import markdown_lines, markdown_table

__all__ = ['markdown_lines', 'markdown_table']
