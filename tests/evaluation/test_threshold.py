"""One meaning of --threshold everywhere: foreground where the probability is at least that."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg import evaluate
from medseg.errors import UserError
from medseg.inference.postprocess import classify, probabilities


@pytest.fixture
def references(tmp_path):
    """A folder of two masks, and their predictions in two grey levels."""
    for name, shift in (("a", 0), ("b", 9)):
        mask = np.zeros((40, 50), np.uint8)
        mask[5 + shift : 25, 10 : 30 + shift] = 255
        for folder, values in (("masks", mask), ("maps", mask // 255 * 102)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), values)
    return tmp_path


def dice(folder, references, threshold):
    """The Dice of a folder of predictions at a threshold."""
    out = references / f"results-{threshold}"
    summary = evaluate(str(folder), references=str(references / "masks"), out=str(out),
                       threshold=threshold, progress=False)  # fmt: skip
    return summary["protocols"]["per-image-foreground"]["dice"]


def test_a_certain_mask_is_foreground_at_every_threshold(references):
    assert dice(references / "masks", references, 1.0) == 1
    assert dice(references / "masks", references, 0.999) == 1


def test_a_probability_equal_to_the_threshold_is_foreground(references):
    assert dice(references / "maps", references, 0.4) == 1  # 102 of 255, exactly


@given(
    margin=st.floats(-30, 30, width=32),
    threshold=st.sampled_from([0.01, 0.3, 0.5, 0.7, 0.99, 1.0]),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_masks_agree_with_probabilities(margin, threshold, temperature):
    logits = torch.tensor([[[margin]]])
    foreground = bool(classify(logits, threshold, temperature))
    probability = float(probabilities(logits, temperature)[1])
    assert foreground == (probability >= threshold) or abs(probability - threshold) < 1e-6


def test_equal_logits_are_foreground_at_one_half_and_a_certain_pixel_at_one():
    assert classify(torch.zeros(1, 1, 1), 0.5).item() == 1
    assert classify(torch.full((1, 1, 1), 40.0), 1.0).item() == 1
    assert classify(torch.full((1, 1, 1), 10.0), 1.0).item() == 0


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan")])
def test_other_numbers_are_refused(threshold):
    with pytest.raises(UserError, match="expected a probability above 0, up to 1"):
        classify(torch.zeros(1, 1, 1), threshold)
