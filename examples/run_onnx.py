"""Run a model of `vlar export MODEL model.onnx` without vlar: onnxruntime, av, numpy, pillow."""

import json
import sys

import av
import numpy as np
import onnxruntime
from PIL import Image


def frames(path, count, size, fit):
    """COUNT frames at equal distances, as the model takes them: (T, height, width, 3) uint8."""
    with av.open(path) as video:
        shown = [frame.to_image() for frame in video.decode(video=0)]
    picked = [shown[int((i + 0.5) * len(shown) / count)] for i in range(count)]
    return np.stack([np.asarray(fitted(picture, *size, fit)) for picture in picked])


def fitted(picture, width, height, fit):
    if fit == "crop":  # the shorter side, then the centre
        scale = max(width / picture.width, height / picture.height)
        wide, high = round(picture.width * scale), round(picture.height * scale)
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = (wide - width) // 2, (high - height) // 2
        return picture.crop((left, top, left + width, top + height))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


session = onnxruntime.InferenceSession(sys.argv[1])
facts = session.get_modelmeta().custom_metadata_map
count, height, width, _ = session.get_inputs()[0].shape
for path in sys.argv[2:]:
    clip = frames(path, count, (width, height), facts["fit"])
    (shares,) = session.run(["probabilities"], {"frames": clip})
    ranked = sorted(zip(shares, json.loads(facts["labels"]), strict=True), reverse=True)
    print(path, *(f"{label} {share:.1%}" for share, label in ranked[:3]), sep="  ")
