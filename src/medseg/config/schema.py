"""Every option of every command, with its default, its range and its help text. Imports no torch.

Names are unique across sections, so that a flag, a YAML key and a Python keyword are all the bare
name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medseg.config.fields import Size, count_or_auto, duration, option, size, whole_numbers

MODEL_NAMES = ("unet", "unetpp", "resunet", "resunetpp", "ducknet", "smp")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")
MASK_KINDS = ("auto", "binary-255", "binary-01", "index")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images, how they are divided and at which size the network sees them."""

    data: str = option(
        help="data set: a known name ('medseg data list') or a folder", metavar="NAME|PATH"
    )
    data_root: Path = option(Path("data"), "where known data sets lie", metavar="DIR")
    split: str | None = option(
        None,
        "a shipped split, random-80-10-10[-seedN], or a folder of train.txt, "
        "validation.txt, test.txt",
        metavar="NAME|DIR",
    )
    folds: str | None = option(
        None,
        "all: cross-validate over the folders fold-1, fold-2, ... of the --split folder and judge "
        "their test parts together",
        choices=("all",),
    )
    hold_out: float = option(
        0.1,
        "share of train held out for validation where the split has no validation part",
        above=0,
        at_most=0.5,
    )
    size: Size = option(
        (352, 352), "size of the network's input: N or HxW", parse=size, metavar="N|HxW"
    )
    resize: str = option(
        "square",
        "how images reach that size: stretched, padded with their aspect ratio kept, or "
        "cropped at native resolution",
        choices=("square", "letterbox", "native-crop"),
    )
    classes: int = option(
        0,
        "number of classes with the background; 0 reads it from the masks",
        at_least=0,
        at_most=255,
    )
    channels: int = option(
        3, "channels of the network's input: 3, or 1 for grey", at_least=1, at_most=3
    )
    mask_kind: str = option(
        "auto", "how masks are coded; auto recognises it by their values", choices=MASK_KINDS
    )
    bit_depth: int = option(16, "significant bits of 16-bit images", at_least=8, at_most=16)
    cache_dir: Path | None = option(
        None, "where decoded images are kept (default: ~/.cache/medseg)", metavar="DIR"
    )
    workers: int = option(0, "threads that decode images; 0 is one a core", at_least=0, at_most=256)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which network."""

    model: str = option("unet", "network; 'medseg models' describes them", choices=MODEL_NAMES)
    base_channels: int | None = option(
        None, "channels at full resolution (default: the network's own)", at_least=1
    )
    encoder: str | None = option(
        None, "smp: encoder, such as resnet101 or tu-convnext_tiny (default: resnet34)"
    )
    decoder: str | None = option(
        None, "smp: decoder, such as unet, fpn or deeplabv3plus (default: unet)"
    )
    encoder_weights: str | None = option(
        "imagenet", "smp: imagenet, none, or the file of a state dict", metavar="imagenet|none|PATH"
    )
    init: Path | None = option(
        None, "start from the weights of this run or checkpoint", metavar="RUN|PATH"
    )
    auxiliary: bool = option(
        False, "deep supervision through the network's auxiliary heads (unetpp)"
    )
    auxiliary_weights: tuple[float, ...] | None = option(
        None, "weight of each auxiliary head (default: 1 each)", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What training minimises."""

    loss: str = option("ce+dice", "weighted sum of terms, such as 0.5*focal+tversky+0.1*boundary")
    class_weights: tuple[float, ...] | None = option(
        None, "weight of each class, background first", at_least=0
    )
    label_smoothing: float = option(
        0.0, "share of the target spread over all classes", at_least=0, at_most=0.5
    )
    ignore_index: int = option(
        255, "mask value that is left out of loss and metrics", at_least=0, at_most=255
    )
    ohem_threshold: float = option(
        0.7,
        "ohem: pixels predicted with less confidence than this count as hard",
        above=0,
        at_most=1,
    )
    focal_gamma: float = option(2.0, "focal: focusing exponent", at_least=0)
    tversky_alpha: float = option(0.3, "tversky: weight of false positives", at_least=0)
    tversky_beta: float = option(0.7, "tversky: weight of false negatives", at_least=0)


