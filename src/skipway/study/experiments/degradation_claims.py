"""The claims of the studies of degradation: He 2015, secs. 1, 4.1 and 4.2."""

from skipway.study.engine.comparison import APART
from skipway.study.engine.experiment import Claim

NEAR = 0.5  # points; errors this close to a published one count as equal to it
OVERTAKEN = 10_000  # steps; in fewer the deeper network is behind, by less and less
ON_IMAGENET = 600_000  # He 2015, sec. 3.4: steps, at most
CIFAR = "He 2015, secs. 1 and 4.2, Figs. 1 and 6"
IMAGENET = "He 2015, sec. 4.1, Fig. 4, Table 2"
PLAIN_ON_CIFAR = "Fig. 6: plain-56 above plain-20 throughout; plain-110 above 60 %"
RESIDUAL_ON_CIFAR = "Fig. 6 and Table 6: test error 8.75 % with 20 layers, 6.97 % with 56"
PLAIN_ON_IMAGENET = "ImageNet, top-1 error, ten crops: plain-18 27.94 %, plain-34 28.54 %; same order in training"
RESIDUAL_ON_IMAGENET = "ImageNet, top-1 error, ten crops: 27.88 % with 18 layers, 25.03 % with 34"


def plain(shallow: int, deep: int, source: str, published: str, steps: int) -> tuple[Claim, ...]:
    """The claims on plain networks; steps: of the paper."""
    return (
        Claim(
            "plain-training",
            f"A plain network of {deep} layers has a higher training error than one of {shallow}: the cause is not "
            "overfitting.",
            source,
            published,
            APART,
            "The deeper plain network has the lower training error.",
            published_steps=steps,
        ),
        Claim(
            "plain-test",
            "Its test error is also higher.",
            source,
            published,
            APART,
            "The deeper plain network has the lower test error.",
            published_steps=steps,
        ),
    )


def residual(deep: int, source: str, published: str, fewest: int, steps: int) -> tuple[Claim, ...]:
    """The claims on residual networks; fewest: steps that decide; steps: of the paper."""
    return (
        Claim(
            "residual-training",
            f"With shortcuts the order is reversed: {deep} layers have the lower training error.",
            source,
            published,
            APART,
            "The deeper residual network has the higher training error.",
            fewest,
            steps,
        ),
        Claim(
            "residual-test",
            f"With shortcuts {deep} layers also have the lower test error.",
            source,
            published,
            APART,
            "The deeper residual network has the higher test error.",
            fewest,
            steps,
        ),
    )


CIFAR_CLAIMS = (
    *plain(20, 56, CIFAR, PLAIN_ON_CIFAR, 64_000),
    *residual(56, CIFAR, RESIDUAL_ON_CIFAR, OVERTAKEN, 64_000),
    Claim(
        "longer",
        "More iterations do not mend it: after three times as many, a plain network of 56 layers still has a higher "
        "training error than one of 20.",
        "He 2015, sec. 4.1, footnote",
        "in the text only, for ImageNet: degradation is still observed with three times as many iterations",
        APART,
        "After three times as many iterations the deeper plain network has the lower training error.",
        OVERTAKEN,
        3 * ON_IMAGENET,
    ),
    Claim(
        "published",
        "Trained for 64,000 iterations, the residual networks reach the test errors of Table 6.",
        "He 2015, Table 6",
        "8.75 % with 20 layers, 6.97 % with 56",
        f"the 95 % interval of each mean lies within {NEAR} points of the paper's",
        f"The interval of a mean lies more than {NEAR} points from the paper's.",
        fewest_steps=64_000,
    ),
)
IMAGENET_CLAIMS = (
    *plain(18, 34, IMAGENET, PLAIN_ON_IMAGENET, ON_IMAGENET),
    *residual(34, IMAGENET, RESIDUAL_ON_IMAGENET, OVERTAKEN, ON_IMAGENET),
    Claim(
        "convergence",
        "With 18 layers, where plain and residual networks end equal, the residual one converges faster.",
        "He 2015, sec. 4.1, Fig. 4",
        "in the text and in Fig. 4: faster at the early stage; at the end 27.94 % without shortcuts, 27.88 % with them",
        f"the running training errors of the first half of training, averaged: {APART}",
        "In the first half of training the plain network has the lower training error.",
        published_steps=ON_IMAGENET,
    ),
)
