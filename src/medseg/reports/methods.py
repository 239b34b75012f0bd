"""A methods paragraph ready for a paper: data, split, training, protocol, statistics, software."""

from __future__ import annotations

from typing import Any

from medseg.evaluation.conventions import PER_IMAGE

CITED = ("torch", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
PARTS = {"all": "All images", "out-of-fold": "All test parts of the folds"}
Values = dict[str, Any]


def methods(summary: Values, config: Values | None, environment: Values | None) -> str:
    """Plain text from summary.json, the flat config of the run and environment.json.

    What is not known is left out.
    """
    paragraphs = (
        _data(summary),
        _training(summary, config or {}),
        _protocol(summary),
        _statistics(summary),
        _software(summary, environment or {}),
    )
    return " ".join(each for each in paragraphs if each)


def _data(summary: Values) -> str:
    if not summary.get("data"):
        return ""
    part = summary.get("part", "test")
    subject, verb = PARTS.get(part, f"The {part} part"), "were" if part in PARTS else "was"
    text = (
        f"{subject} of {summary['data']} (split: {summary.get('split')}; {summary['n_images']}"
        f" images) {verb} used for evaluation."
    )
    return f"{text} {_independence(summary, part)}".rstrip()


def _independence(summary: Values, part: str) -> str:
    """What the split's stamp says about the images and those of training."""
    verdict = (summary.get("stamp") or {}).get("verdict")
    groups = (summary.get("intervals") or {}).get("n_groups")
    if verdict == "LEAKY":
        return (
            "Scenes, video sequences or patients of these images are also among the images trained"
            " on, so the numbers are optimistic."
        )
    if verdict == "grouped":
        seen = "none of which was trained on"
        if part == "out-of-fold":
            seen = "each evaluated by a network that had seen none of it"
        return f"They come from {groups} video sequences or patients, {seen}."
    if verdict == "seen":
        return "These include images of training."
    if verdict == "unknown":
        return "Which images come from one video or patient was not known."
    return ""


def _training(summary: Values, config: Values) -> str:
    if not config or not summary.get("model"):
        return ""
    size = config.get("size")
    if isinstance(size, (list, tuple)):
        size = "x".join(map(str, size))
    repeats = summary.get("repeats")
    chosen = (summary.get("checkpoint") or {}).get("selected_by")
    text = (
        f"The network ({summary['model']}, {summary.get('parameters', 0) / 1e6:.1f} million"
        f" parameters, input {size} pixels) was trained for up to {config.get('epochs')} epochs"
        f" with {config.get('optimizer')}, peak learning rate {config.get('lr'):g}, batches of"
        f" {config.get('batch_size')} and the loss {config.get('loss')}"
    )
    if not repeats or repeats["kind"] == "fold":
        text += f", seed {config.get('seed')}"
    if chosen:
        text += f"; weights: {chosen}"
    text += "."
    if repeats:
        names = ", ".join(map(str, repeats["names"]))
        text += f" This was repeated for {repeats['kind']}s {names}."
    return text


def _protocol(summary: Values) -> str:
    text = (
        "Dice and IoU are of the foreground, computed for each image at the native resolution of"
        " its mask"
    )
    if summary.get("classes") == 2 and summary.get("threshold"):
        text += f", at a foreground probability of at least {summary['threshold']:g}"
    text += f", and averaged over images (convention {PER_IMAGE.name})."
    policy = (summary.get("empty_masks") or {}).get("policy")
    return f"{text} {policy}." if policy else text


def _statistics(summary: Values) -> str:
    made = summary.get("intervals")
    if not made:
        return ""
    if made.get("n_groups") == 1:
        return "No intervals are given: all images are of one group, and are not independent."
    over = "images, since groups of dependent images were not known"
    if made.get("n_groups"):
        over = f"{made['n_groups']} groups (sequences or patients)"
    return (
        f"Intervals are at {100 * made['level']:g} %, by the studentised bootstrap over {over} (n ="
        f" {made['n_images']} images)."
    )


def _software(summary: Values, environment: Values) -> str:
    known = {"medseg": summary.get("medseg"), "Python": environment.get("python")}
    known |= {name: environment.get(name) for name in CITED}
    versions = [f"{name} {version}" for name, version in known.items() if version]
    return f"Software: {', '.join(versions)}."
