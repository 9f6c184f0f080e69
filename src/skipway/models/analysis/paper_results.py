"""Published results of each network: paper, depth, cost and errors, with their sources.

Errors are in percent, and of the network as it is built here: results of other forms (stride or shortcut) are omitted,
and so are results that could not be verified at their source. A network without results has its paper and depth.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """`short` is the first author and the year."""

    short: str
    arxiv: str
    year: int


@dataclass(frozen=True)
class Result:
    """Error on `test` in percent, None if it is not given; `source`: who measured it, and where it is published."""

    test: str
    top1: float | None
    top5: float | None
    source: str


@dataclass(frozen=True)
class Published:
    """`depth` counts weighted layers as in the paper, and `size` is the side of its images in pixels.

    `parameters` and `multiply_adds` have the published number of digits, from `counted_by`. The first of `results` is
    shown where there is room for only one.
    """

    paper: Paper
    depth: int
    size: int
    results: tuple[Result, ...] = ()
    parameters: int | None = None
    multiply_adds: int | None = None
    counted_by: str = ""


ONE_CROP, TEN_CROPS, CROP_320 = "ImageNet, 1 crop", "ImageNet, 10 crops", "ImageNet, 1 crop of 320"
CIFAR10, CIFAR100 = "CIFAR-10", "CIFAR-100"

HE_2015 = Paper("He 2015", "1512.03385", 2015)
HE_2016 = Paper("He 2016", "1603.05027", 2016)
HE_2018 = Paper("He 2018", "1812.01187", 2018)
HU_2017 = Paper("Hu 2017", "1709.01507", 2017)
HUANG_2016 = Paper("Huang 2016", "1608.06993", 2016)
IOFFE_2015 = Paper("Ioffe 2015", "1502.03167", 2015)
KRIZHEVSKY_2014 = Paper("Krizhevsky 2014", "1404.5997", 2014)
SIMONYAN_2014 = Paper("Simonyan 2014", "1409.1556", 2014)
SRIVASTAVA_2015 = Paper("Srivastava 2015", "1507.06228", 2015)
SZEGEDY_2014 = Paper("Szegedy 2014", "1409.4842", 2014)
XIE_2016 = Paper("Xie 2016", "1611.05431", 2016)
ZAGORUYKO_2016 = Paper("Zagoruyko 2016", "1605.07146", 2016)
ZHANG_2019 = Paper("Zhang 2019", "1904.11486", 2019)

TORCHVISION = "torchvision"


def torchvision(top1: float, top5: float) -> Result:
    """The published accuracy of torchvision's first weights (V1)."""
    return Result(ONE_CROP, round(100 - top1, 3), round(100 - top5, 3), "torchvision, weights V1")


