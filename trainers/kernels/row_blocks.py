"""Some rows of several tensors at a time, so that what is between two passes stays in cache."""

from collections.abc import Iterator

import torch
from torch import Tensor


def row_blocks(rows_per_thread: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of each tensor, `rows_per_thread` for each of torch's threads; on a GPU all."""
    first = tensors[0]
    size = len(first) if first.is_cuda else rows_per_thread * torch.get_num_threads()
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)
