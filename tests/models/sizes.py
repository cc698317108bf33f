"""Knobs that make each model as small as it goes, so that the contract tests take seconds."""

TINY = {"encoder": "tu-test_efficientnet"}
SHALLOW = TINY | {"decoder_channels": [32, 16, 16, 8, 8]}

SMALL: dict[str, dict[str, object]] = {
    "attention_unet": {"width": 8},
    "resunet": {"width": 8},
    "deeplabv3plus": TINY,
    "fcn8s": {"width": 8},
    "resnet50v2_unet": {"width": 8},
    "segnet": {"width": 8},
    "smp_deeplabv3": TINY | {"decoder_channels": 16},
    "smp_deeplabv3plus": TINY | {"decoder_channels": 16},
    "smp_dpt": {
        "encoder": "tu-test_vit",
        "decoder_intermediate_channels": [8, 16, 16, 16],
        "decoder_fusion_channels": 8,
    },
    "smp_fpn": TINY | {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 64},
    "smp_linknet": TINY,
    "smp_manet": TINY | {"decoder_channels": [64, 64, 64, 64, 64]},
    "smp_pan": TINY,
    "smp_pspnet": TINY | {"encoder_depth": 5, "psp_out_channels": 32},
    "smp_segformer": TINY | {"decoder_segmentation_channels": 32},
    "smp_unet": SHALLOW,
    "smp_unetplusplus": SHALLOW,
    "smp_upernet": TINY | {"decoder_channels": 32},
    "swin_unet": {"embed": 8, "heads": 1},
    "transunet": {"width": 8, "hidden": 16, "layers": 2, "heads": 2},
    "reverse_attention_unet": {"width": 8},
    "rfe_unet": {"encoder": "resnet18", "width": 8},
    "unet": {"width": 8},
    "unetplusplus": {"width": 4},
    "unext": {"size": "small"},
    "pranet": {"width": 8, "channels": 8},
}

IDLE: dict[str, tuple[str, ...]] = {  # beginnings of the names of parameters that the logits do not depend on
    "smp_dpt": ("net.encoder.model.norm.",),  # follows the last map that the decoder takes
    "smp_pan": ("net.decoder.fpa.",),  # biases before a batch normalisation, which takes them out again
}
