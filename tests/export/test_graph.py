"""The graph does to an image what `Preprocessing` does, for every size."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.export.graph import ImageToMask, _box, _matrix, _neighbours, _stretched, fit
from medseg.models.blocks import SegmentationNetwork
from medseg.preprocessing import Preprocessing, letterbox_size

SIDES = st.integers(1, 700)


def picture(seed, height, width, channels=3):
    """Smooth noise, as a photograph is: uint8 [H, W, C]."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return cv2.blur(noise, (5, 5)).reshape(height, width, channels)


@settings(max_examples=60, deadline=None)
@given(
    native=st.tuples(SIDES, SIDES),
    size=st.sampled_from([(64, 64), (224, 224), (256, 192), (352, 352)]),
    resize=st.sampled_from(["square", "letterbox"]),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
)
def test_images_are_fitted_alike(native, size, resize, channels, seed):
    preprocessing = Preprocessing(size, resize, channels)
    image = picture(seed, *native, channels)
    found = fit(torch.from_numpy(image)[None], preprocessing)[0].permute(1, 2, 0).numpy()
    difference = np.abs(found - preprocessing.fit(image).astype(np.float32))
    assert difference.max() <= 1  # where an average is a half but for the last bit
    assert (difference > 0).mean() < 2e-3


@settings(max_examples=60, deadline=None)
@given(native=st.tuples(st.integers(1, 64), st.integers(1, 64)), seed=st.integers(0, 99))
def test_what_grows_is_equal_to_the_bit(native, seed):
    preprocessing = Preprocessing((64, 64))
    image = picture(seed, *native)
    found = fit(torch.from_numpy(image)[None], preprocessing)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, preprocessing.fit(image))


@settings(max_examples=60, deadline=None)
@given(native=st.tuples(SIDES, SIDES), resize=st.sampled_from(["square", "letterbox"]))
def test_logits_are_restored_alike(native, resize):
    preprocessing = Preprocessing((64, 48), resize)
    graph = ImageToMask(torch.nn.Identity(), preprocessing, classes=2)
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 64, 48))).float()
    found = graph.restore(logits, *native)
    assert torch.allclose(found, preprocessing.restore(logits, native), atol=1e-3)


def test_sizes_are_the_same_integers_up_to_2000_pixels():
    """Each height and width: the letterbox of the graph, of `Preprocessing`, and the exact one."""
    rows, columns = np.meshgrid(np.arange(1, 2001), np.arange(1, 2001), indexing="ij")
    for size in ((352, 352), (256, 320)):
        high, wide = letterbox_size(size, (rows, columns), np.minimum, np.maximum)
        assert high.min() >= 1 and wide.min() >= 1
        assert ((high == size[0]) | (wide == size[1])).all()
        rng = np.random.default_rng(0)
        for row, column in rng.integers(1, 2001, (2000, 2)).tolist():
            preprocessing = Preprocessing(size, "letterbox")
            box = preprocessing.box((row, column))
            assert box == _box(preprocessing, row, column)
            assert box[2:] == (high[row - 1, column - 1], wide[row - 1, column - 1])
            scale = min(Fraction(size[0], row), Fraction(size[1], column))
            exact = [max(1, int(side * scale + Fraction(1, 2))) for side in (row, column)]
            assert list(box[2:]) == exact


@pytest.mark.parametrize("source", [1, 2, 7, 100, 351, 352, 353, 2000])
def test_the_weights_of_each_new_place_sum_to_one(source):
    for target in (1, 3, 352, 1999):
        index, weight = _stretched(0, source, target)
        assert torch.allclose(weight.sum(1), torch.ones(target))
        assert index.min() >= 0 and index.max() < source
        if source < target:
            matrix = _matrix(*_neighbours(source, target, 0, target), source)
            assert torch.equal(matrix.sum(0), torch.ones(target))


class Red(SegmentationNetwork):
    """Foreground where the first channel is bright: for what happens around a network."""

    def __init__(self, classes=2, channels=3):
        super().__init__()
        self.head = torch.nn.Conv2d(channels, classes, 1)
        self.head.weight.data.zero_()
        self.head.bias.data.zero_()
        for k in range(1, classes):
            self.head.weight.data[k, 0] = k
            self.head.bias.data[k] = -0.5 * k

    def stages(self, x):
        return {"image": x}


