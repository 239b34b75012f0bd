"""Random changes of a whole batch at once, on the device.

First come the parameters of each sample, then one warp, one optional blur and one colour matrix.
The same code runs on CPU and GPU, and image and mask share one warp.

Parameters come from `randomness.uniforms`, hence from (seed, epoch, sample name) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.config import Augment
from medseg.data.randomness import uniforms
from medseg.preprocessing import Preprocessing

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# columns of `uniforms`: appended to, never reordered, so that old runs can be repeated
(
    SCALE,
    SHIFT_X,
    SHIFT_Y,
    ROTATE,
    HFLIP,
    VFLIP,
    BRIGHTNESS,
    CONTRAST,
    SATURATION,
    HUE,
    BLUR_ON,
    BLUR,
    COUNT,
) = range(13)


@dataclass(frozen=True)
class Parameters:
    """One row per sample, float32 numpy [B] each."""

    scale: np.ndarray  # zoom; 1 keeps a source pixel's size
    shift_x: np.ndarray  # -1 to 1, share of the room there is for a shift
    shift_y: np.ndarray
    angle: np.ndarray  # radians
    flip_x: np.ndarray  # 1 or -1
    flip_y: np.ndarray
    brightness: np.ndarray  # factor
    contrast: np.ndarray  # factor
    saturation: np.ndarray  # factor
    hue: np.ndarray  # radians on the colour circle
    sigma: np.ndarray  # of the blur, in output pixels


def sample(strength: Augment, seed: int, epoch: int, keys: np.ndarray) -> Parameters:
    """The parameters of the samples with these name `keys` (uint64 [B]) in this epoch."""
    u = uniforms(seed, epoch, keys, COUNT)
    signed = 2 * u - 1
    low, high = np.log(strength.scale[0]), np.log(strength.scale[1])
    return Parameters(
        scale=np.exp(low + (high - low) * u[:, SCALE]),  # log-uniform: as much zooming in as out
        shift_x=signed[:, SHIFT_X],
        shift_y=signed[:, SHIFT_Y],
        angle=np.deg2rad(strength.rotate) * signed[:, ROTATE],
        flip_x=np.where(u[:, HFLIP] < strength.hflip, -1.0, 1.0),
        flip_y=np.where(u[:, VFLIP] < strength.vflip, -1.0, 1.0),
        brightness=1 + strength.brightness * signed[:, BRIGHTNESS],
        contrast=1 + strength.contrast * signed[:, CONTRAST],
        saturation=1 + strength.saturation * signed[:, SATURATION],
        hue=2 * np.pi * strength.hue * signed[:, HUE],
        sigma=np.where(u[:, BLUR_ON] < 0.5, strength.blur * u[:, BLUR], 0.0),
    )


def neutral(count: int) -> Parameters:
    """Parameters that change nothing."""
    zero, one = np.zeros(count, np.float32), np.ones(count, np.float32)
    return Parameters(
        scale=one,
        shift_x=zero,
        shift_y=zero,
        angle=zero,
        flip_x=one,
        flip_y=one,
        brightness=one,
        contrast=one,
        saturation=one,
        hue=zero,
        sigma=zero,
    )


def warp_matrices(
    p: Parameters, source: tuple[int, int], size: tuple[int, int], translate: float
) -> np.ndarray:
    """float32 [B, 2, 3]: from normalised output to normalised source coordinates.

    Ready for `sampling_grid`. In pixels about the centres, source = shift + Rotation * Flip *
    output / scale. The shift may use all of the room that the source has beyond the window, and
    `translate` of the window on top.
    """
    source_h, source_w = source
    height, width = size
    room_x = np.maximum(0, source_w - width / p.scale) / 2 + translate * width / p.scale
    room_y = np.maximum(0, source_h - height / p.scale) / 2 + translate * height / p.scale
    cos, sin = np.cos(p.angle) / p.scale, np.sin(p.angle) / p.scale
    matrix = np.empty((len(p.scale), 2, 3), np.float32)
    matrix[:, 0, 0] = cos * p.flip_x * width / source_w
    matrix[:, 0, 1] = -sin * p.flip_y * height / source_w
    matrix[:, 0, 2] = 2 * p.shift_x * room_x / source_w
    matrix[:, 1, 0] = sin * p.flip_x * width / source_h
    matrix[:, 1, 1] = cos * p.flip_y * height / source_h
    matrix[:, 1, 2] = 2 * p.shift_y * room_y / source_h
    return matrix


def sampling_grid(matrix: Tensor, size: tuple[int, int]) -> Tensor:
    """float [B, H, W, 2]: the grid of `F.affine_grid` without align_corners.

    That function multiplies matrices where a sum of two terms is enough.
    """
    kind = {"device": matrix.device, "dtype": matrix.dtype}
    y, x = ((2 * torch.arange(side, **kind) + 1) / side - 1 for side in size)
    grid = torch.empty((len(matrix), *size, 2), **kind)
    for axis in (0, 1):
        by_x, by_y, shift = matrix[:, axis].unbind(1)
        along_y = by_y[:, None] * y + shift[:, None]
        along_x = by_x[:, None] * x
        torch.add(along_y[:, :, None], along_x[:, None, :], out=grid[..., axis])
    return grid


def warp(
    image: Tensor, mask: Tensor, matrix: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Image float [B, C, h, w] (bilinear) and mask uint8 [B, h, w] (nearest) through one grid.

    Returns image float [B, C, H, W] and mask uint8 [B, H, W], mirrored at the border, which keeps
    every pixel labelled.
    """
    grid = sampling_grid(matrix, size)
    image = _sample_at(image, grid, "bilinear")
    return image, _warp_mask(mask, grid)


