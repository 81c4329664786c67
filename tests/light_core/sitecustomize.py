"""Makes the libraries of the extras absent in every process that has this folder in PYTHONPATH.

``VLAR_TEST_ABSENT`` names more of them.
"""

import os
import sys

ABSENT = {
    "torch", "torchvision", "transformers", "peft", "accelerate", "open_clip",
    "sentence_transformers", "tokenizers", "huggingface_hub", "scipy", "sklearn", "onnx", "tflite",
    *os.environ.get("VLAR_TEST_ABSENT", "").split(),
}  # fmt: skip


class _Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, _Absent())