def rectangle(rng, least=1, most=200):
    """An image with a bright rectangle, and where it is."""
    height, width = rng.integers(least, most, 2).tolist()
    top, left = int(rng.integers(height)), int(rng.integers(width))
    bottom, right = int(rng.integers(top, height)) + 1, int(rng.integers(left, width)) + 1
    image = np.zeros((height, width, 3), np.uint8)
    image[top:bottom, left:right] = 255
    return image


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["square", "letterbox", "native-crop"])
def test_a_rectangle_comes_back_where_it_was_in_every_runtime(resize):
    """2,000 sizes; in torch, ONNX Runtime and OpenVINO the same mask as from `Preprocessing`."""
    import io

    import onnxruntime
    import openvino

    from medseg.export.formats import capture, onnx_model
    from medseg.inference.exported import Card

    preprocessing = Preprocessing((96, 80), resize, mean=(0.0,) * 3, std=(1.0,) * 3)
    network = Red().eval()
    graph = ImageToMask(network, preprocessing, classes=2).eval()
    example = torch.zeros((2, 50, 60, 3), dtype=torch.uint8)
    model = onnx_model(capture(graph, example), Card(preprocessing, 2), opset=18, ir=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    compiled = openvino.compile_model(
        openvino.convert_model(io.BytesIO(model.SerializeToString())),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32"},
    )
    rng = np.random.default_rng(0)
    for i in range(2000):
        image = rectangle(rng)
        fitted = torch.from_numpy(preprocessing.fit(image))[None]
        with torch.inference_mode():
            logits = network(preprocessing.normalise(fitted))
            margin = preprocessing.restore(logits[:, 1:] - logits[:, :1], image.shape[:2])
            expected = (margin[0, 0] >= 0).numpy()
            in_torch = graph(torch.from_numpy(image)[None])[0].numpy()
        sure = margin[0, 0].abs().numpy() > 1e-5
        found = [in_torch, session.run(None, {"image": image[None]})[0][0]]
        if i % 20 == 0:  # OpenVINO prepares anew for each size
            found.append(compiled(image[None])[0][0])
        for mask in found:
            assert np.array_equal(mask[sure], expected[sure])
        if resize == "native-crop":
            assert np.array_equal(expected, image[..., 0] > 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "channels", "resize"),
    [(3, 3, "square"), (3, 1, "letterbox"), (2, 1, "native-crop"), (3, 3, "native-crop")],
)
def test_other_classes_channels_and_policies(classes, channels, resize):
    """Masks and probabilities in ONNX Runtime and OpenVINO are those of `postprocess`."""
    import io

    import onnxruntime
    import openvino

    from medseg.export.formats import capture, onnx_model
    from medseg.inference.exported import Card
    from medseg.inference.postprocess import classify, margins, probabilities

    preprocessing = Preprocessing(
        (48, 64), resize, channels, mean=(0.2,) * channels, std=(0.5,) * channels
    )
    network = Red(classes, channels).eval()
    network.head.bias.data -= 0.1 * torch.arange(classes)
    graph = ImageToMask(network, preprocessing, classes=classes, temperature=1.7, probability=True)
    example = torch.zeros((2, 50, 60, channels), dtype=torch.uint8)
    card = Card(preprocessing, classes, ("mask", "probability"))
    model = onnx_model(capture(graph.eval(), example), card, opset=18, ir=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    converted = openvino.convert_model(io.BytesIO(model.SerializeToString()))
    compiled = openvino.compile_model(converted, "CPU", settings)
    for seed, native in enumerate([(48, 64), (31, 97), (120, 75), (1, 9)]):
        image = picture(seed, *native, channels)
        fitted = torch.from_numpy(preprocessing.fit(image))[None]
        with torch.inference_mode():
            margin = margins(network(preprocessing.normalise(fitted)), [native], preprocessing)[0]
        expected = classify(margin, 0.5, 1.7).numpy()
        share = probabilities(margin, 1.7).numpy()
        ordered = np.sort(share, axis=0)
        sure = ordered[-1] - ordered[-2] > 1e-3
        for mask, found in (
            session.run(None, {"image": image[None]}),
            compiled(image[None]).values(),
        ):
            assert np.array_equal(mask[0][sure], expected[sure])
            assert np.abs(found[0] - share).max() < 5e-3  # one level of the input, where a half


@pytest.mark.slow
def test_depthwise_weights_need_a_scale_for_each_channel():
    """Where kernels differ in size, one scale for all loses the small ones."""
    from medseg.export.formats import capture, onnx_model
    from medseg.export.quantise import layers, quantise
    from medseg.inference.exported import Card

    class Depthwise(SegmentationNetwork):
        def __init__(self):
            super().__init__()
            self.spread = torch.nn.Conv2d(3, 16, 1)
            self.depthwise = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
            self.head = torch.nn.Conv2d(16, 2, 1)
            self.depthwise.weight.data[:] = 1 / 9  # a mean, but for one that looks for edges,
            self.depthwise.weight.data[0] = -2.0  # of which smooth images have none
            self.depthwise.weight.data[0, 0, 1, 1] = 16.0

        def stages(self, x):
            return {"image": self.depthwise(self.spread(x))}

    torch.manual_seed(0)
    preprocessing = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.3,) * 3)
    network = Depthwise().eval()
    graph = ImageToMask(network, preprocessing, classes=2, probability=True)
    card = Card(preprocessing, 2, ("mask", "probability"))
    images = [cv2.blur(picture(seed, 32, 32), (15, 15)) for seed in range(8)]
    example = torch.from_numpy(np.stack(images[:2]))
    error = {}
    for per_channel in (True, False):
        model = onnx_model(capture(graph.eval(), example), card, opset=18, ir=8)
        small = quantise(model, images, per_channel=per_channel)
        assert len(layers(small)[0]) > 0
        import onnxruntime

        session = onnxruntime.InferenceSession(small.SerializeToString())
        with torch.inference_mode():
            expected = graph(torch.from_numpy(np.stack(images)))[1].numpy()
        found = session.run(["probability"], {"image": np.stack(images)})[0]
        error[per_channel] = float(np.abs(found - expected).mean())
    assert error[False] > 3 * error[True]
