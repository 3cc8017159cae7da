# The detector of the paper's Table 5 with DN over GroupNorm in the backbone, whose statistics do not
# depend on the batch; it is not in the paper (its section 5, future work). 8 groups divide every
# width of the network. The backbone starts at random: there are no weights for it.
_base_ = '_base_/ssdlite_mbv2_coco.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(
            _delete_=True,
            type='DNGN',
            num_groups=8,
            r=16,
            g='oup',
            eps=1e-3,
        ),
        init_cfg=None,
    )
)
