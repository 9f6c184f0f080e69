"""Decoders that a decoding process is given in place of real ones: importable there, and with nothing to import."""

import os
import time

import numpy as np

from skipway.deploy.serve.decode_process import Pixels


def sleeping(content: bytes) -> Pixels:
    """Never ends by itself."""
    time.sleep(600)
    return length(content)


def crashing(content: bytes) -> Pixels:
    """Ends its process."""
    os.abort()


def greedy(content: bytes) -> Pixels:
    """Wants as many megabytes as the image has bytes."""
    return length(bytes(len(content) << 20))


def length(content: bytes) -> Pixels:
    """The length of the image, as four bytes."""
    return Pixels(np.frombuffer(len(content).to_bytes(4, "big"), np.uint8), (1, 4))
