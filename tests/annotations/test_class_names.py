"""Names of classes go from dataset.yaml to checkpoint, tables, report and predictions."""

import json

import numpy as np
import pytest
import yaml
from test_formats import save

import medseg
from conftest import FAST, write_part
from medseg.files import read_csv
from medseg.runs import Run

NAMES = ["background", "polyp", "tool"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on three named classes, and its data."""
    root = tmp_path_factory.mktemp("named")
    for part, count, first in (("train", 6, 0), ("validation", 2, 10), ("test", 2, 20)):
        write_part(root / "set" / part, count, first)
        for path in (root / "set" / part / "masks").iterdir():
            mask = np.zeros((56, 64), np.uint8)
            image = next((root / "set" / part / "images").glob(f"{path.stem}.*"))
            mask[10:30, 10:30], mask[35:50, 35:60] = 1, 2
            save(path, mask)
            save(image, np.repeat(mask[..., None] * 100, 3, 2))
    about = {"classes": NAMES, "mask_kind": "index"}
    (root / "set" / "dataset.yaml").write_text(yaml.safe_dump(about))
    options = FAST | {"data": str(root / "set"), "out": str(root / "run"), "epochs": 1}
    medseg.train(**options)
    return root


def test_the_checkpoint_has_them(trained):
    assert Run.open(trained / "run").checkpoint.class_names == tuple(NAMES)


def test_tables_and_reports_have_them(trained):
    found = medseg.evaluate(trained / "run", out=trained / "ev", accelerator="cpu")
    assert found["class_names"] == NAMES
    assert json.loads((trained / "ev" / "summary.json").read_text())["class_names"] == NAMES
    columns = read_csv(trained / "ev" / "per_image.csv")[0].keys()
    assert {"dice_polyp", "dice_tool"} <= columns and "dice_1" not in columns
    assert "background, polyp, tool" in (trained / "ev" / "report.html").read_text()


def test_predictions_have_them(trained):
    out = trained / "predictions"
    images = trained / "set" / "test" / "images"
    found = medseg.predict(trained / "run", images, out, accelerator="cpu", progress=False)
    assert found["classes"] == NAMES
    assert [row["name"] for row in read_csv(out / "classes.csv")] == NAMES
    assert [row["value"] for row in read_csv(out / "classes.csv")] == [0, 1, 2]