@dataclass(frozen=True, kw_only=True)
class Distill:
    """What a trained network, the teacher, adds to the loss."""

    teacher: tuple[Path, ...] | None = option(
        None,
        "run or checkpoint to learn from; several, or the flag again, are an ensemble",
        metavar="RUN|PATH",
    )
    kd: str = option(
        "kl",
        "weighted sum of kl, mse, cwd, dist, boundary, attention, cwd-features, such as kl+0.5*cwd",
    )
    kd_temperature: float = option(
        4.0, "what logits are divided by in kl, cwd, dist, boundary and cwd-features", above=0
    )
    kd_weight: float = option(1.0, "weight of the sum beside the loss", at_least=0)
    kd_cache: bool = option(
        False,
        "ask the teacher once for each image, before augmentation, and move its answer as the mask"
        " is moved; not for attention and cwd-features",
    )


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Strength of each random change of a training image; 0 turns it off."""

    augment: bool = option(True, "random changes of training images at all")
    scale: tuple[float, float] = option(
        (0.75, 1.5), "zoom factor: lowest and highest", above=0, at_most=10
    )
    translate: float = option(
        0.1, "shift, as a share of the size, beyond what zooming in allows", at_least=0, at_most=1
    )
    rotate: float = option(30.0, "rotation in degrees, either way", at_least=0, at_most=180)
    hflip: float = option(0.5, "probability of a horizontal flip", at_least=0, at_most=1)
    vflip: float = option(0.5, "probability of a vertical flip", at_least=0, at_most=1)
    brightness: float = option(0.2, "brightness factor within 1 +/- this", at_least=0, at_most=1)
    contrast: float = option(0.2, "contrast factor within 1 +/- this", at_least=0, at_most=1)
    saturation: float = option(0.2, "saturation factor within 1 +/- this", at_least=0, at_most=1)
    hue: float = option(0.02, "hue shift, as a share of the colour circle", at_least=0, at_most=0.5)
    blur: float = option(
        0.0,
        "highest sigma of a Gaussian blur, in pixels, on a random half of the images",
        at_least=0,
        at_most=5,
    )


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Optimiser and learning-rate schedule."""

    optimizer: str = option("adamw", "optimiser", choices=("sgd", "adam", "adamw", "rmsprop"))
    lr: float = option(1e-3, "peak learning rate", above=0)
    encoder_lr: float = option(
        1.0, "smp: learning rate of the encoder, as a factor of --lr", at_least=0
    )
    weight_decay: float = option(
        1e-2, "weight decay (decoupled for adamw); not applied to biases and norms", at_least=0
    )
    momentum: float = option(
        0.9, "momentum of sgd and rmsprop, beta1 of adam and adamw", at_least=0, at_most=0.9999
    )
    schedule: str = option(
        "onecycle",
        "learning rate over training",
        choices=("onecycle", "poly", "cosine", "step", "constant"),
    )
    warmup_epochs: float = option(
        3.0, "epochs of rising learning rate, for every schedule", at_least=0
    )
    poly_power: float = option(0.9, "poly: exponent", above=0)
    step_epochs: float = option(30.0, "step: epochs between two reductions", above=0)
    step_factor: float = option(0.1, "step: factor of each reduction", above=0, at_most=1)
    ema: float = option(
        0.0,
        "decay of the moving average of the weights, such as 0.999; 0 is none",
        at_least=0,
        at_most=0.99999,
    )
    clip: float = option(0.0, "highest norm of the gradient; 0 is no limit", at_least=0)
    accumulate: int = option(1, "batches whose gradients are added before a step", at_least=1)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how often it is judged, and what is kept."""

    epochs: int = option(100, "passes over the training images", at_least=1)
    batch_size: int = option(
        16,
        "images a step, over all devices together; auto takes what memory holds, up to 32",
        parse=count_or_auto,
        metavar="N|auto",
    )
    time_budget: float | None = option(
        None,
        "stop after this time (the schedule ends then too), such as 30min",
        parse=duration,
        metavar="TIME",
    )
    val_interval: int = option(1, "epochs between validations", at_least=1)
    val_start: int = option(0, "epochs before the first validation", at_least=0)
    val_batch_size: int | None = option(
        None, "images a validation step on each device (default: as in training)", at_least=1
    )
    patience: int = option(
        0, "stop after this many validations without a better score; 0 never", at_least=0
    )
    select: str = option(
        "best", "weights to keep: best on validation, or last", choices=("best", "last")
    )
    metric: str = option(
        "dice",
        "validation metric that chooses the best (per image, foreground)",
        choices=("dice", "iou"),
    )
    seed: int = option(0, "seed of weights, order and augmentation", at_least=0, at_most=2**31 - 1)
    seeds: tuple[int, ...] | None = option(
        None,
        "train once for each of these seeds and report mean and spread, such as 0,1,2",
        parse=whole_numbers,
        metavar="N,N,...",
    )


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Devices, processes and arithmetic."""

    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    devices: int = option(1, "devices (processes) on each machine", at_least=1)
    num_nodes: int = option(1, "machines", at_least=1)
    precision: str = option(
        "auto",
        "arithmetic of the forward pass; auto is bf16 where the hardware has it, else fp32",
        choices=PRECISIONS,
    )
    sync_bn: bool = option(True, "batch norm over the images of all processes")
    compile: bool = option(False, "compile the network with torch.compile")
    profile: bool = option(
        False, "write a trace of six steps into the run folder and name the slowest part"
    )
    deterministic: bool = option(False, "only deterministic kernels (always the case on CPU)")
    threads: int = option(
        0, "CPU threads for arithmetic in each process; 0 shares the cores", at_least=0
    )


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where results go."""

    out: Path | None = option(
        None, "run folder, new (default: runs/DATA-MODEL-TIME)", metavar="DIR"
    )
    resume: Path | None = option(None, "go on with this run where it stopped", metavar="RUN")
    tensorboard: bool = option(True, "write TensorBoard curves and pictures")
    pictures: int = option(4, "validation images drawn in TensorBoard", at_least=0, at_most=64)
    log_every: int = option(10, "steps between two readings of the loss", at_least=1)
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a network; evaluate the best weights on validation and, once, on test."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    distill: Distill = field(default_factory=Distill)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    training: Training = field(default_factory=Training)
    hardware: Hardware = field(default_factory=Hardware)
    output: Output = field(default_factory=Output)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is tried, how it is chosen, and where the study is kept."""

    trials: int = option(
        100, "trials of the study, over all workers and all calls of the command", at_least=1
    )
    study: str = option("search", "name of the study; a known one goes on")
    storage: str | None = option(
        None,
        "SQLAlchemy URL of the database, such as postgresql://USER@HOST/NAME (default: the "
        "environment variable MEDSEG_STORAGE, else a SQLite file in --out)",
        metavar="URL",
    )
    space: Path | None = option(
        None,
        "YAML file of config paths with distributions (default: the space in docs/search.md)",
        metavar="FILE",
    )
    sampler: str = option(
        "tpe",
        "what proposes values; cmaes and gp need packages of their own",
        choices=("tpe", "random", "cmaes", "gp"),
    )
    pruner: str = option(
        "median", "what gives trials up early", choices=("median", "hyperband", "none")
    )
    startup: int = option(
        5, "median: trials that run to their end before any is given up", at_least=0
    )
    grace: float = option(
        120.0,
        "a worker that has been silent this long is lost, and its trial is tried again",
        parse=duration,
        metavar="TIME",
    )
    retrain: bool = option(
        True, "after the study train the winner and the default in full, and test each once"
    )
    dashboard: bool = option(False, "open optuna-dashboard on the study instead of working on it")
    json: bool = option(False, "print search.json to standard output")


