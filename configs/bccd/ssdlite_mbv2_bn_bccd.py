# SSDLite with BN in the backbone on photographs of blood cells, 320 pixels.
_base_ = '../_base_/ssdlite_mbv2_bccd.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN', eps=1e-5)))
