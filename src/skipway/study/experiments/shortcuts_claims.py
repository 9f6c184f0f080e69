"""Claims of He 2015, Table 3, and He 2016, Table 1, on variants of the shortcut."""

from skipway.study.engine.comparison import APART, apart_by
from skipway.study.engine.experiment import Claim
from skipway.study.engine.short_recipes import SMALLER

CLOSE = 0.1  # points; the paper's own difference of the identity and a nearly closed gate is 0.3
TABLE_1 = "He 2016, sec. 3.1 and Table 1"


def worse(name: str, sentence: str, published: str, refuted_by: str, tolerance: str = APART) -> Claim:
    """A claim that a shortcut costs accuracy compared with another one."""
    return Claim(name, sentence, TABLE_1, published, tolerance, refuted_by)


CLAIMS = (
    Claim(
        "options",
        "Projections are not essential: options A, B and C differ little compared with the gap to the plain network.",
        "He 2015, Table 3",
        "ImageNet, 34 layers, top-1 error, ten crops: A 25.03 %, B 24.52 %, C 24.19 %, plain 28.54 %",
        "the 95 % interval of the difference of any two options lies within half the gap between the worst option and "
        f"the plain network, and for each option and the plain network {APART}",
        "Two options differ by more than half the gap to the plain network, or the plain network is better.",
    ),
    worse(
        "scaling",
        "A shortcut scaled by 0.5 impairs a deep network.",
        "110 layers: identity 6.61 %; 0.5 on the shortcut fails (above 20 %); 0.5 on both paths 12.35 %",
        "A network with scaled shortcuts has the lower test error.",
    ),
    worse(
        "open-gate",
        "A gate on the shortcut only impairs a network less if it is initialised close to the identity.",
        "110 layers: biases from 0 12.86 %, from -6 6.91 %",
        "The network whose gates start half open has the lower test error.",
    ),
    worse(
        "closed-gate",
        "The identity is also better than a gate on the shortcut only that is initialised close to it (b = -6).",
        "110 layers: identity 6.61 %, gate from b = -6 6.91 %",
        "The network with gates has the lower test error.",
        apart_by(CLOSE),
    ),
    worse(
        "convolution",
        "A 1x1 convolution on every shortcut of a deep network is worse than the identity.",
        "110 layers: identity 6.61 %, 1x1 convolutions 12.22 %",
        "The network with convolutions has the lower test error.",
    ),
    worse(
        "dropout",
        "Dropout on the shortcut, which scales it by 0.5 on average, impairs a deep network.",
        "110 layers: identity 6.61 %; dropout of 0.5 fails (above 20 %)",
        "The network with dropout has the lower test error.",
    ),
    worse(
        "optimisation",
        "The cause is optimisation: gates and convolutions could represent the identity, but have a higher "
        "training error.",
        "Text and Fig. 3: training error higher than that of the identity; no numbers",
        "A network with gates or convolutions has the lower training error.",
    ),
)
DEPARTURES = (
    SMALLER,
    "Options A, B and C are compared with 20 layers (32 at scale paper) on CIFAR-10; the paper's Table 3 has 34 "
    "layers and ImageNet. The plain network replaces the paper's shortcut times 0, which is the same function.",
    "A convolution on the shortcut is followed by batch normalisation, and a gate scales option A's shortcut; "
    "the paper specifies neither. Biases of -5 and -7 are left out.",
)
CHANGED = (
    "Scale small had 56 layers for 250 steps, which left every network near chance, then 32 layers for 1,000 steps "
    "with two seeds. The rows with small or open effects (gates, dropout) are now trained for 4,000.",
    "The first results are of PyTorch's dropout, which doubles what it keeps; all of its runs diverged. It is now the "
    "paper's, whose mean is half of the shortcut.",
    "The claim `closed-gate` was added after the gate had been better than the identity in both seeds of 1,000 steps.",
    "`options` compared means only; now the intervals of the options' differences must lie within half the gap.",
    "The claim on gates on both paths was also one of `highway`, and is now there alone.",
)
