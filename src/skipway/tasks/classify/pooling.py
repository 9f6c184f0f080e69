"""Averages probabilities of several views or networks, as scores again."""

import math

import torch.nn.functional as F
from torch import Tensor


def mean_softmax(scores: Tensor) -> Tensor:
    """The logarithm of the mean over the first axis of the softmax over the last one."""
    return (scores.double().log_softmax(-1).logsumexp(0) - math.log(len(scores))).float()


def mean_sigmoid(scores: Tensor) -> Tensor:
    """The log-odds of the mean over the first axis of the sigmoid of each score."""
    scores = scores.double()
    return (F.logsigmoid(scores).logsumexp(0) - F.logsigmoid(-scores).logsumexp(0)).float()
