"""Forward-mode passes at a place where a pass was just made: what its convolutions gave is kept, not made again.

A convolution of dual numbers, (x, ẋ) and (W, Ẇ), is three of plain ones: W ∗ x, and W ∗ ẋ + Ẇ ∗ x. The first is what
the step's own pass has found already, if batch, parameters, mode and masks of dropout are the same; and where x does
not depend on the parameters, as images, ẋ is 0. What is left is less than two thirds of the arithmetic, and gives the
same tangents to the last bit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


class Products:
    """What the convolutions of a pass gave, in their order; the pass that takes them leaves none.

    What the pass then changed in place is made again.
    """

    def __init__(self) -> None:
        self.found: list[tuple[torch.Tensor, int]] = []  # each with its version, which counts changes in place

    @contextmanager
    def kept(self) -> Iterator[None]:
        """In this context a pass is made, of which the products are kept."""
        self.found = []
        with _Convolutions(self._keep):
            yield

    @contextmanager
    def taken(self) -> Iterator[None]:
        """In this context the same pass is made of dual numbers, by the products that were kept, if there are any.

        Raises RuntimeError if it has another number of convolutions.
        """
        if not self.found:
            yield
            return
        self.found.reverse()
        with _Convolutions(self._take):
            yield
        if self.found:
            raise RuntimeError("the pass has fewer convolutions than the one of which the products were kept")

    def _keep(self, convolve: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
        product = convolve(*arguments)
        self.found.append((product.detach(), product._version))
        return product

    def _take(
        self,
        convolve: Callable[..., torch.Tensor],
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *rest: Any,
    ) -> torch.Tensor:
        if not self.found:
            raise RuntimeError("the pass has more convolutions than the one of which the products were kept")
        product, version = self.found.pop()
        (x, x_slope), (w, w_slope) = forward_ad.unpack_dual(inputs), forward_ad.unpack_dual(weight)
        b_slope = None if bias is None else forward_ad.unpack_dual(bias).tangent
        if w_slope is None or product._version != version:  # a frozen convolution; or one that was added to in place
            return convolve(inputs, weight, bias, *rest)
        slope = convolve(x, w_slope, b_slope, *rest)
        if x_slope is not None:  # in PyTorch's order, as sums of floats depend on it
            slope = convolve(x_slope, w, None, *rest) + slope
        return forward_ad.make_dual(product, slope)


class _Convolutions(TorchFunctionMode):
    """In this mode convolutions go through a function: `through(convolve, inputs, weight, …)`."""

    def __init__(self, through: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.through = through

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function in CONVOLUTIONS and not kwargs:
            return self.through(function, *args)
        return function(*args, **(kwargs or {}))
