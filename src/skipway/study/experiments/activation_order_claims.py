"""Claims of He 2016, sec. 4, on the order of normalisation and activation."""

from skipway.study.engine.comparison import apart_by
from skipway.study.engine.experiment import Claim
from skipway.study.engine.short_recipes import SMALLER
from skipway.study.probes.early_training import LEARNT

DEEPEST = 1001
NEAR = 0.1  # points; smaller differences count as equal, since the paper's own range from 0.2 to 2.7
ALIKE = 0.5  # points; the paper's own differences of ReLU-only and the original are 0.1 and 0.02
SLOWER = 0.1  # nats; smaller differences count as equal
WARM = 500  # steps, of which the first 400 are the paper's warm-up

CLAIMS = (
    Claim(
        "bn-after",
        "Batch normalisation after the addition, on the signal path, is worse than the original order.",
        "He 2016, Table 2",
        "Original and BN after addition: 6.61 % and 8.17 % with 110 layers, 5.93 % and 6.50 % with 164",
        apart_by(NEAR),
        "BN after addition has the lower test error.",
    ),
    Claim(
        "relu-before",
        "ReLU at the end of the branch, which makes the branch non-negative, is worse than the original order.",
        "He 2016, Table 2",
        "Original and ReLU before addition: 6.61 % and 7.84 % with 110 layers, 5.93 % and 6.14 % with 164",
        apart_by(NEAR),
        "ReLU before addition has the lower test error.",
    ),
    Claim(
        "relu-only",
        "Moving only the ReLU before the weights makes little difference.",
        "He 2016, Table 2",
        "Original and ReLU-only: 6.61 % and 6.71 % with 110 layers, 5.93 % and 5.91 % with 164",
        f"the 95 % interval of the difference of the means lies within {ALIKE} points",
        f"The means differ by more than {ALIKE} points.",
    ),
    Claim(
        "full",
        "Moving both normalisation and ReLU before the weights is better than the original order.",
        "He 2016, Table 2",
        "Original and full pre-activation: 6.61 % and 6.37 % with 110 layers, 5.93 % and 5.46 % with 164",
        apart_by(NEAR),
        "The original has the lower test error.",
    ),
    Claim(
        "beginning",
        "With 1001 layers, the loss of the original order falls slowly at first, that of full pre-activation fast.",
        "He 2016, sec. 4.1 and Fig. 1",
        "training curves; no numbers",
        f"after the first steps, at least {WARM} with warm-up, the mean losses differ by at least {SLOWER} nats, the "
        f"95 % interval of their difference does not contain 0, and the lower one is {LEARNT} nats below chance",
        "After the first steps the original has the lower loss.",
        fewest_steps=WARM,
        published_steps=0,
    ),
    Claim(
        "very-deep",
        "With 1001 layers, pre-activation has a much lower test error.",
        "He 2016, Table 3",
        "Original 7.61 %, full pre-activation 4.92 %",
        apart_by(NEAR),
        "The original has the lower test error.",
    ),
)
DEPARTURES = (
    SMALLER,
    "The first steps of the networks of 1001 layers use images without augmentation, below scale paper 32 per step "
    "and of 16 pixels. The first 400 have a tenth of the learning rate, as in the paper, which raises it once the "
    "training error is below 80 %, at about 400 steps.",
)
CHANGED = (
    "The smallest difference between two orders that counts was lowered from 0.5 points to 0.1 on the first day, when "
    "only the original order had been measured.",
    "Scale small had 56 layers for 250 steps, which left every network near chance, then 32 layers for 1,000 steps. "
    "The original and both kinds of pre-activation, whose order differed from the paper's, are now trained for 4,000.",
    "The first version of `beginning` had no warm-up: the learning rate was 0.1 from the first of 200 steps. The "
    "original order was at chance after them.",
)
