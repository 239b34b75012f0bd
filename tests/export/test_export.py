"""A run and its exported files give the same masks; what is wrong is refused in one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import medseg
from conftest import FAST, threshold_red, write_part
from medseg.cli import main
from medseg.export.parity import verdict
from medseg.inference.exported import STEADY, open_exported

onnx = pytest.importorskip("onnx", reason="the extra medseg[export] is not installed")
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
FILES = [("onnx", "fp32"), ("openvino", "fp32"), ("torch", "fp32"), ("onnx", "int8")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two classes whose network looks at red alone, exact on every machine."""
    root = tmp_path_factory.mktemp("export")
    for part, count, first in (("train", 12, 0), ("validation", 4, 100), ("test", 5, 200)):
        write_part(root / "set" / part, count, first)
    folder = root / "run"
    options = FAST | {"data": str(root / "set"), "out": str(folder), "epochs": 1, "lr": 1e-12}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEG_CACHE", str(root / "cache"))
        medseg.train(**options)
    for name in ("best.pt", "last.pt"):
        stored = torch.load(folder / name, weights_only=True)
        torch.save(stored | {"weights": threshold_red(stored["weights"])}, folder / name)
    return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The file of a format and precision, made once, with its parity.json beside it."""
    made = {}

    def export(format, precision="fp32", *words):
        key = (format, precision, *words)
        if key not in made:
            out = tmp_path_factory.mktemp("files") / "out"
            command = ["--format", format, "--precision", precision, "--out", str(out), *words]
            code = main(["export", str(run), *command, "--no-progress", "--json"])
            assert code == 0, key
            made[key] = out / f"model{SUFFIX[format]}"
        return made[key]

    return export


def images_of(run, part="test"):
    return sorted((run.parent / "set" / part / "images").iterdir())


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_the_file_gives_the_masks_of_the_run(run, exported, format):
    file = exported(format)
    ours = medseg.Predictor.load(run, accelerator="cpu", precision="fp32")
    theirs = medseg.Predictor.load(file)
    for path in images_of(run):
        assert np.array_equal(ours(path), theirs(path))
        assert ours(path).any()
    found = json.loads((file.parent / "parity.json").read_text())
    assert found["failed"] == "" and found["differing_share"] < 1e-6
    assert found["generated_sizes"] == 50 and found["images"] == 4
    assert found["dice"]["interval"] == [0, 0]
    assert found["bytes"] == sum(
        each.stat().st_size for each in file.parent.iterdir() if each.name != "parity.json"
    )


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_batches_and_any_size(run, exported, format):
    backend = open_exported(exported(format))
    rng = np.random.default_rng(0)
    for batch, height, width in ((1, 40, 70), (2, 33, 31), (7, 64, 53)):
        images = torch.from_numpy(rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8))
        together = backend.logits(images)
        assert together.shape == (batch, 2, height, width)
        alone = torch.cat([backend.logits(image[None]) for image in images])
        assert torch.equal(together, alone)


def test_a_graph_for_one_shape_gives_the_same(run, exported):
    """After some images of one shape OpenVINO is made for it; then another shape comes."""
    predictor = medseg.Predictor.load(exported("openvino"))
    first, other = (cv2.imread(str(path))[..., ::-1].copy() for path in images_of(run)[:2])
    expected = predictor(first), predictor(other)
    for _ in range(STEADY + 2):
        assert np.array_equal(predictor(first), expected[0])
    assert np.array_equal(predictor(other), expected[1])


def test_probabilities_are_a_second_output(run, exported):
    file = exported("onnx", "fp32", "--outputs", "mask,probability")
    assert json.loads((file.parent / "parity.json").read_text())["nan"] == 0
    ours = medseg.Predictor.load(run, accelerator="cpu", precision="fp32")
    theirs = medseg.Predictor.load(file)
    for path in images_of(run):
        expected, found = ours.predict(path), theirs.predict(path)
        assert np.array_equal(expected.mask, found.mask)
        assert np.abs(expected.probability - found.probability).max() < 1e-4
        assert np.array_equal(theirs.predict(path, 0.7).mask, ours.predict(path, 0.7).mask)


def test_openvino_gives_probabilities_too(run, exported):
    file = exported("openvino", "fp32", "--outputs", "mask,probability")
    ours = medseg.Predictor.load(run, accelerator="cpu", precision="fp32")
    theirs = medseg.Predictor.load(file)
    for path in images_of(run)[:2]:
        expected, found = ours.predict(path), theirs.predict(path)
        assert np.array_equal(expected.mask, found.mask)
        assert np.abs(expected.probability - found.probability).max() < 1e-4


def test_a_bare_network_takes_the_same_way(run, exported):
    file = exported("onnx", "fp32", "--raw")
    model = onnx.load(file)
    (given,) = model.graph.input
    shape = [each.dim_value or each.dim_param for each in given.type.tensor_type.shape.dim]
    assert shape == ["batch", 3, 32, 32]
    ours = medseg.Predictor.load(run, accelerator="cpu", precision="fp32")
    theirs = medseg.Predictor.load(file)
    assert all(np.array_equal(ours(path), theirs(path)) for path in images_of(run))


def test_the_file_says_what_it_is(run, exported):
    model = onnx.load(exported("onnx"))
    assert model.ir_version == 8
    assert {each.domain: each.version for each in model.opset_import}[""] == 18
    assert [each.name for each in model.graph.output] == ["mask"]
    card = json.loads({each.key: each.value for each in model.metadata_props}["medseg"])
    assert card["preprocessing"]["size"] == [32, 32] and card["threshold"] == 0.5
    assert card["trained_on"] == "set" and len(card["seen"]["train"]) == 12
    text = exported("onnx").read_bytes()
    assert str(run.parent).encode() not in text and b"site-packages" not in text


def test_a_file_can_be_moved_and_renamed(exported, run, tmp_path):
    shutil.copy(exported("onnx"), tmp_path / "polyps v2.onnx")
    for suffix in (".xml", ".bin"):
        shutil.copy(exported("openvino").with_suffix(suffix), tmp_path / f"other{suffix}")
    path = images_of(run)[0]
    expected = medseg.Predictor.load(run, precision="fp32")(path)
    for name in ("polyps v2.onnx", "other.xml"):
        assert np.array_equal(medseg.Predictor.load(tmp_path / name)(path), expected)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_eight_bits_are_there_and_good_enough(exported, format):
    file = exported(format, "int8", "--calibration-images", "8")
    found = json.loads((file.parent / "parity.json").read_text())
    assert found["quantised"]["int8_layers"] > 0
    assert found["quantised"]["calibration_images"] == 8
    assert found["dice"]["interval"][0] >= -0.005


def test_a_threshold_and_a_temperature_are_inside(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    stored = torch.load(copy / "best.pt", weights_only=True)
    torch.save(stored | {"temperature": 2.0}, copy / "best.pt")
    out = tmp_path / "out"
    words = ["--threshold", "0.7", "--outputs", "mask,probability", "--no-progress", "--json"]
    assert main(["export", str(copy), "--out", str(out), *words]) == 0
    ours = medseg.Predictor.load(copy, precision="fp32")
    theirs = medseg.Predictor.load(out / "model.onnx")
    for path in images_of(run):
        expected, found = ours.predict(path, 0.7), theirs.predict(path)
        assert np.array_equal(expected.mask, found.mask)
        assert np.abs(expected.probability - found.probability).max() < 1e-4


def test_files_are_evaluated_and_compared_as_runs_are(run, exported, tmp_path, capsys):
    data = ["--data", str(run.parent / "set"), "--no-progress", "--json"]
    folders = []
    for name, source in (("run", run), ("file", exported("onnx"))):
        folders.append(tmp_path / name)
        words = ["--out", str(folders[-1]), *data, "--precision", "fp32"]
        assert main(["evaluate", str(source), *words]) == 0
    tables = [(folder / "per_image.csv").read_text() for folder in folders]
    assert tables[0] == tables[1]
    summary = json.loads((folders[1] / "summary.json").read_text())
    assert summary["size"] == [32, 32] and summary["parameters"] > 0
    assert summary["stamp"]["verdict"] == "other"  # whether groups are shared is not known
    seen = ["--split-part", "train", "--out", str(tmp_path / "seen")]
    assert main(["evaluate", str(exported("onnx")), *seen, *data]) == 0
    summary = json.loads((tmp_path / "seen" / "summary.json").read_text())
    assert summary["stamp"]["verdict"] == "seen"
    capsys.readouterr()
    words = [*map(str, folders), "--out", str(tmp_path / "compared"), "--json"]
    assert main(["compare", *words]) == 0


def test_predict_takes_a_file(run, exported, tmp_path):
    for name, source in (("run", run), ("file", exported("onnx"))):
        words = [str(run.parent / "set" / "test" / "images"), "--out", str(tmp_path / name)]
        assert main(["predict", str(source), *words, "--precision", "fp32", "--no-progress"]) == 0
    for path in (tmp_path / "run" / "masks").iterdir():
        expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        found = cv2.imread(str(tmp_path / "file" / "masks" / path.name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(expected, found)


def test_a_file_of_another_tool_needs_a_description(run, exported, tmp_path, capsys):
    model = onnx.load(exported("onnx", "fp32", "--raw"))
    card = json.loads({each.key: each.value for each in model.metadata_props}["medseg"])
    del model.metadata_props[:]
    foreign = tmp_path / "foreign.onnx"
    onnx.save(model, foreign)
    image = str(images_of(run)[0])
    assert main(["predict", str(foreign), image, "--out", str(tmp_path / "a")]) == 2
    assert "--preprocessing FILE.yaml" in capsys.readouterr().err
    described = tmp_path / "foreign.yaml"
    described.write_text(yaml.safe_dump({**card["preprocessing"], "classes": 2}))
    words = ["--out", str(tmp_path / "b"), "--preprocessing", str(described), "--no-progress"]
    assert main(["predict", str(foreign), image, *words]) == 0
    found = medseg.Predictor.load(foreign, preprocessing=described)(image)
    assert np.array_equal(found, medseg.Predictor.load(run, precision="fp32")(image))
    described.write_text(yaml.safe_dump({"size": 32, "classes": 2, "colour": "rgb"}))
    assert main(["predict", str(foreign), image, *words, "--overwrite"]) == 2
    assert "has colour; expected the keys" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_weights_outside_of_the_file_are_refused_before_a_runtime_sees_them(
    exported, tmp_path, capsys, place
):
    model = onnx.load(exported("onnx"))
    tensor = max(model.graph.initializer, key=lambda each: each.ByteSize())
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    tensor.ClearField("raw_data")
    file = tmp_path / "outside.onnx"
    file.write_bytes(model.SerializeToString())
    assert main(["predict", str(file), str(file), "--out", str(tmp_path / "out")]) == 2
    assert f"in another file, {place}" in capsys.readouterr().err


def test_bad_input_is_one_line_and_leaves_nothing(run, exported, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "text.pt2").write_text("no model")
    shutil.copy(exported("openvino"), tmp_path / "alone.xml")
    out = tmp_path / "out"
    image = str(images_of(run)[0])
    for command, said in (
        (["export", run, "--format", "tflite"], "onnx, openvino, torch"),
        (["export", tmp_path / "empty"], "holds neither best.pt nor last.pt"),
        (["export", run, "--format", "torch", "--precision", "int8"], "onnx and openvino"),
        (["export", run, "--outputs", "logits"], "expected mask or mask,probability"),
        (["export", run, "--parity-data", tmp_path / "none"], "no such folder"),
        (["export", run, "--opset", "23"], "--ir 8: operator set 23 needs at least"),
        (["export", exported("onnx")], "is an exported file"),
        (["predict", tmp_path / "text.onnx", image], "is not an ONNX file"),
        (["predict", tmp_path / "text.pt2", image], "is not a .pt2 file"),
        (["predict", tmp_path / "alone.xml", image], "alone.bin are not beside it"),
        (["predict", tmp_path / "gone.onnx", image], "no such file"),
        (["predict", exported("onnx"), image, "--threshold", "0.7"], "gives masks, made at"),
        (["predict", exported("onnx"), image, "--save", "probability"], "gives masks only"),
        (["evaluate", exported("onnx")], "give --data NAME|PATH"),
    ):
        words = [str(each) for each in command]
        assert main([*words, "--out", str(out)]) == 2, words
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert said in error, error
        assert not out.exists() or not any(out.iterdir()), words


def test_nothing_is_reported_to_anybody():
    """In a process of its own, since NNCF reports nothing under pytest anyway."""
    code = (
        "from medseg.inference.exported import library; library('openvino'); library('nncf');"
        "from nncf.telemetry.wrapper import telemetry; print(type(telemetry).__name__);"
        "from openvino.tools.ovc import telemetry_utils as t; print(t.tm.Telemetry.__module__)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["MagicMock", "openvino.tools.ovc.telemetry_stub"]


def test_int8_without_training_images_says_so(run, tmp_path, capsys):
    copy = tmp_path / "set"
    shutil.copytree(run.parent / "set", copy)
    shutil.rmtree(copy / "train")
    words = ["--precision", "int8", "--data", str(copy), "--out", str(tmp_path / "out")]
    assert main(["export", str(run), *words]) == 2
    assert "no training images" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_misses_the_limit_is_not_kept(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("medseg.export.parity.PIXELS", -1.0)
    out = tmp_path / "out"
    assert main(["export", str(run), "--out", str(out), "--no-progress"]) == 1
    assert "the limit is" in capsys.readouterr().err
    assert [each.name for each in out.iterdir()] == ["parity.json"]
    assert json.loads((out / "parity.json").read_text())["failed"]


def test_values_that_are_not_finite_fail_whatever_the_masks_say():
    found = {"nan": 3, "differing_share": 0.0, "dice": {"difference": 0.0, "interval": [0, 0]}}
    for precision in ("fp32", "fp16", "int8"):
        assert verdict(found, precision).startswith("3 values are not finite")
        assert verdict(found | {"nan": None}, precision) == ""


def test_activations_beyond_float16_are_refused(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    stored = torch.load(copy / "best.pt", weights_only=True)
    stored["weights"]["down.0.0.0.weight"] *= 1e6
    torch.save(stored, copy / "best.pt")
    words = ["--precision", "fp16", "--out", str(tmp_path / "out")]
    assert main(["export", str(copy), *words]) == 2
    assert "beyond the 65504 of float16" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [["onnxruntime"], ["onnxruntime==1.15.1", "numpy<2"]])
def test_the_example_needs_neither_torch_nor_medseg(run, exported, tmp_path, runtime):
    """In an environment of its own, the mask of `medseg predict` to the last pixel.

    ONNX Runtime 1.15 is the oldest that docs/export.md promises.
    """
    example = Path(__file__).parents[2] / "examples" / "onnx_predict.py"
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "numpy", "pillow", *runtime]
    if subprocess.run(install, env=_plain_environment()).returncode:
        pytest.skip("no packages can be installed here")
    image = images_of(run)[0]
    out = tmp_path / "mask.png"
    command = [python, example, exported("onnx"), image, out]
    subprocess.run(command, check=True, env=_plain_environment())
    expected = medseg.Predictor.load(run, precision="fp32")(image) * 255
    assert np.array_equal(cv2.imread(str(out), cv2.IMREAD_UNCHANGED), expected)


def _plain_environment():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
