"""Train TC-CLIP on a few clips a label: train_tc_clip.py SUPPORT MODEL [BASE] [EPOCHS]

BASE is a CLIP with a plain ViT (default `clip`, fetched by `vlar models get clip`). A GPU is used
where torch finds one.
"""

import sys

import vlar

support, target, *others = sys.argv[1:]
base, epochs = (others + ["clip", "50"][len(others) :])[:2]
model = vlar.load(base)
mine = model.adapt(support, method="tc-clip", settings={"epochs": int(epochs)})
print(mine.report.summary())
mine.save(target, replace=True)
figures = mine.evaluate(support)  # of the examples themselves: use held-out clips for a figure
print(f"accuracy on the examples: {figures.top1:.0%}")
