"""The claims and checks of the study `regularisers`."""

from skipway.study.engine.comparison import APART
from skipway.study.engine.experiment import Check, Claim

FASTER = 1.1  # smaller ratios of times count as equal
CHEAP = 2.0  # per cent more multiply-adds, at most
HUANG = 175_500  # steps: 500 epochs of 351 steps of 128 of 45,000 images
ZAGORUYKO = 78_200  # steps: 200 epochs of 391 steps of 128 images

CLAIMS = (
    Claim(
        "stochastic-test",
        "With stochastic depth the test error is lower.",
        "Huang 2016, sec. 4, Table 1",
        "CIFAR-10, 110 layers: 6.41 % without, 5.23 % with it",
        APART,
        "The test error is higher with stochastic depth.",
        published_steps=HUANG,
    ),
    Claim(
        "stochastic-gap",
        "It regularises: the test error is closer to the training error.",
        "Huang 2016, sec. 4, Fig. 3",
        "curves: a higher training loss at a lower test error",
        f"of the gaps between them, {APART}",
        "The gap is wider with stochastic depth.",
        published_steps=HUANG,
    ),
    Claim(
        "excitation-training",
        "With squeeze-and-excitation the training error is lower.",
        "Hu 2018, sec. 5.1, Fig. 4",
        "curves, on ImageNet: lower training and validation errors throughout",
        APART,
        "The training error is higher with squeeze-and-excitation.",
        published_steps=0,
    ),
    Claim(
        "excitation-test",
        "With squeeze-and-excitation the test error is lower, too.",
        "Hu 2018, sec. 5.1, Table 4",
        "CIFAR-10, 110 layers: 6.37 % without, 5.21 % with it",
        APART,
        "The test error is higher with squeeze-and-excitation.",
        published_steps=0,
    ),
    Claim(
        "wide-test",
        "A wide, shallow network has a lower test error than a thin, deep one with no fewer parameters.",
        "Zagoruyko 2016, sec. 3, Table 5",
        "CIFAR-10: WRN-40-4 4.53 % with 8.9 M parameters, pre-activation ResNet-1001 4.92 % with 10.2 M",
        APART,
        "The wide network has the higher test error.",
        published_steps=ZAGORUYKO,
    ),
    Claim(
        "wide-time",
        "And it is faster.",
        "Zagoruyko 2016, sec. 3, Fig. 4",
        "a training step of WRN-40-4 takes an eighth of the time of ResNet-1001",
        f"the thin network takes at least {FASTER} times as long, and the 95 % interval over the rounds is above 1",
        "The wide network takes longer.",
        fewest_steps=0,
        published_steps=0,
    ),
    Claim(
        "dropout-test",
        "Dropout between the convolutions of the wide network lowers its test error.",
        "Zagoruyko 2016, sec. 3, Table 6",
        "CIFAR-10: WRN-28-10 4.00 % without, 3.89 % with it; but WRN-16-4 5.02 % without, 5.24 % with it",
        APART,
        "The test error is higher with dropout.",
        published_steps=ZAGORUYKO,
    ),
)

CHECKS = (
    Check(
        "excitation-cost",
        "Squeeze-and-excitation hardly adds multiply-adds.",
        "Hu 2018, sec. 4",
        f"at most {CHEAP:g} % more than without it",
    ),
    Check(
        "wide-parameters",
        "The wide network has no more parameters than the thin one.",
        "Zagoruyko 2016, sec. 3, Table 5",
        "counted",
    ),
)
