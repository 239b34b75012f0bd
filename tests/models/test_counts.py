"""Parameters of every network and of each of its parts, and multiply-adds, against the published
facts.
"""

import pytest
import torch

from medseg.models import MODELS, create_model, model_table, multiply_adds


def build(name, **options):
    with torch.device("meta"):
        return create_model(name, encoder_weights=None, **options)


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "base", "total"),
    [
        ("unet", 32, 8_634_432),
        ("unet", 64, 34_521_216),
        ("unetpp", 32, 8_534_624),
        ("resunet", 32, 2_055_936),
        ("resunet", 64, 8_216_064),
        ("resunetpp", 32, 3_926_894),
        ("ducknet", 17, 40_101_544),
        ("ducknet", 34, 160_284_404),
    ],
)
def test_totals(name, base, total):
    assert count(build(name, base_channels=base)) == total
    if MODELS[name].base_channels == base:
        assert count(build(name)) == total, "the default width"


def test_auxiliary_heads():
    assert count(build("unetpp", auxiliary=True)) == 8_534_624 + 192


def test_parts_of_unet():
    net = build("unet")
    assert [count(part) for part in net.down] == [10_208, 55_552, 221_696, 885_760]
    assert count(net.middle) == 3_540_992
    assert [count(*pair) for pair in zip(net.up, net.merge, strict=True)] == [
        2_950_912,
        738_176,
        184_768,
        46_304,
    ]
    assert count(net.head) == 64


def test_parts_of_unetpp():
    net = build("unetpp")
    parts = {
        name: count(node) + (count(net.up[name]) if name in net.up else 0)
        for name, node in net.node.items()
    }
    assert parts == {
        "00": 10_208,
        "10": 74_080,
        "20": 295_616,
        "30": 1_181_056,
        "40": 4_721_408,
        "01": 27_776,
        "02": 36_992,
        "03": 46_208,
        "11": 129_376,
        "12": 166_240,
        "21": 516_800,
        "31": 885_632,
        "22": 295_360,
        "13": 92_384,
        "04": 55_424,
    }
    assert count(net.head) == 64


def test_parts_of_resunet():
    net = build("resunet")
    assert [count(part) for part in (*net.down, net.bridge, *net.up, net.head)] == [
        10_304,
        57_600,
        229_888,
        918_528,
        639_488,
        160_000,
        40_064,
        64,
    ]


def test_parts_of_resunetpp():
    net = build("resunetpp")
    assert [count(part) for part in net.down] == [10_530, 58_308, 232_328, 919_040]
    assert count(net.bridge) == 1_071_614
    assert [count(part) for part in net.up] == [1_083_778, 382_978, 152_386]
    assert count(net.pyramid, net.head) == 15_932


@pytest.mark.parametrize(
    ("base", "down", "middle", "up", "head"),
    [
        (
            17,
            [43_543, 232_152, 924_392, 3_689_136, 14_739_680],
            14_806_592,
            [4_224_704, 1_058_080, 265_472, 66_844, 50_915],
            34,
        ),
        (
            34,
            [165_688, 924_392, 3_689_136, 14_739_680, 58_924_992],
            59_206_784,
            [16_883_584, 4_224_704, 1_058_080, 265_472, 201_824],
            68,
        ),
    ],
)
def test_parts_of_ducknet(base, down, middle, up, head):
    net = build("ducknet", base_channels=base)
    assert [count(*stage) for stage in zip(net.duck, net.main, net.plain, strict=True)] == down
    assert count(net.middle) == middle
    assert [count(part) for part in net.up] == up
    assert count(net.head) == head


@pytest.mark.parametrize(
    ("decoder", "total"),
    [
        ("unet", 14_328_354),
        ("unetpp", 15_970_594),
        ("deeplabv3", 15_899_202),
        ("deeplabv3plus", 12_329_554),
        ("deeplabv3p", 12_329_554),
        ("fpn", 13_047_362),
        ("linknet", 11_663_810),
        ("manet", 21_675_618),
        ("pan", 11_367_945),
        ("pspnet", 11_334_434),
    ],
)
def test_smp_decoders(decoder, total):
    assert count(build("smp", encoder="resnet18", decoder=decoder)) == total


def test_model_table():
    rows = {row["name"]: row for row in model_table()}
    assert {name: row["gmac_at_320"] for name, row in rows.items()} == {
        "unet": 19.9,
        "unetpp": 42.1,
        "resunet": 17.7,
        "resunetpp": 7.7,
        "ducknet": 38.5,
        "smp unet resnet18": 8.4,
    }
    assert rows["ducknet"]["parameters"] == 40_101_544
    assert rows["smp unet resnet18"]["parameters"] == 14_328_354
    assert all(row["paper"] and row["url"].startswith("https://") for row in rows.values())


def test_multiply_adds():
    assert round(multiply_adds(build("ducknet", base_channels=34), 320) / 1e9, 1) == 153.5
    assert multiply_adds(torch.nn.Conv2d(3, 5, 3, padding=1), 8) == 8 * 8 * 9 * 3 * 5
    assert (
        multiply_adds(torch.nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1), 8, 4)
        == 8 * 8 * 9 * 4 * 2
    )
