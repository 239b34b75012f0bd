"""A methods paragraph ready for a paper: data, split, protocol, statistics, software versions."""

from __future__ import annotations

from typing import Any

CITED = ("torch", "segmentation-models-pytorch", "numpy", "opencv-python-headless")


def methods(
    summary: dict[str, Any], config: dict[str, Any] | None, environment: dict[str, Any] | None
) -> str:
    """Plain text from summary.json, the flat config of the run and environment.json; what is not
    known is left out.
    """
    return " ".join(
        each
        for each in (
            _data(summary),
            _training(summary, config or {}),
            _protocol(summary),
            _statistics(summary),
            _software(summary, environment or {}),
        )
        if each
    )


def _data(summary: dict[str, Any]) -> str:
    if not summary.get("data"):
        return ""
    part = summary.get("part", "test")
    words = {"all": "All images", "out-of-fold": "All test parts of the folds"}.get(
        part, f"The {part} part"
    )
    text = (
        f"{words} of {summary['data']} (split: {summary.get('split')}) served for judging,"
        f" {summary['n_images']} images."
    )
    verdict = (summary.get("stamp") or {}).get("verdict")
    groups = (summary.get("intervals") or {}).get("n_groups")
    return text + {
        "LEAKY": (
            " Video sequences or patients of these images are also among the images trained on, so"
            " that the numbers are optimistic."
        ),
        "grouped": (
            f" They come from {groups} video sequences or patients, "
            + (
                "each judged by a network that had seen none of it."
                if part == "out-of-fold"
                else "none of which was trained on."
            )
        ),
        "seen": " These include images of training.",
        "unknown": " Which images come from one video or patient was not known.",
    }.get(verdict, "")


def _training(summary: dict[str, Any], config: dict[str, Any]) -> str:
    if not config or not summary.get("model"):
        return ""
    size = (
        "x".join(map(str, config["size"]))
        if isinstance(config.get("size"), (list, tuple))
        else config.get("size")
    )
    chosen = (summary.get("checkpoint") or {}).get("selected_by")
    repeats = summary.get("repeats")
    times = (
        f" This was repeated for {repeats['kind']}s {', '.join(map(str, repeats['names']))}."
        if repeats
        else ""
    )
    seed = f", seed {config.get('seed')}" if not repeats or repeats["kind"] == "fold" else ""
    millions = summary.get("parameters", 0) / 1e6
    return (
        f"The network ({summary['model']}, {millions:.1f} million parameters, input {size} pixels)"
        f" was trained for up to {config.get('epochs')} epochs with {config.get('optimizer')}, peak"
        f" learning rate {config.get('lr'):g}, batches of {config.get('batch_size')} and the loss"
        f" {config.get('loss')}{seed}{f'; weights: {chosen}' if chosen else ''}.{times}"
    )


def _protocol(summary: dict[str, Any]) -> str:
    policy = (summary.get("empty_masks") or {}).get("policy")
    threshold = (
        f", at a foreground probability of {summary['threshold']:g}"
        if summary.get("classes") == 2 and summary.get("threshold")
        else ""
    )
    return (
        "Dice and IoU are of the foreground, computed for each image at the native resolution of"
        f" its mask{threshold}, and averaged over images (convention"
        f" per-image-foreground).{f' {policy}.' if policy else ''}"
    )


def _statistics(summary: dict[str, Any]) -> str:
    made = summary.get("intervals")
    if not made:
        return ""
    over = (
        f"{made['n_groups']} groups (sequences or patients)"
        if made.get("n_groups")
        else "images, since groups of dependent images were not known"
    )
    return (
        f"Intervals are at {100 * made['level']:g} %, by the studentised bootstrap over {over} (n ="
        f" {made['n_images']} images)."
    )


def _software(summary: dict[str, Any], environment: dict[str, Any]) -> str:
    known = {"medseg": summary.get("medseg"), "Python": environment.get("python")}
    known |= {name: environment.get(name) for name in CITED}
    return (
        f"Software: {', '.join(f'{name} {version}' for name, version in known.items() if version)}."
    )
