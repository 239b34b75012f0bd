"""The mask of an image by an exported network: onnx_predict.py model.onnx image.jpg mask.png

Needs numpy, Pillow and onnxruntime, nothing of medseg. Two classes become 0 and 255.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model, source, target = sys.argv[1:]
image = ImageOps.exif_transpose(Image.open(source)).convert("RGB")  # "L" for a grey network
session = onnxruntime.InferenceSession(model)
mask = session.run(["mask"], {"image": np.asarray(image)[None]})[0][0]  # uint8 [H, W]
Image.fromarray(mask * 255 if mask.max() <= 1 else mask).save(target)
