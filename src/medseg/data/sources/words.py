"""What the words in the names of folders and files say: image, mask, part, observer, or neither."""

from __future__ import annotations

import re

from medseg.data.sources.names import same_name


def _set(text: str) -> frozenset[str]:
    return frozenset(_list(text))


def _list(text: str) -> list[str]:
    return text.split()


IMAGE_WORDS = _set(
    "image images img imgs original originals input inputs photo photos picture pictures frame"
    " frames rgb raw jpegimages"
)
# the earlier of two folders beside each other is taken
MASK_WORDS = _list(
    "masks mask labels label annotations annotation ground groundtruth groundtruths truth truths"
    " gt gts segmentation segmentations seg segs anno annos annot annots ann anns lesion lesions"
    " target targets trimap trimaps matte mattes segmentationclass segmentationobject labelstr"
    " labelsts"
)
OBSERVER_WORDS = _set("manual ho observer obs annotator expert rater reader grader doctor")
# made from images or masks, or of another meaning: never a mask by itself
OTHER_WORDS = _set(
    "overlay overlays superpixel superpixels preview previews thumbnail thumbnails thumb thumbs vis"
    " visualization visualizations visualisation visualisations prediction predictions pred preds"
    " result results output outputs heatmap heatmaps contour contours edge edges boundary"
    " boundaries fov depth bbox bboxes box boxes skeleton skeletons distance probability"
    " probabilities macosx"
)
LESSER_WORDS = _set("object objects instance instances 2 3 4 5")
PART_WORDS = {
    "train": ("train", "training", "trainset"),
    "validation": ("validation", "valid", "val", "valset", "dev"),
    "test": ("test", "testing", "testset"),
}
SHORT_PART_WORDS = {"tr": "train", "va": "validation", "vl": "validation", "ts": "test"}
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_PART_OF = {word: part for part, words in PART_WORDS.items() for word in words}


def words_of(name: str) -> list[str]:
    """The words of a name in small letters: "imagesTr" and "images_tr" are images and tr."""
    return [word.lower() for word in _TOKEN.findall(same_name(name))]


def role_of(name: str) -> str:
    """Whether a folder of this name holds an "image", a "mask" or an "other" kind; else ""."""
    words = set(words_of(name))
    if words & OTHER_WORDS:
        return "other"
    if words & (OBSERVER_WORDS | set(MASK_WORDS)):
        return "mask"
    return "image" if words & IMAGE_WORDS else ""


def part_of(name: str, *, short: bool = False) -> str:
    """The part that a name speaks of, or "" for none or several; `short` allows tr, va and ts."""
    words = words_of(name)
    found = {_PART_OF[word] for word in words if word in _PART_OF}
    if short and not found:
        found = {SHORT_PART_WORDS[word] for word in words if word in SHORT_PART_WORDS}
    return found.pop() if len(found) == 1 else ""


def names_a_mask(affix: str) -> bool:
    """Whether what a mask's name has beside that of its image says that it is a mask."""
    words = set(words_of(affix))
    return not words & OTHER_WORDS and bool(words & {*MASK_WORDS, *OBSERVER_WORDS, "p", "m"})


def is_by_observer(name: str) -> bool:
    """Whether a name says whose drawing it is: two of them are never united."""
    return bool(OBSERVER_WORDS & set(words_of(name)))


def mask_rank(kind: str) -> tuple[int, ...]:
    """A sort key by which the first of several folders of masks is the one meant.

    A first observer goes before all, then the words in their order; second observers, instances
    and objects go last among their like.
    """
    words = words_of(kind)
    lesser = bool(set(words) & LESSER_WORDS)
    places = [MASK_WORDS.index(word) for word in words if word in MASK_WORDS]
    return (not is_by_observer(kind), lesser, min(places, default=len(MASK_WORDS)))


def without_part(name: str) -> str:
    """The words of a name without those of parts: labelsTr and labelsTs are of one kind."""
    words = [word for word in words_of(name) if word not in {*_PART_OF, *SHORT_PART_WORDS}]
    return " ".join(words)