@dataclass(frozen=True, kw_only=True)
class SearchData(Data):
    """Which images; two options mean something else than in training."""

    folds: int | None = option(
        0,
        "judge a trial by cross-validation with this many folds over train and validation, groups"
        " kept together; 0 judges on the validation part",
        at_least=0,
    )
    workers: int = option(
        1,
        "processes that share the study on this machine; 0, as in the recipe of a training, is 1",
        at_least=0,
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Search for better options of a training; every option of 'medseg train' is one here too."""

    search: Search = field(default_factory=Search)
    data: SearchData = field(default_factory=SearchData)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    distill: Distill = field(default_factory=Distill)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    training: Training = field(default_factory=Training)
    hardware: Hardware = field(default_factory=Hardware)
    output: Output = field(default_factory=Output)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Judge a run, or a folder of predictions, on a part of a data set, at the native resolution of
    each mask.
    """

    run: Path = option(
        help="run folder, checkpoint, or folder of predictions (masks or probability maps)",
        positional=True,
    )
    references: Path | None = option(
        None,
        "folder of reference masks for a folder of predictions, instead of --data",
        metavar="DIR",
    )
    protocols: str = option(
        "basic",
        "basic: three conventions; all: those of published tables too, distances, lesions "
        "and calibration",
        choices=("basic", "all"),
    )
    spacing: tuple[float, float] = option(
        (1.0, 1.0), "height and width of a pixel, for distances", above=0
    )
    tolerance: float = option(
        2.0, "surface Dice: distance that counts as right, in the unit of --spacing", at_least=0
    )
    data: str | None = option(
        None, "another data set (default: the run's own)", metavar="NAME|PATH"
    )
    data_root: Path | None = option(
        None, "where known data sets lie (default: the run's own)", metavar="DIR"
    )
    split: str | None = option(None, "its split (default: the run's own)", metavar="NAME|DIR")
    split_part: str = option(
        "test", "part to judge", choices=("train", "validation", "test", "all")
    )
    out: Path | None = option(
        None, "folder of the results (default: RUN/evaluate/DATA-SPLIT-PART)", metavar="DIR"
    )
    json: bool = option(False, "print summary.json to standard output")
    threshold: float = option(
        0.5,
        "foreground probability from which a pixel counts as foreground (2 classes)",
        above=0,
        at_most=1,
    )
    batch_size: int = option(8, "images a step", at_least=1)
    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    precision: str = option("auto", "arithmetic", choices=PRECISIONS)
    workers: int = option(0, "threads that decode images; 0 is one a core", at_least=0, at_most=256)
    overwrite: bool = option(False, "replace results that --out already holds")
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Say which of several runs differ on the same images."""

    runs: tuple[Path, ...] = option(
        help="run folders, or folders that 'medseg evaluate --out' wrote",
        positional=True,
        metavar="RUN",
    )
    split_part: str = option(
        "test", "part that run folders are compared on", choices=("train", "validation", "test")
    )
    metric: str = option("dice", "column of per_image.csv to compare")
    out: Path | None = option(
        None, "folder of compare.html and compare.json (default: runs/compare-TIME)", metavar="DIR"
    )
    overwrite: bool = option(False, "replace results that --out already holds")
    json: bool = option(False, "print compare.json to standard output")


@dataclass(frozen=True, kw_only=True)
class LintConfig:
    """Check a table of published results against arithmetic."""

    table: Path = option(
        help="CSV file with columns for Dice and IoU of the same results",
        positional=True,
        metavar="TABLE.csv",
    )
    json: bool = option(False, "print one JSON document")


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Fit the temperature of a run's probabilities on its validation part and store it with the
    run.
    """

    run: Path = option(help="run folder or checkpoint", positional=True)
    data_root: Path | None = option(
        None, "where known data sets lie (default: the run's own)", metavar="DIR"
    )
    batch_size: int = option(8, "images a step", at_least=1)
    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    precision: str = option("auto", "arithmetic", choices=PRECISIONS)
    workers: int = option(0, "threads that decode images; 0 is one a core", at_least=0, at_most=256)
    json: bool = option(False, "print the result as one JSON document")
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Write the masks that a run predicts for images of any size and format."""

    run: Path = option(help="run folder or checkpoint", positional=True)
    images: tuple[str, ...] = option(
        help="images or folders of images", positional=True, metavar="IMAGE|FOLDER"
    )
    out: Path = option(help="folder of the results", metavar="DIR")
    save: str = option(
        "mask,overlay", "what to write: any of mask, overlay, probability, joined by commas"
    )
    alpha: float = option(0.3, "opacity of the overlay", at_least=0, at_most=1)
    threshold: float = option(
        0.5,
        "foreground probability from which a pixel counts as foreground (2 classes)",
        above=0,
        at_most=1,
    )
    batch_size: int = option(8, "images a step", at_least=1)
    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    precision: str = option("auto", "arithmetic", choices=PRECISIONS)
    workers: int = option(
        0, "threads that read and write images; 0 is one a core", at_least=0, at_most=256
    )
    overwrite: bool = option(False, "replace results that --out already holds")
    json: bool = option(False, "print what was written as one JSON document")
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class SynthesizeConfig:
    """Generate colonoscopy-like scenes with polyps, divided into train, validation and test."""

    out: Path = option(help="new folder", positional=True)
    images: int = option(200, "images in all", at_least=9)
    size: int = option(256, "height in pixels", at_least=64, at_most=2048)
    seed: int = option(0, "seed; the same seed gives the same files", at_least=0, at_most=2**31 - 1)
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Turn a data set as distributed into PolypDataset/NAME/{train,validation,test}/{images,masks}."""

    name: str = option(help="known data set; see 'medseg data list'", positional=True)
    source: Path = option(help="archive or folder as distributed; it is only read", positional=True)
    out: Path = option(help="folder that gets PolypDataset/", metavar="DIR")
    split: str | None = option(None, "split scheme (default: the recommended one)", metavar="NAME")
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Look for faults in a data set; exit code 1 when there are some."""

    data: str = option(
        help="data set: a known name ('medseg data list') or a folder; it is only read",
        positional=True,
        metavar="NAME|PATH",
    )
    data_root: Path = option(Path("data"), "where known data sets lie", metavar="DIR")
    split: str | None = option(
        None, "check the images of this split, and whether its parts share any", metavar="NAME|DIR"
    )
    mask_kind: str = option(
        "auto", "how masks should be coded; auto takes what most of them are", choices=MASK_KINDS
    )
    classes: int = option(
        0,
        "number of classes with the background; 0 takes what the masks hold",
        at_least=0,
        at_most=255,
    )
    bit_depth: int = option(16, "significant bits of 16-bit images", at_least=8, at_most=16)
    ignore: str = option("", "codes not to look for, joined by commas, such as MS009,MS011")
    fix: Path | None = option(None, "write a repaired copy to this new folder", metavar="DIR")
    list: bool = option(False, "print one line for each finding, not one for each code")
    json: bool = option(False, "print everything as one JSON document")
    workers: int = option(0, "threads that read files; 0 is one a core", at_least=0, at_most=256)
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class LeaksConfig:
    """Find images that stand in two parts of a split: copies, the same scene, the same video
    sequence or patient.
    """

    data: str = option(
        help="data set: a known name ('medseg data list') or a folder",
        positional=True,
        metavar="NAME|PATH",
    )
    data_root: Path = option(Path("data"), "where known data sets lie", metavar="DIR")
    split: str | None = option(
        None,
        "the split to examine (default: the parts on disk, or all images together)",
        metavar="NAME|DIR",
    )
    against: tuple[str, ...] = option(
        (), "other data sets, each taken as one more part", metavar="NAME|PATH"
    )
    groups: str = option(
        "known",
        "sequences or patients: known (groups.csv, the catalog), none, or a CSV of name,group",
        metavar="known|none|FILE",
    )
    out: Path | None = option(
        None, "folder of the results (default: leaks/DATA-SPLIT)", metavar="DIR"
    )
    workers: int = option(0, "threads that read images; 0 is one a core", at_least=0, at_most=256)
    overwrite: bool = option(False, "replace results that --out already holds")
    json: bool = option(False, "print leaks.json to standard output")
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Divide a data set into folds that keep video sequences or patients together, as text lists."""

    data: str = option(
        help="data set: a known name ('medseg data list') or a folder",
        positional=True,
        metavar="NAME|PATH",
    )
    data_root: Path = option(Path("data"), "where known data sets lie", metavar="DIR")
    scheme: str = option(
        "grouped-kfold",
        "grouped-kfold keeps groups together; random-kfold does not, and leaks where there "
        "are groups",
        choices=("grouped-kfold", "random-kfold"),
    )
    folds: int = option(5, "number of folds", at_least=2, at_most=100)
    groups: str = option(
        "known",
        "what stays together: known (groups.csv, the catalog), a CSV of name,group, or auto:"
        " clusters of images that show the same scene",
        metavar="known|auto|FILE",
    )
    seed: int = option(0, "seed; the same seed gives the same folds", at_least=0, at_most=2**31 - 1)
    out: Path | None = option(
        None, "new folder of the folds (default: folds/DATA-SCHEME)", metavar="DIR"
    )
    workers: int = option(0, "threads that read images; 0 is one a core", at_least=0, at_most=256)
    json: bool = option(False, "print split.json to standard output")
    progress: bool = option(True, "progress bar")


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Measure how fast this machine works, against the plain way of doing the same."""

    what: str = option(
        help="train, predict (a folder), latency (of one image), or data (feeding)",
        positional=True,
        choices=("train", "predict", "latency", "data"),
    )
    model: str = option("unet", "network; 'medseg models' describes them", choices=MODEL_NAMES)
    base_channels: int | None = option(
        None, "channels at full resolution (default: the network's own)", at_least=1
    )
    encoder: str | None = option(None, "smp: encoder")
    decoder: str | None = option(None, "smp: decoder")
    size: Size = option(
        (320, 320), "size of the network's input: N or HxW", parse=size, metavar="N|HxW"
    )
    batch_size: int | None = option(
        None, "images a step (default: 4 on a CPU, else 16)", at_least=1
    )
    accelerator: str = option("auto", "hardware", choices=ACCELERATORS)
    precision: str = option("auto", "arithmetic of the fast path", choices=PRECISIONS)
    threads: int = option(0, "CPU threads; 0 is all cores", at_least=0)
    compile: bool = option(False, "compile the network of the fast path")
    seconds: float = option(15.0, "measure for this long, after warming up", above=0)
    json: bool = option(False, "print one JSON document")


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """Show what is known."""

    json: bool = option(False, "print one JSON document")
