"""What `reweigh bench` measures against: ResNet-32 on CIFAR-10 in plain PyTorch, the way most public code is written.

A DataLoader shuffles images and augments them one by one with torchvision's transforms (PIL), the model lies in memory
as PyTorch makes it (NCHW), all arithmetic is float32, SGD and cross-entropy are torch's. Nothing of this package is
imported. It is what the engine is measured against, so it must not be tuned.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training images, by channel


class BasicBlock(nn.Module):
    """Two 3×3 convolutions; where the size changes, the shortcut takes every other pixel and pads with zeros."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.planes, self.extra = stride, planes, planes - in_planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.extra:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        out = out + x
        return F.relu(out)


class ResNet(nn.Module):
    """ResNet-32 for CIFAR: 464,154 parameters with ten classes."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, stride=1)
        self.layer2 = self._layer(16, 32, stride=2)
        self.layer3 = self._layer(32, 64, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def _layer(self, in_planes: int, planes: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(in_planes, planes, stride), *(BasicBlock(planes, planes, 1) for _ in range(4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


class Images(Dataset):
    """Images uint8 (N, 32, 32, 3) and labels (N,) as torchvision.datasets.CIFAR10 gives them."""

    def __init__(self, images: Any, labels: Any, transform: transforms.Compose) -> None:
        self.data, self.targets, self.transform = images, labels.tolist(), transform

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]

    def __len__(self) -> int:
        return len(self.data)


class PlainLoop:
    """The training loop. `workers` processes load the data; with 0 this process does."""

    def __init__(
        self, images: Any, labels: Any, workers: int, device: torch.device, batch_size: int = 128, rate: float = 0.1
    ) -> None:
        transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )
        self.loader = DataLoader(
            Images(images, labels, transform),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
        )
        self.device = device
        self.model = ResNet().to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=0.9, weight_decay=2e-4)
        self.batches = self._endless()

    def _endless(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield from self.loader

    def advance(self, steps: int) -> None:
        """Take `steps` steps of training."""
        self.model.train()
        for _ in range(steps):
            inputs, labels = next(self.batches)
            inputs = inputs.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            loss = F.cross_entropy(self.model(inputs), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
