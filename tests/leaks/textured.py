"""Generated data sets with enough texture for local features."""

import cv2
import numpy as np


def scenes(root, parts):
    """A folder of parts, the images of which are named by their numbers; frame n shows a scene of
    its own.
    """
    for part, numbers in parts.items():
        for kind in ("images", "masks"):
            (root / part / kind if part else root / kind).mkdir(parents=True)
        for number in numbers:
            rng = np.random.default_rng(number)
            noise = sum(
                cv2.resize(
                    rng.normal(0, 40, (160 // s, 200 // s)),
                    (200, 160),
                    interpolation=cv2.INTER_CUBIC,
                )
                for s in (4, 9)
            )
            image = np.clip(noise[..., None] + rng.uniform(60, 180, 3), 40, 250).astype(np.uint8)
            mask = np.zeros((160, 200), np.uint8)
            if number % 5:  # every fifth is empty
                cv2.circle(mask, (100, 80), 8 + 3 * (number % 11), 255, -1)
            folder = root / part if part else root
            cv2.imwrite(str(folder / "images" / f"f{number}.png"), image)
            cv2.imwrite(str(folder / "masks" / f"f{number}.png"), mask)
    return root
