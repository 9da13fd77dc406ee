"""Which layers get an adapter: all linear ones by default, in every family."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import FalconConfig, LlamaConfig

from datasets_src.errors import UserError
from trainers.config.schema import ALL_LINEAR, LoraMethod
from trainers.methods import lora

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FALCON = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (LlamaConfig(**SHAPE, intermediate_size=48), LLAMA),
        (FalconConfig(**SHAPE, alibi=False), FALCON),
    ],
)
def test_all_linear_is_every_linear_layer_but_the_head(
    config: LlamaConfig | FalconConfig, names: tuple[str, ...], tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    assert LoraMethod().lora_target_modules == ALL_LINEAR
    lora.check(tmp_path, LoraMethod())
    found = {name.rsplit(".", 1)[-1] for name in lora.linear_layers(tmp_path)}
    assert found == set(names)
    lora.check(tmp_path, LoraMethod(lora_target_modules=names[:2]))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_a_layer_that_cannot_take_an_adapter_is_refused_in_these_words(
    tied: bool, target: str, tmp_path: Path
) -> None:
    LlamaConfig(**SHAPE, intermediate_size=48, tie_word_embeddings=tied).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"{target} cannot take an adapter.*leave it out, of down"):
        lora.check_targets(tmp_path, ("q_proj", target))
    with pytest.raises(UserError, match=r"query match no layer of the model; .*set all-linear"):
        lora.check_targets(tmp_path, ("query",))


def test_a_name_that_is_no_list_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"set lora_target_modules=\[q_proj\]"):
        LoraMethod(lora_target_modules="q_proj")
