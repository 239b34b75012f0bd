"""What a teacher sees and predicts: the same as in prediction."""

import numpy as np
import pytest
import torch

from medseg.augment.batch import augment, follow, neutral, sample
from medseg.config import Augment
from medseg.data.randomness import name_keys
from medseg.data.sample import Item
from medseg.distill.cache import moved, open_cache
from medseg.distill.features import pair_features
from medseg.distill.loss import DistillationLoss
from medseg.distill.teacher import Teacher, mean_logits
from medseg.inference.backends import TorchBackend
from medseg.inference.predictor import Predictor
from medseg.models import create_model
from medseg.preprocessing import Preprocessing

STUDENT = Preprocessing((64, 64), "square", 3, 16, (0.5, 0.4, 0.3), (0.3, 0.2, 0.25))
TEACHER = Preprocessing((64, 64), "square", 3, 16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CPU = torch.device("cpu")


def network(name="unet", seed=0, **options):
    torch.manual_seed(seed)
    net = create_model(name, **{"base_channels": 4} | options)
    with torch.no_grad():
        net.train()(torch.randn(4, options.get("in_channels", 3), 64, 64))
    return net.eval()


def teacher(preprocessing=TEACHER, **options):
    return Teacher(
        "somewhere",
        network(in_channels=preprocessing.channels, **options).requires_grad_(False),
        preprocessing,
        f"{preprocessing} {options}",
        "fp32",
    )


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_student(image, preprocessing=STUDENT):
    return preprocessing.normalise(torch.from_numpy(image)[None])


def test_another_normalisation_is_undone_exactly():
    one, image = teacher(), picture(64, 64)
    expected = Predictor(TorchBackend(one.network, TEACHER, CPU), classes=2).margins([image])[0]
    logits, _ = one.look(as_student(image), STUDENT)
    torch.testing.assert_close(logits[0, 1:] - logits[0, :1], expected, atol=1e-4, rtol=1e-4)
    wrong = one.answer(as_student(image))[0]  # as if the student's normalisation were the teacher's
    assert (wrong - logits).abs().max() > 0.01


def test_another_size_is_what_the_predictor_does_with_the_students_picture():
    larger = Preprocessing((96, 128), "square", 3, 16, TEACHER.mean, TEACHER.std)
    one, image = teacher(larger), picture(64, 64)
    seen = one.adapt(as_student(image), STUDENT)
    assert seen.shape == (1, 3, 96, 128)
    rounded = larger.normalise(torch.from_numpy(larger.fit(image))[None])  # to whole values
    assert (seen - rounded).abs().max() < 1 / 255 / min(TEACHER.std)
    logits, _ = one.look(as_student(image), STUDENT)
    assert logits.shape == (1, 2, 64, 64)


@pytest.mark.parametrize(("ours", "theirs"), [(3, 1), (1, 3), (1, 1)])
def test_grey_and_colour(ours, theirs):
    def of(channels):
        return (
            STUDENT if channels == 3 else Preprocessing((64, 64), "square", 1, 16, (0.4,), (0.25,))
        )

    image = picture(64, 64)[..., :ours]
    raw = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    luma = torch.tensor([0.299, 0.587, 0.114]) if ours == 3 else torch.ones(1)
    raw = (raw * luma[:, None, None]).sum(1, keepdim=True).expand(1, theirs, 64, 64)
    mean, std = of(theirs).constants(CPU)
    seen = teacher(of(theirs)).adapt(as_student(image, of(ours)), of(ours))
    torch.testing.assert_close(
        seen, (raw - mean[:, None, None]) / std[:, None, None], atol=1e-5, rtol=1e-5
    )


def test_an_ensemble_is_the_mean_of_probabilities():
    a, b = torch.randn(2, 2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(mean_logits([a, b]).exp(), (a.softmax(1) + b.softmax(1)) / 2)
    assert mean_logits([a]) is a


@pytest.mark.parametrize(
    "name", ["kl", "mse", "cwd", "dist", "boundary", "attention", "cwd-features"]
)
def test_a_student_that_is_its_teacher_learns_nothing(name):
    one = teacher(STUDENT)
    distillation_loss = DistillationLoss([one], one.network, STUDENT, kd=name, temperature=1.0)
    image = as_student(picture(64, 64))
    heads, features = one.network.observe(image, distillation_loss.names)
    total, terms = distillation_loss(heads["main"], features, image)
    assert total.item() == pytest.approx(0, abs=1e-6) and list(terms) == [f"kd-{name}"]
    assert distillation_loss.projections is None
    other = network(seed=5)
    heads, features = other.observe(image, distillation_loss.names)
    assert distillation_loss(heads["main"], features, image)[0].item() > 1e-5


def test_pairs_are_the_last_maps_of_each_common_stride_without_their_padding():
    student, other = network(), network("resunetpp", base_channels=16)
    pairs = pair_features(student, other, (torch.zeros(1, 3, 40, 40), torch.zeros(1, 3, 80, 72)))
    assert [(pair.stride, pair.student, pair.teacher) for pair in pairs] == [
        (2, "decoder1", "pyramid"),
        (4, "decoder2", "decoder1"),
        (8, "decoder3", "decoder2"),
        (16, "middle", "bridge"),
    ]
    assert pairs[-1].channels == (64, 125 // 5 * 5) or pairs[-1].channels[0] == 64
    assert pairs[0].shown == ((20, 20), (40, 36))
    assert pairs[-1].shown == ((3, 3), (5, 5))


def test_one_pass_gives_what_several_do():
    net, image = network("unetpp", auxiliary=True), torch.randn(1, 3, 40, 64)
    heads, features = net.observe(image, ["x40", "x04"])
    for name, logits in net.multiscale(image).items():
        assert torch.equal(heads[name], logits)
    for name in ("x40", "x04"):
        assert torch.equal(features[name], net.features(image)[name])


def test_maps_follow_their_images():
    strength = Augment(
        scale=(0.5, 2.0), translate=0.3, rotate=180, brightness=0, contrast=0, saturation=0, hue=0
    )
    image = torch.from_numpy(np.stack([picture(48, 56, seed) for seed in range(6)]))
    p = sample(strength, 3, 1, name_keys([str(i) for i in range(6)]))
    moved_image, _ = augment(
        image,
        torch.zeros(6, 48, 56, dtype=torch.uint8),
        p,
        strength,
        Preprocessing((40, 40), mean=(0, 0, 0), std=(1, 1, 1)),
    )
    maps = follow(image.permute(0, 3, 1, 2) / 255, p, strength, source=(48, 56), size=(40, 40))
    torch.testing.assert_close(maps, moved_image, atol=1e-4, rtol=1e-4)
    still = follow(maps, neutral(6), strength, source=(40, 40), size=(40, 40))
    torch.testing.assert_close(still, maps, atol=1e-4, rtol=1e-4)


@pytest.fixture
def items(tmp_path):
    import cv2

    found = []
    for i in range(5):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(64, 64, i)[..., ::-1])
        found.append(Item(str(i), tmp_path / f"{i}.png", (tmp_path / f"{i}.png",)))
    return found


def test_cached_answers_are_those_of_an_image_without_augmentation(items, tmp_path):
    both = [teacher(), teacher(seed=7)]
    cached = open_cache(both, items, STUDENT, classes=2, device=CPU, folder=tmp_path / "cache")
    assert cached.shape == (5, 2, 64, 64) and cached.dtype == np.float16
    for i in range(5):
        image = as_student(picture(64, 64, i))
        expected = mean_logits([one.look(image, STUDENT)[0] for one in both])[0]
        torch.testing.assert_close(
            torch.from_numpy(np.array(cached[i])).float(), expected, atol=1e-3, rtol=0
        )


def test_the_cache_is_kept_by_content(items, tmp_path, monkeypatch):
    folder, asked = tmp_path / "cache", []
    answer = Teacher.answer
    monkeypatch.setattr(
        Teacher, "answer", lambda self, *rest: asked.append(1) or answer(self, *rest)
    )

    def ask(one, student=STUDENT):
        asked.clear()
        return open_cache([one], items, student, classes=2, device=CPU, folder=folder), bool(asked)

    first, computed = ask(teacher())
    assert computed and not ask(teacher())[1]
    assert ask(teacher(seed=1))[1]
    assert ask(teacher(), Preprocessing((32, 32), "square", 3, 16, STUDENT.mean, STUDENT.std))[1]
    items[0].image.write_bytes(items[1].image.read_bytes())
    again, computed = ask(teacher())
    assert (
        computed and np.array_equal(again[0], first[1]) and not np.array_equal(again[0], first[0])
    )


def test_cached_logits_land_where_the_students_image_is():
    """A letterboxed teacher and a stretched student, and the other way round: a mark in the image
    stays with its image.
    """
    wide = Preprocessing((64, 64), "letterbox", 3, 16, TEACHER.mean, TEACHER.std)
    inside = torch.zeros(1, 1, 64, 64)
    inside[:, :, 16:48] = 1  # where a picture of 50x100 lies in the letterbox
    assert moved(inside, (50, 100), wide, STUDENT).min() == 1
    square = torch.ones(1, 1, 64, 64)
    square[..., :32, :] = 0
    back = moved(square, (50, 100), TEACHER, wide)
    assert back[..., 16:31, :].max() == 0 and back[..., 33:48, :].min() == 1
    assert back[..., :16, :].max() == 0 and back[..., 48:, :].min() == 1  # the border repeated
