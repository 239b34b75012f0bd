"""example.png: input, true mask and prediction of three scenes; run after `make demo`."""

from pathlib import Path

import cv2
import numpy as np

from medseg import Predictor

SCENES = Path("demo/synthetic/test")
NAMES = ("seq182_frame00", "seq185_frame02", "seq197_frame00")  # quartiles of the Dice
HEIGHT, WIDTH, GAP = 200, 200, 8


def tile(picture: np.ndarray) -> np.ndarray:
    """The middle of a picture at the height of the figure, grey as colour."""
    colour = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
    width = round(colour.shape[1] * HEIGHT / colour.shape[0])
    small = cv2.resize(colour, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    left = max(0, width - WIDTH) // 2
    small = small[:, left : left + WIDTH]
    return np.pad(small, ((0, 0), (0, WIDTH - small.shape[1]), (0, 0)))


def row(name: str, predictor: Predictor) -> np.ndarray:
    """Input, true mask and prediction side by side."""
    file = next(SCENES.glob(f"images/{name}.*"))
    image = cv2.imread(str(file))
    truth = cv2.imread(str(SCENES / "masks" / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
    tiles = [tile(image), tile(truth), tile(predictor(file) * 255)]
    gap = np.full((HEIGHT, GAP, 3), 255, np.uint8)
    return np.hstack([tiles[0], gap, tiles[1], gap, tiles[2]])


predictor = Predictor.load("demo/run")
rows = [row(name, predictor) for name in NAMES]
gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
figure = np.vstack([rows[0], gap, rows[1], gap, rows[2]])
cv2.imwrite(str(Path(__file__).with_name("example.png")), figure, [cv2.IMWRITE_PNG_COMPRESSION, 9])
