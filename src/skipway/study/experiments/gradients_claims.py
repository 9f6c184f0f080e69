"""Claims of He 2015 and Balduzzi 2017 on gradients of deep plain networks, and checks of their measurement."""

from skipway.study.engine.experiment import Check, Claim

HEALTHY = 10.0  # largest factor between the gradient of any unit and that of the last one
EXACT = 1e-6
HOMOGENEOUS = 2.0  # factor; images weigh differently in the mean when their losses change
UNCHANGED = 0.05  # batch norm adds a constant to each variance
SIMILAR = 0.01  # cosine; smaller differences count as equal

CLAIMS = (
    Claim(
        "no-vanishing",
        "With batch norm the gradients of a plain network of 56 layers do not vanish, neither at the start nor in "
        "training.",
        "He 2015, sec. 4.1",
        "in the text only: forward signals have non-zero variance, backward ones healthy norms",
        f"at each moment the smallest gradient of any unit is, in the geometric mean, at least 1/{HEALTHY:g} of the "
        "last unit's, and its 95 % interval does not contain this limit",
        f"At some moment a unit's gradient is less than 1/{HEALTHY:g} of the last unit's.",
    ),
    Claim(
        "no-exploding",
        "They do not explode either: their norms are healthy.",
        "He 2015, sec. 4.1",
        "in the text only: backward signals have healthy norms",
        f"at each moment the largest gradient of any unit is, in the geometric mean, at most {HEALTHY:g} times the "
        "last unit's, and its 95 % interval does not contain this limit",
        f"At some moment a unit's gradient is more than {HEALTHY:g} times the last unit's.",
    ),
    Claim(
        "shattering",
        "In untrained networks, gradients at neighbouring inputs become less similar with depth without shortcuts, and "
        "shortcuts reduce this.",
        "Balduzzi 2017, abstract and sec. 2",
        "in the text only: similarity falls exponentially with depth in plain networks, sublinearly with shortcuts",
        f"plain56 has a lower mean similarity than plain20 and than resnet56, by at least {SIMILAR}, and the 95 % "
        "interval of each difference does not contain 0",
        "plain56 has a higher similarity than plain20 or resnet56.",
        fewest_steps=0,
        published_steps=0,
    ),
)
CHECKS = (
    Check(
        "analytic",
        "The measured gradients agree with analytic ones for a network of three residual units.",
        "the chain rule",
        f"the largest relative difference is at most {EXACT:g}",
    ),
    Check(
        "scaled",
        "Without batch norm, initial weights of another variance multiply the ratio of first to last unit by the "
        "square root of the variance for each convolution in between: 52 with 56 layers.",
        "a plain network is homogeneous in each layer's weights",
        f"the measured ratio is within a factor of {HOMOGENEOUS:g} of the expected one",
    ),
    Check(
        "normalised",
        "With batch norm the variance of the weights has no effect on the ratio.",
        "Ioffe and Szegedy 2015, sec. 3.3",
        f"the ratio changes by at most {100 * UNCHANGED:g} % with half and twice the variance",
    ),
)
DEPARTURES = (
    "He 2015 reports no numbers, and does not say which norms are healthy; the factor of ten is ours. At the start the "
    "gradients of plain networks with batch norm grow towards the input, as theory predicts (Yang 2019, "
    "arXiv:1902.08129).",
    "Balduzzi studies a network with a scalar input; here inputs lie on straight lines between two images, the "
    "gradient is that of one class score, and the points of a line form one batch.",
    "Networks without batch norm are trained at a tenth of the learning rate.",
    "At scale small images have 16 x 16 pixels.",
)
CHANGED = (
    "The first version looked at the first unit alone and only for vanishing, so that a gradient 6,450 times the last "
    "unit's passed as healthy. Every unit counts now, in both directions.",
    "Two claims of the first version hold by arithmetic and are now checks: that measured gradients agree with "
    "analytic ones, and that the variance of the weights matters only without batch norm.",
    "Similarities were averaged over two pairs of images, and are over 16. Images had 32 x 32 pixels at scale small.",
)
