"""The splitter's loss, one example after the other, and examples to hold `reweigh.methods.splitter` against it."""

import torch

DOUBLE = torch.float64


def examples(size=12, features=5, classes=3):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(size, features, generator=generator, dtype=DOUBLE)
    labels = torch.randint(classes, (size,), generator=generator)
    right = torch.rand(size, generator=generator) < 0.6
    return drawn, labels, right, torch.rand(size, generator=generator, dtype=DOUBLE)


def loss_by_hand(theta, said, batch, pool, classes):
    """L_Θ, one example after the other."""

    def share(features, label):
        seen = torch.cat([features, torch.eye(classes, dtype=DOUBLE)[label]])
        hidden = (theta["hidden.weight"] @ seen + theta["hidden.bias"]).clamp(min=0)
        return torch.sigmoid((theta["out.weight"] @ hidden + theta["out.bias"])[0])

    shares = [share(x, y) for x, y in zip(batch[0], batch[1], strict=True)]
    total = -sum(q.log() if right else (1 - q).log() for q, right in zip(shares, batch[2], strict=True)) / len(shares)
    if said["adversary"] == "soft_val":
        total = total - sum((1 - q) * one for q, one in zip(shares, batch[3], strict=True)) / sum(1 - q for q in shares)
    of_pool = [share(x, y) for x, y in zip(*pool, strict=True)]
    q = sum(of_pool) / len(of_pool)
    delta = said["delta"]
    ratio = (1 - delta) * ((1 - delta) / q).log() + delta * (delta / (1 - q)).log()
    if said["ratio_kl"] == "current_target":
        ratio = q * (q / (1 - delta)).log() + (1 - q) * ((1 - q) / delta).log()
    balance = 0
    for side in (of_pool, [1 - one for one in of_pool]):
        for k in range(classes):
            everywhere = float((pool[1] == k).double().mean())
            within = sum(one for one, label in zip(side, pool[1], strict=True) if label == k) / sum(side)
            balance = balance + everywhere * (everywhere / within).log()
    if said["as_ls"]:
        ratio, balance = ratio / 2, balance / classes
    return (total + said["ratio"] * ratio + said["balance"] * balance) / (1 + said["ratio"] + said["balance"])
