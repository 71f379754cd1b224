"""The shortcut's 1×1 convolution is PyTorch's, and does not end the process on a machine with no more than AVX2."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from support.project import environment
from torch import nn

from reweigh.models.projection import Projection


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("channels", [2, 4, 6, 8, 16])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_pytorchs_convolution(channels, stride, layout):
    torch.manual_seed(0)
    ours = Projection(channels, 2 * channels, stride).double()
    theirs = nn.Conv2d(channels, 2 * channels, 1, stride, bias=False).double()
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    found = []
    for layer in (ours, theirs):
        inputs = torch.randn(3, channels, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        inputs = inputs.to(memory_format=layout).requires_grad_()
        outputs = layer(inputs)
        found.append((outputs, *torch.autograd.grad(outputs.square().sum(), [inputs, layer.weight])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


STEP = """
import sys, torch
from reweigh.models import build
torch.set_num_threads(1)
name, options = sys.argv[1], eval(sys.argv[2])
model = build(name, (3, 32, 32), 10, 0, "channels-last", **options)
images = torch.randn(16, 3, 32, 32).to(memory_format=torch.channels_last)
for _ in range(3):
    model(images).square().sum().backward()
print("trained")
"""


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="wants a CPU with AVX2")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20", {"width": 0.25}),
        ("resnet32", {"shortcut": "B", "width": 0.25}),
        ("resnet_cifar", {"depth": 18, "width": 0.0625}),
        ("wrn", {"depth": 10, "width": 0.25}),
    ],
)
def test_narrow_nets_train_with_avx2(name, options):
    changes = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", STEP, name, repr(options)],
        env=environment(**changes) | {"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
