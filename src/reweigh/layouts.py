"""The order in which images and kernels lie in memory, by the name that a spec has for it."""

import torch

MEMORY_FORMATS = {"channels-last": torch.channels_last, "nchw": torch.contiguous_format}
