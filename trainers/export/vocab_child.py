"""Write a GGUF that llama.cpp loads: the tokenizer of a vocabulary-only file, one layer of zeros.

PYTHONPATH=…/gguf-py python vocab_child.py VOCAB.gguf OUT.gguf

llama.cpp serves no file without weights. Tokenizer and chat template depend on the `tokenizer.*`
keys alone, so the layer may be of any size. Started by trainers/export/trial.py with the gguf-py
of the converter.
"""

import sys

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

WIDTH = 32


def main(source: str, out: str) -> None:
    """Copy the keys `tokenizer.*` and add the layer."""
    reader, writer = GGUFReader(source), GGUFWriter(out, "llama")
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    num_tokens = len(reader.fields["tokenizer.ggml.tokens"].contents())
    writer.add_vocab_size(num_tokens)
    writer.add_context_length(2**17)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", np.zeros((num_tokens, WIDTH), np.float16))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
