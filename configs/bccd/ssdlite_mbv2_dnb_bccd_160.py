# SSDLite with DN-B (r=16, g=oup) in the backbone on photographs of blood cells, 160 pixels; it
# starts from the same BN weights.
_base_ = '../_base_/ssdlite_mbv2_bccd_160.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-5)))
