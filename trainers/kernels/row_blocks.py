"""Cache blocking by rows: consecutive element-wise passes find a block's intermediates in cache.

for x_part, y_part in row_blocks(128, x, y): ...
"""

from collections.abc import Iterator

import torch
from torch import Tensor


def row_blocks(rows_per_thread: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of the same rows of each tensor, block by block.

    Args:
        rows_per_thread: a block has this number times torch's threads; on a GPU, all rows.
        tensors: of equal first dimension.
    """
    first = tensors[0]
    size = len(first) if first.is_cuda else rows_per_thread * torch.get_num_threads()
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)
