"""The names of the networks that open by name; free of torch, so that the command line lists them at once."""

from __future__ import annotations

EMBEDDED = "tiny-vgg16"

# functions of keras.applications by how each wants its pictures (see networks/keras_applications.py)
APPLICATION_FUNCTIONS = {
    "caffe": "VGG16 VGG19 ResNet50 ResNet101 ResNet152",
    "tf": "ResNet50V2 ResNet101V2 ResNet152V2 InceptionV3 InceptionResNetV2 Xception MobileNet MobileNetV2 "
    "NASNetMobile NASNetLarge",
    "torch": "DenseNet121 DenseNet169 DenseNet201",
    "built-in": "MobileNetV3Small MobileNetV3Large EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 "
    "EfficientNetB4 EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 "
    "EfficientNetV2B3 EfficientNetV2S EfficientNetV2M EfficientNetV2L ConvNeXtTiny ConvNeXtSmall ConvNeXtBase "
    "ConvNeXtLarge ConvNeXtXLarge",
}


def network_names() -> list[str]:
    """The networks that open by name."""
    return [EMBEDDED, *(name.lower() for group in APPLICATION_FUNCTIONS.values() for name in group.split())]
