"""The engine that a config asks for: each worker with the whole (step.py) or a part (zero.py).

engine = make_engine(config, model)
"""

from torch import nn

from trainers.config import Config
from trainers.optimizer import make_optimizer
from trainers.step import Engine, Replicated


def make_engine(config: Config, model: nn.Module) -> Engine:
    """The engine of `model`, which holds the weights to go on from."""
    scaling, train = config.scaling, config.train
    if not scaling.zero_stage:
        return Replicated(model, make_optimizer(model, train), max_grad_norm=train.max_grad_norm)
    # DeepSpeed is imported where it is used: it takes seconds and may not be installed.
    from trainers.zero import ZeroEngine

    offload = scaling.use_gpu and scaling.offload_optimizer
    return ZeroEngine(model, train, stage=scaling.zero_stage, offload=offload)