PUBLISHED: dict[str, Published] = {
    # resnet.py
    "resnet18": Published(
        HE_2015,
        18,
        224,
        results=(torchvision(69.758, 89.078),),
        parameters=11_689_512,
        multiply_adds=1_814_000_000,
        counted_by=TORCHVISION,
    ),
    "resnet34": Published(
        HE_2015,
        34,
        224,
        results=(
            torchvision(73.314, 91.420),
            Result(TEN_CROPS, 24.52, 7.46, "Table 3, B"),
        ),
        parameters=21_797_672,
        multiply_adds=3_664_000_000,
        counted_by=TORCHVISION,
    ),
    "resnet50": Published(
        HE_2015,
        50,
        224,
        results=(torchvision(76.130, 92.862),),
        parameters=25_557_032,
        multiply_adds=4_089_000_000,
        counted_by=TORCHVISION,
    ),
    "resnet101": Published(
        HE_2015,
        101,
        224,
        results=(torchvision(77.374, 93.546),),
        parameters=44_549_160,
        multiply_adds=7_801_000_000,
        counted_by=TORCHVISION,
    ),
    "resnet152": Published(
        HE_2015,
        152,
        224,
        results=(torchvision(78.312, 94.046),),
        parameters=60_192_808,
        multiply_adds=11_514_000_000,
        counted_by=TORCHVISION,
    ),
    "resnet50_v1": Published(
        HE_2015,
        50,
        224,
        results=(
            Result(ONE_CROP, 24.7, 7.8, "the authors' weights"),
            Result(TEN_CROPS, 22.85, 6.71, "Table 3"),
        ),
        multiply_adds=3_800_000_000,
        counted_by="Table 1",
    ),
    "resnet101_v1": Published(
        HE_2015,
        101,
        224,
        results=(
            Result(ONE_CROP, 23.6, 7.1, "the authors' weights"),
            Result(TEN_CROPS, 21.75, 6.05, "Table 3"),
        ),
        multiply_adds=7_600_000_000,
        counted_by="Table 1",
    ),
    "resnet152_v1": Published(
        HE_2015,
        152,
        224,
        results=(
            Result(ONE_CROP, 23.0, 6.7, "the authors' weights"),
            Result(TEN_CROPS, 21.43, 5.71, "Table 3"),
        ),
        multiply_adds=11_300_000_000,
        counted_by="Table 1",
    ),
    "resnet20": Published(
        HE_2015, 20, 32, results=(Result(CIFAR10, 8.75, None, "Table 6"),), parameters=270_000, counted_by="Table 6"
    ),
    "resnet32": Published(
        HE_2015, 32, 32, results=(Result(CIFAR10, 7.51, None, "Table 6"),), parameters=460_000, counted_by="Table 6"
    ),
    "resnet44": Published(
        HE_2015, 44, 32, results=(Result(CIFAR10, 7.17, None, "Table 6"),), parameters=660_000, counted_by="Table 6"
    ),
    "resnet56": Published(
        HE_2015, 56, 32, results=(Result(CIFAR10, 6.97, None, "Table 6"),), parameters=850_000, counted_by="Table 6"
    ),
    "resnet110": Published(
        HE_2015,
        110,
        32,
        results=(Result(CIFAR10, 6.61, None, "Table 6, mean of 5 runs"),),
        parameters=1_700_000,
        counted_by="Table 6",
    ),
    "resnet1202": Published(
        HE_2015,
        1202,
        32,
        results=(Result(CIFAR10, 7.93, None, "Table 6"),),
        parameters=19_400_000,
        counted_by="Table 6",
    ),
    "plain18": Published(HE_2015, 18, 224, results=(Result(TEN_CROPS, 27.94, None, "Table 2"),)),
    "plain34": Published(
        HE_2015,
        34,
        224,
        results=(Result(TEN_CROPS, 28.54, 10.02, "Table 3"),),
        multiply_adds=3_600_000_000,
        counted_by="He 2015",
    ),
    "plain20": Published(HE_2015, 20, 32),
    "plain32": Published(HE_2015, 32, 32),
    "plain44": Published(HE_2015, 44, 32),
    "plain56": Published(HE_2015, 56, 32),
    "plain110": Published(HE_2015, 110, 32),
    # resnetd.py; the errors are of later weights, since the paper's could not be verified
    "resnet18d": Published(HE_2018, 18, 224),
    "resnet34d": Published(HE_2018, 34, 224),
    "resnet50d": Published(HE_2018, 50, 224, results=(Result(ONE_CROP, 20.92, None, "timm, weights gluon_in1k"),)),
    "resnet101d": Published(HE_2018, 101, 224, results=(Result(ONE_CROP, 19.534, None, "timm, weights gluon_in1k"),)),
    "resnet152d": Published(HE_2018, 152, 224, results=(Result(ONE_CROP, 19.524, None, "timm, weights gluon_in1k"),)),
    "resnet200d": Published(HE_2018, 200, 224),
    "resnet18d_x0_5": Published(HE_2018, 18, 224),
    # senet.py; the authors count with the stride in the first 1x1, so their multiply-adds differ
    "seresnet18": Published(HU_2017, 18, 224),
    "seresnet34": Published(HU_2017, 34, 224),
    "seresnet50": Published(HU_2017, 50, 224, results=(Result(ONE_CROP, 22.37, 6.36, "the authors' weights"),)),
    "seresnet101": Published(HU_2017, 101, 224, results=(Result(ONE_CROP, 21.75, 5.72, "the authors' weights"),)),
    "seresnet152": Published(HU_2017, 152, 224, results=(Result(ONE_CROP, 21.34, 5.54, "the authors' weights"),)),
    # blurpool.py
    "resnet18_blur": Published(ZHANG_2019, 18, 224, results=(Result(ONE_CROP, 28.33, None, "the author's weights"),)),
    "resnet34_blur": Published(ZHANG_2019, 34, 224, results=(Result(ONE_CROP, 25.4, None, "the author's weights"),)),
    "resnet50_blur": Published(ZHANG_2019, 50, 224, results=(Result(ONE_CROP, 22.59, None, "the author's weights"),)),
    "resnet101_blur": Published(ZHANG_2019, 101, 224, results=(Result(ONE_CROP, 21.62, None, "the author's weights"),)),
    "resnet152_blur": Published(ZHANG_2019, 152, 224, results=(Result(ONE_CROP, 20.93, None, "the author's weights"),)),
    # resnext.py
    "resnext50_32x4d": Published(
        XIE_2016,
        50,
        224,
        results=(
            torchvision(77.618, 93.698),
            Result(ONE_CROP, 22.2, None, "the authors' weights"),
        ),
        parameters=25_028_904,
        multiply_adds=4_230_000_000,
        counted_by=TORCHVISION,
    ),
    "resnext101_32x8d": Published(
        XIE_2016,
        101,
        224,
        results=(torchvision(79.312, 94.526),),
        parameters=88_791_336,
        multiply_adds=16_414_000_000,
        counted_by=TORCHVISION,
    ),
    "resnext101_64x4d": Published(
        XIE_2016,
        101,
        224,
        results=(Result(ONE_CROP, 20.4, None, "the authors' weights"),),
        parameters=83_455_272,
        multiply_adds=15_460_000_000,
        counted_by=TORCHVISION,
    ),
    "resnext29_8x64d": Published(
        XIE_2016,
        29,
        32,
        results=(
            Result(CIFAR10, 3.65, None, "Table 7, mean of 10 runs"),
            Result(CIFAR100, 17.77, None, "Table 7, mean of 10 runs"),
        ),
        parameters=34_400_000,
        counted_by="Table 7",
    ),
    "resnext29_16x64d": Published(
        XIE_2016,
        29,
        32,
        results=(
            Result(CIFAR10, 3.58, None, "Table 7, mean of 10 runs"),
            Result(CIFAR100, 17.31, None, "Table 7, mean of 10 runs"),
        ),
        parameters=68_100_000,
        counted_by="Table 7",
    ),
    # wide_resnet.py
    "wide_resnet50_2": Published(
        ZAGORUYKO_2016,
        50,
        224,
        results=(
            torchvision(78.468, 94.086),
            Result(ONE_CROP, 21.9, 5.79, "the authors' weights"),
        ),
        parameters=68_883_240,
        multiply_adds=11_398_000_000,
        counted_by=TORCHVISION,
    ),
    "wide_resnet101_2": Published(
        ZAGORUYKO_2016,
        101,
        224,
        results=(torchvision(78.848, 94.284),),
        parameters=126_886_696,
        multiply_adds=22_753_000_000,
        counted_by=TORCHVISION,
    ),
    "wrn28_10": Published(
        ZAGORUYKO_2016,
        28,
        32,
        results=(
            Result(CIFAR10, 4.00, None, "the authors' code, median of 5 runs"),
            Result(CIFAR100, 19.25, None, "the authors' code, median of 5 runs"),
        ),
        parameters=36_500_000,
        counted_by="the authors' code",
    ),
    "wrn40_4": Published(ZAGORUYKO_2016, 40, 32),
    # densenet.py
    "densenet121": Published(
        HUANG_2016,
        121,
        224,
        results=(
            torchvision(74.434, 91.972),
            Result(ONE_CROP, 25.0, None, "the authors' weights"),
        ),
        parameters=7_978_856,
        multiply_adds=2_834_000_000,
        counted_by=TORCHVISION,
    ),
    "densenet161": Published(
        HUANG_2016,
        161,
        224,
        results=(
            torchvision(77.138, 93.560),
            Result(ONE_CROP, 22.2, None, "the authors' weights"),
        ),
        parameters=28_681_000,
        multiply_adds=7_728_000_000,
        counted_by=TORCHVISION,
    ),
    "densenet169": Published(
        HUANG_2016,
        169,
        224,
        results=(
            torchvision(75.600, 92.806),
            Result(ONE_CROP, 23.6, None, "the authors' weights"),
        ),
        parameters=14_149_480,
        multiply_adds=3_360_000_000,
        counted_by=TORCHVISION,
    ),
    "densenet201": Published(
        HUANG_2016,
        201,
        224,
        results=(
            torchvision(76.896, 93.370),
            Result(ONE_CROP, 22.5, None, "the authors' weights"),
        ),
        parameters=20_013_928,
        multiply_adds=4_291_000_000,
        counted_by=TORCHVISION,
    ),
    "densenet40_12": Published(
        HUANG_2016,
        40,
        32,
        results=(
            Result(CIFAR10, 5.24, None, "the authors' code"),
            Result(CIFAR100, 24.42, None, "the authors' code"),
        ),
        parameters=1_000_000,
        counted_by="the authors' code",
    ),
    "densenet100_12_bc": Published(
        HUANG_2016,
        100,
        32,
        results=(
            Result(CIFAR10, 4.51, None, "the authors' code"),
            Result(CIFAR100, 22.27, None, "the authors' code"),
        ),
        parameters=800_000,
        counted_by="the authors' code",
    ),
    # vgg.py
    "vgg11": Published(
        SIMONYAN_2014,
        11,
        224,
        results=(torchvision(69.020, 88.628),),
        parameters=132_863_336,
        multiply_adds=7_609_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg13": Published(
        SIMONYAN_2014,
        13,
        224,
        results=(torchvision(69.928, 89.246),),
        parameters=133_047_848,
        multiply_adds=11_308_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg16": Published(
        SIMONYAN_2014,
        16,
        224,
        results=(
            torchvision(71.592, 90.382),
            Result(TEN_CROPS, 28.07, 9.33, "He 2015, Table 3"),
        ),
        parameters=138_357_544,
        multiply_adds=15_470_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg19": Published(
        SIMONYAN_2014,
        19,
        224,
        results=(torchvision(72.376, 90.876),),
        parameters=143_667_240,
        multiply_adds=19_632_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg11_bn": Published(
        IOFFE_2015,
        11,
        224,
        results=(torchvision(70.370, 89.810),),
        parameters=132_868_840,
        multiply_adds=7_609_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg13_bn": Published(
        IOFFE_2015,
        13,
        224,
        results=(torchvision(71.586, 90.374),),
        parameters=133_053_736,
        multiply_adds=11_308_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg16_bn": Published(
        IOFFE_2015,
        16,
        224,
        results=(torchvision(73.360, 91.516),),
        parameters=138_365_992,
        multiply_adds=15_470_000_000,
        counted_by=TORCHVISION,
    ),
    "vgg19_bn": Published(
        IOFFE_2015,
        19,
        224,
        results=(torchvision(74.218, 91.842),),
        parameters=143_678_248,
        multiply_adds=19_632_000_000,
        counted_by=TORCHVISION,
    ),
    # googlenet.py, alexnet.py; without GoogLeNet's auxiliary classifiers, which only training uses
    "googlenet": Published(
        SZEGEDY_2014,
        22,
        224,
        results=(
            torchvision(69.778, 89.530),
            Result(TEN_CROPS, None, 9.15, "He 2015, Table 3"),
        ),
        parameters=6_624_904,
        multiply_adds=1_498_000_000,
        counted_by=TORCHVISION,
    ),
    "alexnet": Published(
        KRIZHEVSKY_2014,
        8,
        224,
        results=(torchvision(56.522, 79.066),),
        parameters=61_100_840,
        multiply_adds=714_000_000,
        counted_by=TORCHVISION,
    ),
    # preresnet.py; no result where the paper says only that a network fails
    "preresnet18": Published(HE_2016, 18, 224),
    "preresnet34": Published(HE_2016, 34, 224),
    "preresnet50": Published(HE_2016, 50, 224),
    "preresnet101": Published(HE_2016, 101, 224),
    "preresnet152": Published(HE_2016, 152, 224, results=(Result(CROP_320, 21.1, 5.5, "Table 5"),)),
    "preresnet200": Published(HE_2016, 200, 224, results=(Result(CROP_320, 20.7, 5.3, "Table 5"),)),
    "resnet200": Published(HE_2016, 200, 224, results=(Result(CROP_320, 21.8, 6.0, "Table 5"),)),
    "preresnet20": Published(HE_2016, 20, 32),
    "preresnet32": Published(HE_2016, 32, 32),
    "preresnet44": Published(HE_2016, 44, 32),
    "preresnet56": Published(HE_2016, 56, 32),
    "preresnet110": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 6.37, None, "Table 3"),)),
    "preresnet2000": Published(HE_2016, 2000, 32),
    "preresnet164": Published(
        HE_2016,
        164,
        32,
        results=(
            Result(CIFAR10, 5.46, None, "Table 3"),
            Result(CIFAR100, 24.33, None, "Table 3"),
        ),
        parameters=1_700_000,
        counted_by="Table 4",
    ),
    "preresnet1001": Published(
        HE_2016,
        1001,
        32,
        results=(
            Result(CIFAR10, 4.92, None, "Table 3"),
            Result(CIFAR100, 22.71, None, "Table 3"),
        ),
        parameters=10_200_000,
        counted_by="Table 4",
    ),
    "resnet164": Published(
        HE_2016,
        164,
        32,
        results=(
            Result(CIFAR10, 5.93, None, "Table 3"),
            Result(CIFAR100, 25.16, None, "Table 3"),
        ),
    ),
    "resnet1001": Published(
        HE_2016,
        1001,
        32,
        results=(
            Result(CIFAR10, 7.61, None, "Table 3"),
            Result(CIFAR100, 27.82, None, "Table 3"),
        ),
    ),
    "resnet110_bn_after": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 8.17, None, "Table 2"),)),
    "resnet110_relu_before": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 7.84, None, "Table 2"),)),
    "resnet110_relu_only": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 6.71, None, "Table 2"),)),
    "resnet164_bn_after": Published(HE_2016, 164, 32, results=(Result(CIFAR10, 6.50, None, "Table 2"),)),
    "resnet164_relu_before": Published(HE_2016, 164, 32, results=(Result(CIFAR10, 6.14, None, "Table 2"),)),
    "resnet164_relu_only": Published(HE_2016, 164, 32, results=(Result(CIFAR10, 5.91, None, "Table 2"),)),
    "resnet110_scaled_zero": Published(HE_2016, 110, 32),
    "resnet110_scaled_half": Published(HE_2016, 110, 32),
    "resnet110_scaled_both": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 12.35, None, "Table 1"),)),
    "resnet110_exclusive_gate": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 8.70, None, "Table 1"),)),
    "resnet110_exclusive_gate0": Published(HE_2016, 110, 32),
    "resnet110_exclusive_gate5": Published(HE_2016, 110, 32),
    "resnet110_exclusive_gate7": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 9.81, None, "Table 1"),)),
    "resnet110_shortcut_gate": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 6.91, None, "Table 1"),)),
    "resnet110_shortcut_gate0": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 12.86, None, "Table 1"),)),
    "resnet110_conv_shortcut": Published(HE_2016, 110, 32, results=(Result(CIFAR10, 12.22, None, "Table 1"),)),
    "resnet110_dropout_shortcut": Published(HE_2016, 110, 32),
    # highway.py
    "highway19": Published(
        SRIVASTAVA_2015,
        19,
        32,
        results=(Result(CIFAR10, 7.72, None, "He 2015, Table 6, mean of 5 runs"),),
        parameters=2_300_000,
        counted_by="He 2015, Table 6",
    ),
    "highway32": Published(
        SRIVASTAVA_2015,
        32,
        32,
        results=(Result(CIFAR10, 8.80, None, "He 2015, Table 6"),),
        parameters=1_250_000,
        counted_by="He 2015, Table 6",
    ),
}
