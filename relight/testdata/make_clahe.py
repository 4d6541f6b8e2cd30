"""Makes clahe_in.bin and clahe_out.bin: a grey 64x48 picture and what OpenCV's CLAHE makes of it.

Run in this folder with opencv-python-headless (4.6 or newer) and numpy: python3 make_clahe.py
"""

import cv2
import numpy as np

rng = np.random.default_rng(7)
y, x = np.mgrid[0:48, 0:64]
grey = 20 + 60 * np.exp(-((x - 40) ** 2 + (y - 20) ** 2) / 200) + 0.4 * y + rng.normal(0, 3, (48, 64))
grey = np.clip(grey, 0, 255).astype(np.uint8)
grey.tofile("clahe_in.bin")
cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(grey).tofile("clahe_out.bin")