def _warp_mask(mask: Tensor, grid: Tensor) -> Tensor:
    return _sample_at(mask[:, None].to(grid.dtype), grid, "nearest")[:, 0].to(torch.uint8)


def _sample_at(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    """The values of an image at a grid, mirrored at the border."""
    return F.grid_sample(image, grid, mode=mode, padding_mode="reflection", align_corners=False)


def blur(image: Tensor, sigma: Tensor, highest: float) -> Tensor:
    """Gaussian blur of [B, C, H, W] with one `sigma` per sample, [B] in pixels.

    0 leaves a sample as it is; `highest`, the largest sigma possible, sets the kernel size.
    """
    radius = max(1, int(np.ceil(3 * highest)))
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    spread = sigma.to(image.dtype).clamp(min=1e-3)[:, None]
    weights = torch.exp(-0.5 * (x / spread) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(image.shape[1], 0)
    planes = image.flatten(0, 1)[None]  # each channel of each sample is a group of its own
    groups = planes.shape[1]
    padded = F.pad(planes, (radius, radius, 0, 0), mode="replicate")
    planes = F.conv2d(padded, weights[:, None, None, :], groups=groups)
    padded = F.pad(planes, (0, 0, radius, radius), mode="replicate")
    planes = F.conv2d(padded, weights[:, None, :, None], groups=groups)
    return planes[0].view_as(image)


def colour_matrices(p: Parameters, channels: int) -> np.ndarray:
    """float32 [B, C, C]: saturation, then hue, then brightness and contrast, as one linear map.

    Hue turns the colour about the grey axis in YIQ space. Contrast scales about the image's own
    mean, which `colour` adds.
    """
    gain = (p.brightness * p.contrast).astype(np.float32)[:, None, None]
    if channels != 3:
        return gain * np.eye(channels, dtype=np.float32)
    luma = np.asarray(LUMA, np.float32)
    to_yiq = np.stack([luma, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    to_yiq = to_yiq.astype(np.float32)
    turn = np.zeros((len(p.hue), 3, 3), np.float32)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = p.saturation * np.cos(p.hue)
    turn[:, 1, 2] = -p.saturation * np.sin(p.hue)
    turn[:, 2, 1] = p.saturation * np.sin(p.hue)
    return gain * (np.linalg.inv(to_yiq) @ turn @ to_yiq).astype(np.float32)


def colour(
    image: Tensor, matrix: Tensor, contrast: Tensor, brightness: Tensor, mean: Tensor, std: Tensor
) -> Tensor:
    """[B, C, H, W] in 0..255 through the colour matrices [B, C, C], then normalised.

    `mean` and `std` [C] are of values in 0..1. One matrix product does it all. Values are not
    clipped at white, unlike 8-bit implementations: the map stays linear.
    """
    batch, channels, height, width = image.shape
    grey = image[..., ::8, ::8].mean((1, 2, 3))  # the mean of an image needs no more pixels
    offset = ((1 - contrast) * brightness * grey)[:, None] / 255
    scaled = matrix / (255 * std[:, None])
    shifted = (offset - mean) / std
    out = torch.bmm(scaled, image.reshape(batch, channels, -1)).add_(shifted[:, :, None])
    return out.view(batch, channels, height, width)


def augment(
    image: Tensor, mask: Tensor, p: Parameters, strength: Augment, preprocessing: Preprocessing
) -> tuple[Tensor, Tensor]:
    """uint8 images [B, h, w, C] and masks [B, h, w], changed, as the network takes them.

    Returns images float [B, C, H, W], of the size and normalisation of `preprocessing`, and masks
    uint8 [B, H, W].
    """
    size = preprocessing.size
    mean, std = preprocessing.constants(image.device)

    def put(array: np.ndarray) -> Tensor:
        values = torch.from_numpy(np.ascontiguousarray(array, np.float32))
        return values.to(image.device, non_blocking=True)

    # stays channels-last: transposing on the CPU costs 20 times this
    pixels = image.permute(0, 3, 1, 2).to(torch.float32)
    matrix = warp_matrices(p, tuple(image.shape[1:3]), size, strength.translate)
    pixels, mask = warp(pixels, mask, put(matrix), size)
    if strength.blur > 0:
        pixels = blur(pixels, put(p.sigma), strength.blur)
    colours = put(colour_matrices(p, image.shape[3]))
    pixels = colour(pixels, colours, put(p.contrast), put(p.brightness), mean, std)
    return pixels, mask


def follow_mask(mask: Tensor, p: Parameters, strength: Augment, size: tuple[int, int]) -> Tensor:
    """The masks uint8 [B, H, W] that `augment` gives for `mask` [B, h, w], without the images."""
    matrix = torch.from_numpy(warp_matrices(p, tuple(mask.shape[1:]), size, strength.translate))
    grid = sampling_grid(matrix.to(mask.device, non_blocking=True), size)
    return _warp_mask(mask, grid)


def follow(
    maps: Tensor,
    p: Parameters,
    strength: Augment,
    *,
    source: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Float maps [B, K, h, w] through the warp of `augment`, [B, K, H, W].

    `source` is the height and width of the images that `augment` warps. Bilinear and mirrored at
    the border, as the images are; the maps may have any resolution.
    """
    matrix = torch.from_numpy(warp_matrices(p, source, size, strength.translate))
    matrix = matrix.to(maps.device, non_blocking=True)
    return _sample_at(maps, sampling_grid(matrix, size), "bilinear")
