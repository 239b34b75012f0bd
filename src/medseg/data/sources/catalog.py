"""Facts of each known data set. The data themselves are the owners': medseg ships none of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from medseg.config import CatalogConfig
from medseg.data.sources.groups import TABLE, read_groups
from medseg.data.sources.splits import shipped, shipped_folder


@dataclass(frozen=True)
class Entry:
    """A data set: `folder` as in the PolypDataset layout, `images` as published.

    `also` are other names of its folder, `fewer` the counts of common downloads that lack some.
    `sequences` holds the last frame of each video sequence; `group` is a regular expression whose
    first part is the group in a name. `pattern` says how its files pair where their names do not,
    and `naming` what an image is called then, by {group} and {stem}.
    """

    folder: str
    images: int
    homepage: str
    licence: str
    citation: str
    download: str
    split: str = ""  # the one that `prepare` takes by default
    notes: str = ""
    sequences: tuple[int, ...] = field(default=())
    also: tuple[str, ...] = ()
    fewer: tuple[int, ...] = ()
    group: str = ""
    pattern: tuple[str, str] | None = None
    naming: str = ""


# fmt: off
_CLINICDB_ENDS = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363,
    383, 408, 428, 447, 466, 478, 503, 528, 546, 571, 591, 612,
)
# of the set's own readme, which numbers them 1 2 3 5 6 7 9 10 11 14 15 4 8 12 13
_COLONDB_ENDS = (38, 60, 76, 97, 148, 155, 203, 208, 263, 273, 300, 320, 340, 360, 380)
# fmt: on

CATALOG: dict[str, Entry] = {
    "kvasir-seg": Entry(
        "Kvasir-SEG",
        1000,
        "https://datasets.simula.no/kvasir-seg/",
        "research and educational use; other use needs the owners' written permission",
        "Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020, doi"
        " 10.1007/978-3-030-37734-2_37",
        "kvasir-seg.zip from the homepage: images/ and masks/, JPEG",
        "effisegnet-800-100-100",
        "masks are JPEG: medseg thresholds them at 127. Patients are not known; images of the same"
        " lesion at one moment are groups: the older splits divide some, grouped-800-100-100 none",
    ),
    "cvc-clinicdb": Entry(
        "CVC-ClinicDB",
        612,
        "https://polyp.grand-challenge.org/CVCClinicDB/",
        "research and education, by the owners' terms; no commercial use without permission",
        "Bernal et al., WM-DOVA maps for accurate polyp highlighting in colonoscopy, Comput. Med."
        " Imaging Graph. 43, 2015, doi 10.1016/j.compmedimag.2015.02.007",
        "CVC-ClinicDB.rar from the homepage, unpacked: Original/ and Ground Truth/, TIFF or PNG",
        "endoscene-patient-disjoint",
        "612 frames of 29 video sequences: random splits and pranet-550-62 leak",
        _CLINICDB_ENDS,
    ),
    "cvc-colondb": Entry(
        "CVC-ColonDB",
        380,
        "http://vi.cvc.uab.es/colon-qa/cvccolondb/",
        "research use; no explicit licence is published, ask the owners for any other use",
        "Bernal, Sanchez, Vilarino, Towards automatic polyp detection with a polyp appearance"
        " model, Pattern Recognition 45, 2012, doi 10.1016/j.patcog.2012.03.002",
        "380 frames, from the homepage (CVC-ColonDB.zip: 1.tiff with p1.tiff, ...) or the links of"
        " published polyp benchmarks (images/ and masks/)",
        "endoscene-patient-disjoint",
        "380 frames of 15 video sequences; holds the 60 frames of CVC-300 as 149 to 208; some"
        " frames repeat each other exactly",
        _COLONDB_ENDS,
    ),
    "etis-larib": Entry(
        "ETIS-LaribPolypDB",
        196,
        "https://polyp.grand-challenge.org/ETISLarib/",
        "research use; no explicit licence is published, ask the owners for any other use",
        "Silva et al., Toward embedded detection of polyps in WCE images for early diagnosis of"
        " colorectal cancer, IJCARS 9, 2014, doi 10.1007/s11548-013-0926-3",
        "196 frames with masks named p1, p2, ...",
        "pranet-test-only",
    ),
    "cvc-300": Entry(
        "CVC-300",
        60,
        "https://arxiv.org/abs/1612.00799",
        "research use; no explicit licence is published, ask the owners for any other use",
        "Vazquez et al., A Benchmark for Endoluminal Scene Segmentation of Colonoscopy Images, J."
        " Healthc. Eng. 2017, doi 10.1155/2017/4037190",
        "60 frames with masks, from the links of published polyp benchmarks",
        "pranet-test-only",
        "a test set only; its frames are frames 149 to 208 of CVC-ColonDB",
    ),
    "polypgen": Entry(
        "PolypGen",
        1537,
        "https://doi.org/10.7303/syn26376615",
        "research use by the owners' terms; cite it",
        "Ali et al., A multi-centre polyp detection and segmentation dataset for generalisability"
        " assessment, Scientific Data 10, 75, 2023, doi 10.1038/s41597-023-01981-y",
        "the folder of single frames, data_C1 to data_C6, each with images_C1 and masks_C1, ...",
        "leave-C1-out",
        "six hospitals, which are the groups; some frames show no polyp. Leave one centre out:"
        " frames of one patient lie beside each other. The shipped splits are of C1 to C4",
        also=("PolypGen-C1-C4",),
        fewer=(1241,),
        group=r"(C\d)_",
        pattern=("**/images_{group}/*", "**/masks_{group}/{stem}_mask"),
        naming="{group}_{stem}",
    ),
    "isic-2018": Entry(
        "ISIC-2018",
        3694,
        "https://challenge.isic-archive.com/data/#2018",
        "as the homepage says; cite the challenge",
        "Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv 1902.03368",
        "the folders ISIC2018_Task1-2_*_Input and ISIC2018_Task1_*_GroundTruth side by side",
        notes="2594 training, 100 validation and 1000 test images; patients are not known",
        fewer=(2594, 2694),
    ),
    "busi": Entry(
        "BUSI",
        780,
        "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        "no licence in the archive; cite it, ask the owners for other than research use",
        "Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28, 2020, doi"
        " 10.1016/j.dib.2019.104863",
        "Dataset_BUSI_with_GT.zip: benign/, malignant/ and normal/, images and masks together",
        notes="several masks of one image are united; the normal images have empty masks; patients"
        " are not known, so that a random split may leak",
    ),
    "drive": Entry(
        "DRIVE",
        40,
        "https://drive.grand-challenge.org/",
        "research and education, by the owners' terms",
        "Staal et al., Ridge-based vessel segmentation in color images of the retina, IEEE TMI 23,"
        " 2004, doi 10.1109/TMI.2004.825627",
        "DRIVE.zip: training/ and test/, each with images/, 1st_manual/ and mask/",
        notes="the first observer's drawings are the masks; mask/ holds the field of view. Newer"
        " downloads have no drawings for test",
        fewer=(20,),
    ),
    "chase-db1": Entry(
        "CHASE_DB1",
        28,
        "https://researchdata.kingston.ac.uk/96/",
        "as the homepage says; cite it",
        "Fraz et al., An Ensemble Classification-Based Approach Applied to Retinal Blood Vessel"
        " Segmentation, IEEE TBME 59, 2012, doi 10.1109/TBME.2012.2205687",
        "CHASEDB1.zip: Image_01L.jpg with Image_01L_1stHO.png and Image_01L_2ndHO.png, ...",
        notes="both eyes of 14 children, who are the groups: a random split leaks, folds by 'medseg"
        " data split' do not. The first observer's drawings are the masks",
        group=r"Image_(\d+)[LR]",
    ),
    "dsb2018": Entry(
        "DSB2018",
        670,
        "https://bbbc.broadinstitute.org/BBBC038",
        "CC0 1.0",
        "Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science"
        " Bowl, Nature Methods 16, 2019, doi 10.1038/s41592-019-0612-7",
        "stage1_train.zip: a folder per image with images/ and masks/, one mask per nucleus",
        notes="the masks of an image are united: touching nuclei become one; images of one"
        " experiment are not known as groups",
    ),
    "glas": Entry(
        "GlaS",
        165,
        "https://warwick.ac.uk/fac/cross_fac/tia/data/glascontest/",
        "research use, as the homepage says",
        "Sirinukunwattana et al., Gland segmentation in colon histology images: The GlaS challenge"
        " contest, Medical Image Analysis 35, 2017, doi 10.1016/j.media.2016.08.008",
        "the archive of the homepage: train_1.bmp with train_1_anno.bmp, testA_1.bmp, ...",
        notes="85 images for training, and 60 and 20 for test (A and B, together here); masks"
        " number the glands, so say what the numbers mean with --class-map",
    ),
    "synthetic": Entry(
        "synthetic",
        0,
        "",
        "made by medseg: yours",
        "",
        "nothing: medseg data synthesize DIR/synthetic, then --data-root DIR",
    ),
}


def catalog_table() -> list[dict[str, Any]]:
    """One row per data set, for the user."""
    return [
        {
            "name": name,
            "folder": entry.folder,
            "images": entry.images or None,
            "homepage": entry.homepage,
            "licence": entry.licence,
            "citation": entry.citation,
            "download": entry.download,
            "notes": entry.notes,
            "splits": shipped(entry.folder),
        }
        for name, entry in CATALOG.items()
    ]


def group_of(entry: Entry, name: str) -> str | None:
    """The group of an image that the catalog knows.

    The video sequence of a frame named by its number, or the group in the table that comes with
    the splits of the data set (splits/Kvasir-SEG/groups.csv).
    """
    if entry.group:
        match = re.match(entry.group, name)
        return match[1] if match else None
    if not entry.sequences:
        return _shipped_groups(entry.folder).get(name)
    if not name.isdigit() or not 1 <= int(name) <= entry.sequences[-1]:
        return None
    return str(1 + sum(int(name) > last for last in entry.sequences))


@cache
def _shipped_groups(folder: str) -> dict[str, str]:
    """Group by name in the groups.csv shipped for a data set; empty where there is none."""
    table = shipped_folder() / folder / TABLE
    return read_groups(table) if table.is_file() else {}


def list_datasets(config: CatalogConfig) -> list[dict[str, Any]]:
    """`medseg data list`."""
    return catalog_table()


def show_datasets(rows: list[dict[str, Any]], config: CatalogConfig) -> None:
    """Print what is known of each data set."""
    for row in rows:
        print(row["name"])
        for key, value in row.items():
            if key != "name" and value:
                print(f"  {key}: {', '.join(value) if isinstance(value, list) else value}")
