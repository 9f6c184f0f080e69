"""Claims of He 2015 and He 2016 on the depth of residual networks."""

from skipway.study.engine.comparison import APART, apart_by
from skipway.study.engine.experiment import Claim
from skipway.study.experiments.degradation_claims import OVERTAKEN
from skipway.study.probes.early_training import LEARNT

LEARNS = 80.0  # per cent training error, below which the paper raises the learning rate of 110 layers
TRAINED = 1.0  # per cent training error, below which a network fits the training images
STEP = 0.1  # points; smaller differences between neighbouring depths count as equal
THOUSAND = 1000  # layers
WARM = 500  # steps, of which the first 400 are the paper's warm-up

CLAIMS = (
    Claim(
        "training",
        "The training error falls with each step of depth: 20, 32, 44 and 56 layers.",
        "He 2015, sec. 4.2, Fig. 6 (middle)",
        "training curves: each deeper network ends lower",
        apart_by(STEP),
        "A deeper network has a higher training error than the next shallower one.",
        fewest_steps=OVERTAKEN,
    ),
    Claim(
        "test",
        "The test error falls with each step of depth: 20, 32, 44 and 56 layers.",
        "He 2015, Table 6",
        "8.75 %, 7.51 %, 7.17 % and 6.97 % with 20, 32, 44 and 56 layers",
        apart_by(STEP),
        "A deeper network has a higher test error than the next shallower one.",
        fewest_steps=OVERTAKEN,
    ),
    Claim(
        "converges",
        "Networks of more than a hundred layers learn.",
        "He 2015, sec. 4.2, Table 6; He 2016, Table 3",
        "Test errors: 6.43 % with 110 layers, 5.46 % with 164 and pre-activation",
        f"the mean of the running training error is below {LEARNS:.0f} %, and its 95 % interval does not contain "
        f"{LEARNS:.0f} %; this does not decide how well they learn",
        f"The running training error of a network is above {LEARNS:.0f} %.",
    ),
    Claim(
        "deep",
        "With pre-activation, 164 layers are better than 110 in the original order.",
        "He 2015, Table 6; He 2016, Table 3",
        "6.43 % (6.61 % on average) with 110 layers, 5.46 % with 164 and pre-activation",
        APART,
        "The network of 110 layers has the lower test error.",
    ),
    Claim(
        "beginning",
        "Networks of a thousand layers and more also start to learn.",
        "He 2015, sec. 4.2; He 2016, Fig. 1",
        "1202 layers, 1001 layers with pre-activation: training curves, no numbers for the first steps",
        f"after the first steps, at least {WARM} with warm-up, the mean loss of each network is at least {LEARNT} nats "
        "below chance, and its 95 % interval does not contain this limit",
        f"The loss of a network is not {LEARNT} nats below chance after the first steps.",
        fewest_steps=WARM,
        published_steps=0,
    ),
    Claim(
        "thousand",
        "Fully trained, networks of a thousand layers fit the training images.",
        "He 2015, sec. 4.2",
        "1202 layers: training error below 0.1 %",
        f"the mean of the training error is below {TRAINED:.0f} %, and its 95 % interval does not contain "
        f"{TRAINED:.0f} %",
        f"The training error of a network is above {TRAINED:.0f} %.",
        fewest_steps=64_000,
    ),
    Claim(
        "overfits",
        "1202 layers have a higher test error than 110: such a large network overfits such a small data set.",
        "He 2015, Table 6",
        "7.93 % with 1202 layers, 6.43 % with 110",
        APART,
        "1202 layers have the lower test error.",
        fewest_steps=64_000,
    ),
    Claim(
        "pre-activation",
        "With pre-activation, 1001 layers are better than 164.",
        "He 2016, Table 3",
        "5.46 % with 164 layers, 4.92 % with 1001",
        APART,
        "1001 layers have the higher test error.",
        fewest_steps=OVERTAKEN,
    ),
)
DEPARTURES = (
    "At scale small the networks of 20 and 56 layers are those of `degradation`. Others are trained for 2,000 steps on "
    "images of 16 pixels, of which the first 400 have a tenth of the learning rate, and networks of a thousand layers "
    "for their first steps only. 32 and 44 layers are not trained at full length, so the steps of depth are not "
    "compared; `degradation` compares 20 and 56.",
    "The first steps use images without augmentation, below scale paper 32 per step and of 16 pixels. The first 400 "
    "have a tenth of the learning rate; the paper raises it once the training error is below 80 %.",
)
CHANGED = (
    "Scale small trained all depths from 20 to 164 layers for 1,000 steps with six of warm-up. 110 layers were at "
    "chance then; networks of more than a hundred layers are now trained for 2,000 steps with 400 of warm-up.",
    "The first steps of a thousand layers were 200 at a learning rate of 0.1 from the first; the original order was at "
    "chance after them. They now start with the paper's warm-up.",
    "`training` and `test` compared 20 and 56 layers at scale small, as `degradation` does; they now need all four "
    "depths.",
    "`deep` was added after the brief runs, in which 164 layers with pre-activation were far ahead of 110.",
)
