"""In a process of its own, as what is claimed is that it does not die."""

import subprocess
import sys

import pytest

RELEASED_ELSEWHERE = """
import signal, subprocess, sys, threading
import torch
from skipway import models
from skipway.data.preprocess import Preprocessing
from skipway.deploy import engines
from skipway.deploy.engines.base import EngineInput
from skipway.hardware import decide
from skipway.tasks import classifier

preprocessing = Preprocessing(3, 32, 32, (0.5,) * 3, (0.2,) * 3)
trained = EngineInput(models.build("resnet20").eval(), classifier(["a"] * 10), preprocessing, decide("cpu"))
held = [engines.build("openvino", trained)]
held[0].scores(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
thread = threading.Thread(target=held.clear)
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda *_: print("a child ended"))
subprocess.run([sys.executable, "-c", ""])
print("and all is well")
"""


def test_a_signal_after_another_thread_let_go_of_an_engine_is_handled() -> None:
    pytest.importorskip("openvino")
    ended = subprocess.run([sys.executable, "-c", RELEASED_ELSEWHERE], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "a child ended\nand all is well\n"), ended.stderr
