"""The look of a video endoscope: tone, blur, colour fringes, noise, black border and text."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Video:
    """The look that all frames of one sequence share. Lengths are shares of the height."""

    border: str  # "none", "octagon" (cut corners), "inset" (rounded, with a margin), "round"
    margin: float
    cut: float
    box: float  # side of the black corner box where the insertion tube is drawn, 0 for none
    black: tuple[int, int, int]
    text: bool
    stamp: tuple[int, ...]  # day, month, year, second of the recording, case number; all invented
    text_at: tuple[float, float]
    exposure: float
    vignette: float
    blur: float  # in pixels at 256
    fringe: float  # in pixels at 256
    noise: float  # grey levels


def draw_video(rng: np.random.Generator) -> Video:
    """The look of a sequence, drawn at random."""
    border = str(rng.choice(["none", "octagon", "inset", "round"], p=[0.3, 0.4, 0.2, 0.1]))
    stamp = rng.integers([1, 1, 2009, 0, 100], [29, 13, 2024, 86000, 9999])
    margin = float(rng.uniform(0.02, 0.07))
    cut = float(rng.uniform(0.16, 0.3))
    boxed = border == "octagon" and rng.random() < 0.4
    box = float(rng.uniform(0.24, 0.34)) if boxed else 0.0
    return Video(
        border=border,
        margin=margin,
        cut=cut,
        box=box,
        black=tuple(int(v) for v in rng.integers(0, 14) + rng.integers(-2, 3, 3).clip(0)),
        text=bool(rng.random() < 0.4),
        stamp=tuple(int(v) for v in stamp),
        text_at=(float(rng.uniform(0.01, 0.03)), float(rng.uniform(0.1, 0.3))),
        exposure=float(np.exp(rng.normal(0, 0.3))),
        vignette=float(rng.uniform(0.05, 0.4)),
        blur=float(rng.uniform(0.4, 0.9)),
        fringe=float(rng.choice([0.0, 0.6, 1.2]) * rng.uniform(-1, 1)),
        noise=float(rng.uniform(1.0, 4.0)),
    )


def develop(
    light: np.ndarray, video: Video, rng: np.random.Generator, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 RGB [H, W, 3] from linear light [3, H, W], and where the scene is seen.

    That is uint8 [H, W]: 1 there, 0 on the border.
    """
    _, height, width = light.shape
    unit = height / 256
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    gain = video.exposure * np.exp(rng.normal(0, 0.04)) * 1.9
    lens = np.float32(gain) * (1 - np.float32(video.vignette) * 0.5 * (x * x + y * y))
    out_of_focus = rng.random() < 0.12
    focus = rng.uniform(1.6, 2.8) if out_of_focus else rng.uniform(0.9, 1.15)
    sigma = video.blur * unit * focus
    shake = motion(rng, unit) if rng.random() < 0.25 else None
    planes = []
    for channel, plane in enumerate(light):
        plane = cv2.sqrt(1 - cv2.exp(-(plane * lens))) * np.float32(255)
        plane = cv2.GaussianBlur(plane, (0, 0), sigma)
        if shake is not None:
            plane = cv2.filter2D(plane, -1, shake)
        if video.fringe and channel != 1:
            move = np.array([[1, 0, (channel - 1) * video.fringe * unit], [0, 1, 0]], np.float32)
            plane = cv2.warpAffine(plane, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        planes.append(plane)
    image = cv2.merge(planes)
    half = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 3), np.float32)
    image += cv2.resize(half, (width, height)) * np.float32(video.noise)
    image += rng.standard_normal((height, width, 1), np.float32) * np.float32(video.noise * 0.6)
    image = np.clip(image, 0, 255).astype(np.uint8)
    seen = window(video, height, width)
    image[seen == 0] = video.black
    if video.text:
        write(image, video, frame)
    return image, seen


def motion(rng: np.random.Generator, unit: float) -> np.ndarray:
    """A blur kernel along a random direction, up to 7 pixels long at 256."""
    side = 2 * max(1, round(3.5 * unit)) + 1
    direction = rng.uniform(0, np.pi)
    reach = rng.uniform(0.8, 3.5) * unit * np.array([np.cos(direction), np.sin(direction)])
    kernel = np.zeros((side, side), np.float32)
    ends = np.round((np.stack([-reach, reach]) + side // 2) * 16).astype(int)  # 1/16 of a pixel
    start, end = ends.tolist()
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_AA, 4)
    return kernel / kernel.sum()


def window(video: Video, height: int, width: int) -> np.ndarray:
    """uint8 [height, width]: 1 where the endoscope shows the scene."""
    seen = np.full((height, width), 1, np.uint8)
    if video.border == "none":
        return seen
    seen[:] = 0
    if video.border == "round":
        cv2.circle(seen, (width // 2, height // 2), round(height * (0.54 + video.margin)), 1, -1)
    else:
        inset = round(height * video.margin) if video.border == "inset" else 0
        cut = round(height * video.cut * (0.7 if inset else 1.0))
        left, top, right, bottom = inset, inset // 2, width - 1 - inset, height - 1 - inset // 2
        corners = [
            (left + cut, top),
            (right - cut, top),
            (right, top + cut),
            (right, bottom - cut),
            (right - cut, bottom),
            (left + cut, bottom),
            (left, bottom - cut),
            (left, top + cut),
        ]
        cv2.fillPoly(seen, [np.array(corners, np.int32)], 1)
    if video.box:
        side = round(height * video.box)
        seen[height - side :, :side] = 0
    return seen


def write(image: np.ndarray, video: Video, frame: int) -> None:
    """Invented recording data in the style of a video processor, drawn onto the picture."""
    height = image.shape[0]
    left, top = video.text_at
    scale, thickness = height / 256 * 0.55, max(1, height // 256)
    font, grey = cv2.FONT_HERSHEY_PLAIN, (205, 210, 205)
    day, month, year, second, case = video.stamp
    second += frame
    lines = [
        f"{day:02d}/{month:02d}/{year}",
        f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}",
        f"No. {case}",
        "Ct:N  A3",
    ]
    for row, line in enumerate(lines):
        at = (round(height * left), round(height * (top + 0.045 * row)))
        cv2.putText(image, line, at, font, scale, grey, thickness, cv2.LINE_AA)
