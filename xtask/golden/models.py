"""Tiny random models of each architecture, and adapters of some: what `golden.py` has llama.cpp
compute."""

import ctypes
from pathlib import Path

import gguf
import llama_cpp as ll
import numpy as np

EMBEDDING = 32
HEADS = 4
KV_HEADS = 2
HEAD = 8
FEED_FORWARD = 48
CONTEXT = 128
# That of models whose windows leave most of a prompt behind.
LONG_CONTEXT = 512


def quantise(values, kind):
    """Blocks as ggml makes them."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = values.shape
    blocks = np.zeros((rows, columns // block * size), dtype=np.uint8)
    library = Path(ll.__file__).parent / "lib" / "libggml-base.so"
    chunk = ctypes.CDLL(str(library)).ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    written = chunk(
        ctypes.c_int(int(kind)),
        values.ctypes.data_as(ctypes.c_void_p),
        blocks.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        ctypes.c_void_p(0),
    )
    if written != blocks.nbytes:
        raise SystemExit(f"{kind}: {written} bytes, not {blocks.nbytes}")
    return blocks


def byte_letters():
    """The visible characters that stand for bytes in byte-level BPE."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def bpe_vocabulary(writer, pre="default"):
    letters = byte_letters()
    merges = ["Ġ t", "h e", "i n", "Ġt he", "e r", "o n", "Ġ a", "Ġ Ġ"]
    tokens = ["<|end|>", "<|user|>"] + letters + [merge.replace(" ", "") for merge in merges]
    tokens += [f"<|spare {index}|>" for index in range(-len(tokens) % 16)]
    types = [3, 3] + [1] * (len(tokens) - 2)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    return len(tokens)


def word_piece_vocabulary(writer):
    """Letters, digits and signs at the beginning of a word and inside, and a few pieces."""
    single = [chr(code) for code in range(33, 127) if not chr(code).isupper()] + ["中"]
    pieces = ["th", "he", "the", "in", "er", "on", "one", "ere", "caf"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    types = [3, 2, 3, 3, 3]
    tokens += ["\u2581" + piece for piece in single + pieces]
    tokens += [piece for piece in single if piece.isalnum()] + pieces
    types += [1] * (len(tokens) - len(types))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    return len(tokens)


class Model:
    """A model under construction: keys, tensors, and how its weights are drawn."""

    def __init__(self, path, arch, blocks, seed):
        self.arch, self.blocks = arch, blocks
        self.random = np.random.default_rng(seed)
        self.writer = gguf.GGUFWriter(path, arch)
        self.vocabulary = 0

    def key(self, name, value):
        name = f"{self.arch}.{name}"
        if isinstance(value, bool):
            self.writer.add_bool(name, value)
        elif isinstance(value, int):
            self.writer.add_uint32(name, value)
        elif isinstance(value, float):
            self.writer.add_float32(name, value)
        elif isinstance(value, str):
            self.writer.add_string(name, value)
        else:
            self.writer.add_array(name, value)

    def keys(self, **more):
        keys = {
            "context_length": CONTEXT,
            "embedding_length": EMBEDDING,
            "block_count": self.blocks,
            "feed_forward_length": FEED_FORWARD,
            "attention.head_count": HEADS,
            "attention.head_count_kv": KV_HEADS,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": HEAD,
            "rope.freq_base": 10000.0,
        }
        keys.update({name.replace("__", "."): value for name, value in more.items()})
        for name, value in keys.items():
            if value is not None:
                self.key(name, value)

    def tensor(self, name, values, kind=None):
        values = np.ascontiguousarray(values, dtype=np.float32)
        if kind is None:
            self.writer.add_tensor(name, values)
        else:
            self.writer.add_tensor(name, quantise(values, kind), raw_dtype=kind)

    def matrix(self, name, columns, rows, gain=1.5, kind=None):
        """Rows that keep the size of what they are multiplied with, times the gain."""
        values = self.random.standard_normal((rows, columns)) * gain / np.sqrt(columns)
        self.tensor(name + ".weight", values, kind)

    def experts(self, name, count, columns, rows, gain=1.5):
        values = self.random.standard_normal((count, rows, columns)) * gain / np.sqrt(columns)
        self.tensor(name + ".weight", values)

    def norm(self, name, length=EMBEDDING, bias=False):
        self.tensor(name + ".weight", 1 + 0.3 * self.random.standard_normal(length))
        if bias:
            self.bias(name, length)

    def bias(self, name, length):
        self.tensor(name + ".bias", 0.3 * self.random.standard_normal(length))

    def ends(self, tied=False, bias=False, norm=True):
        self.matrix("token_embd", EMBEDDING, self.vocabulary, gain=EMBEDDING**0.5)
        if norm:
            self.norm("output_norm", bias=bias)
        if not tied:
            self.matrix("output", EMBEDDING, self.vocabulary, gain=2.0)

    def attention(self, block, bias="", qk_norm=0, fused=False, out_bias=False):
        """`bias` names those of q, k and v that have one; `qk_norm` is 0, or 1 for norms of heads,
        or 2 for norms of all heads together."""
        at = f"blk.{block}.attn_"
        widths = {"q": HEADS * HEAD, "k": KV_HEADS * HEAD, "v": KV_HEADS * HEAD}
        if fused:
            self.matrix(at + "qkv", EMBEDDING, sum(widths.values()))
        else:
            for name, width in widths.items():
                self.matrix(at + name, EMBEDDING, width)
                if name in bias:
                    self.bias(at + name, width)
        for name in "qk" if qk_norm else "":
            self.norm(at + name + "_norm", HEAD if qk_norm == 1 else widths[name])
        self.matrix(at + "output", HEADS * HEAD, EMBEDDING)
        if out_bias:
            self.bias(at + "output", EMBEDDING)

    def feed_forward(self, block, gated=True, fused=False, bias=False):
        at = f"blk.{block}.ffn_"
        if gated and not fused:
            self.matrix(at + "gate", EMBEDDING, FEED_FORWARD)
        self.matrix(at + "up", EMBEDDING, FEED_FORWARD * (2 if fused else 1))
        self.matrix(at + "down", FEED_FORWARD, EMBEDDING)
        if bias:
            self.bias(at + "up", FEED_FORWARD)
            self.bias(at + "down", EMBEDDING)

    def sparse_feed_forward(self, block, experts, length):
        at = f"blk.{block}.ffn_"
        self.matrix(at + "gate_inp", EMBEDDING, experts)
        self.experts(at + "gate_exps", experts, EMBEDDING, length)
        self.experts(at + "up_exps", experts, EMBEDDING, length)
        self.experts(at + "down_exps", experts, length, EMBEDDING)

    def finish(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def plain(model, attention={}, feed_forward={}, norms=("attn_norm", "ffn_norm"), bias=False):
    for block in range(model.blocks):
        for norm in norms:
            model.norm(f"blk.{block}.{norm}", bias=bias)
        model.attention(block, **attention)
        model.feed_forward(block, **feed_forward)


def llama(model, **keys):
    model.keys(**keys)
    model.ends()
    plain(model)


def llama3(model):
    llama(model, rope__freq_base=500000.0)
    model.tensor("rope_freqs.weight", [1.0, 1.5, 4.0, 8.0])


def mixtral(model):
    model.keys(expert_count=4, expert_used_count=2)
    model.ends()
    for block in range(model.blocks):
        model.norm(f"blk.{block}.attn_norm")
        model.norm(f"blk.{block}.ffn_norm")
        model.attention(block)
        model.sparse_feed_forward(block, 4, FEED_FORWARD)


def granite(model):
    llama(
        model,
        embedding_scale=3.0,
        residual_scale=0.4,
        attention__scale=0.2,
        logit_scale=1.5,
    )


def qwen2(model):
    model.keys()
    model.ends(tied=True)
    plain(model, attention={"bias": "qkv"})


def qwen3(model):
    model.keys(attention__key_length=HEAD, attention__value_length=HEAD)
    model.ends()
    plain(model, attention={"qk_norm": 1})


def qwen3moe(model):
    model.keys(
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        expert_count=6,
        expert_used_count=3,
        expert_feed_forward_length=32,
    )
    model.ends()
    for block in range(model.blocks):
        model.norm(f"blk.{block}.attn_norm")
        model.norm(f"blk.{block}.ffn_norm")
        model.attention(block, qk_norm=1)
        model.sparse_feed_forward(block, 6, 32)


def gemma(model):
    model.keys(attention__key_length=HEAD, attention__value_length=HEAD)
    model.ends(tied=True)
    plain(model)


GEMMA_NORMS = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")


def gemma2(model, context=CONTEXT, **keys):
    model.keys(
        context_length=context,
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__sliding_window=10,
        attn_logit_softcapping=20.0,
        final_logit_softcapping=5.0,
        **keys,
    )
    model.ends(tied=True)
    plain(model, norms=GEMMA_NORMS)


def gemma3(model, context=CONTEXT, **keys):
    model.keys(
        context_length=context,
        attention__key_length=HEAD,
        attention__value_length=HEAD,
        attention__sliding_window=10,
        rope__freq_base=1000000.0,
        rope__scaling__type="linear",
        rope__scaling__factor=8.0,
        **keys,
    )
    model.ends(tied=True)
    plain(model, attention={"qk_norm": 1}, norms=GEMMA_NORMS)


def phi3(model):
    model.keys(attention__sliding_window=10)
    model.ends()
    plain(model, attention={"fused": True}, feed_forward={"fused": True})


def phi3_long(model):
    model.keys(
        rope__scaling__original_context_length=64, rope__scaling__attn_factor=1.2, context_length=256
    )
    model.ends()
    plain(model, attention={"fused": True}, feed_forward={"fused": True})
    model.tensor("rope_factors_long.weight", [1.1, 2.0, 5.0, 9.0])
    model.tensor("rope_factors_short.weight", [1.0, 1.1, 1.3, 1.7])


def olmo2(model):
    model.keys()
    model.ends()
    plain(model, attention={"qk_norm": 2}, norms=("post_attention_norm", "post_ffw_norm"))


def starcoder2(model):
    model.keys(attention__layer_norm_rms_epsilon=None, attention__layer_norm_epsilon=1e-5)
    model.ends(bias=True)
    plain(
        model,
        attention={"bias": "qkv", "out_bias": True},
        feed_forward={"gated": False, "bias": True},
        bias=True,
    )


def types(model, kinds):
    """A llama model whose matrices have these types by turns, 256 wide."""
    width, heads, kv_heads = 256, 4, 2
    model.keys(
        embedding_length=width,
        feed_forward_length=width,
        attention__head_count=heads,
        attention__head_count_kv=kv_heads,
        rope__dimension_count=width // heads,
    )
    turn = iter(kinds * 9)
    kind = lambda: getattr(gguf.GGMLQuantizationType, next(turn))
    model.matrix("token_embd", width, model.vocabulary, gain=width**0.5, kind=kind())
    model.norm("output_norm", width)
    model.matrix("output", width, model.vocabulary, gain=2.0, kind=kind())
    at = "blk.0."
    model.norm(at + "attn_norm", width)
    model.matrix(at + "attn_q", width, width, kind=kind())
    model.matrix(at + "attn_k", width, width // heads * kv_heads, kind=kind())
    model.matrix(at + "attn_v", width, width // heads * kv_heads, kind=kind())
    model.matrix(at + "attn_output", width, width, kind=kind())
    model.norm(at + "ffn_norm", width)
    for name in ("gate", "up", "down"):
        model.matrix(at + "ffn_" + name, width, width, kind=kind())


def bert(model, pooling, width=EMBEDDING, kinds=None):
    """`kinds` are the types of the matrices by turns."""
    heads = width // HEAD
    model.keys(
        embedding_length=width,
        feed_forward_length=2 * width,
        attention__head_count=heads,
        attention__head_count_kv=None,
        attention__layer_norm_rms_epsilon=None,
        attention__layer_norm_epsilon=1e-12,
        attention__causal=False,
        pooling_type=pooling,
        rope__dimension_count=None,
        rope__freq_base=None,
    )
    turn = iter((kinds or [None]) * 99)
    kind = lambda: (name := next(turn)) and getattr(gguf.GGMLQuantizationType, name)
    model.matrix("token_embd", width, model.vocabulary, gain=width**0.5, kind=kind())
    model.matrix("position_embd", width, CONTEXT, gain=width**0.5)
    model.matrix("token_types", width, 2, gain=width**0.5)
    model.norm("token_embd_norm", width, bias=True)
    for block in range(model.blocks):
        at = f"blk.{block}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            model.matrix(at + name, width, width, kind=kind())
            model.bias(at + name, width)
        model.norm(at + "attn_output_norm", width, bias=True)
        model.matrix(at + "ffn_up", width, 2 * width, kind=kind())
        model.bias(at + "ffn_up", 2 * width)
        model.matrix(at + "ffn_down", 2 * width, width, kind=kind())
        model.bias(at + "ffn_down", width)
        model.norm(at + "layer_output_norm", width, bias=True)


def ranking_bert(model, has_dense):
    """A BERT that says how well two texts go together, by way of a dense layer or at once."""
    bert(model, 4)
    if has_dense:
        model.matrix("cls", EMBEDDING, EMBEDDING)
        model.bias("cls", EMBEDDING)
    model.matrix("cls.output", EMBEDDING, 1)
    model.bias("cls.output", 1)


def nomic_bert(model):
    model.keys(
        attention__head_count_kv=None,
        attention__layer_norm_rms_epsilon=None,
        attention__layer_norm_epsilon=1e-12,
        attention__causal=False,
        pooling_type=1,
        rope__dimension_count=None,
        rope__freq_base=1000.0,
    )
    model.matrix("token_embd", EMBEDDING, model.vocabulary, gain=EMBEDDING**0.5)
    model.matrix("token_types", EMBEDDING, 2, gain=EMBEDDING**0.5)
    model.norm("token_embd_norm", bias=True)
    for block in range(model.blocks):
        at = f"blk.{block}."
        model.matrix(at + "attn_qkv", EMBEDDING, 3 * EMBEDDING)
        model.matrix(at + "attn_output", EMBEDDING, EMBEDDING)
        model.norm(at + "attn_output_norm", bias=True)
        model.feed_forward(block)
        model.norm(at + "layer_output_norm", bias=True)


def qwen3_embedding(model, pooling):
    model.keys(
        attention__key_length=HEAD, attention__value_length=HEAD, pooling_type=pooling
    )
    model.ends(tied=True)
    plain(model, attention={"qk_norm": 1})


# Name: architecture, blocks, builder.
MODELS = {
    "llama": ("llama", 2, llama),
    "llama-linear": (
        "llama",
        2,
        lambda model: llama(model, rope__scaling__type="linear", rope__scaling__factor=4.0),
    ),
    "llama-yarn": (
        "llama",
        2,
        lambda model: llama(
            model,
            rope__scaling__type="yarn",
            rope__scaling__factor=4.0,
            rope__scaling__original_context_length=32,
        ),
    ),
    "llama3": ("llama", 2, llama3),
    "mixtral": ("llama", 2, mixtral),
    "smollm3": ("smollm3", 4, llama),
    "granite": ("granite", 2, granite),
    "qwen2": ("qwen2", 2, qwen2),
    "qwen3": ("qwen3", 2, qwen3),
    "qwen3moe": ("qwen3moe", 2, qwen3moe),
    "gemma": ("gemma", 2, gemma),
    "gemma2": ("gemma2", 4, gemma2),
    "gemma3": ("gemma3", 7, gemma3),
    "phi3": ("phi3", 2, phi3),
    "phi3-long": ("phi3", 2, phi3_long),
    "olmo2": ("olmo2", 2, olmo2),
    "starcoder2": ("starcoder2", 2, starcoder2),
    "types-simple": (
        "llama",
        1,
        lambda model: types(model, ["Q4_0", "Q8_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16"]),
    ),
    "types-k": ("llama", 1, lambda model: types(model, ["Q4_K", "Q6_K", "Q5_K", "Q3_K"])),
    "types-4": ("llama", 1, lambda model: types(model, ["IQ4_NL", "Q8_0", "MXFP4", "IQ4_XS"])),
    "gemma2-window": ("gemma2", 2, lambda model: gemma2(model, LONG_CONTEXT)),
    "gemma3-window": ("gemma3", 7, lambda model: gemma3(model, LONG_CONTEXT)),
    "types-2": ("llama", 1, lambda model: types(model, ["Q2_K", "Q4_K"])),
    # Windows in blocks that the file names, with a RoPE that it gives them.
    "gemma2-swa": (
        "gemma2",
        4,
        lambda model: gemma2(
            model,
            attention__sliding_window_pattern=[True, True, False, True],
            rope__freq_base_swa=500.0,
        ),
    ),
    "gemma3-swa": (
        "gemma3",
        7,
        lambda model: gemma3(
            model,
            attention__sliding_window_pattern=[True, False, True, True, False, True, True],
            rope__freq_base_swa=500.0,
        ),
    ),
}


# Models that embed, in the same form.
EMBEDDING_MODELS = {
    "bert-mean": ("bert", 2, lambda model: bert(model, 1)),
    "bert-cls": ("bert", 3, lambda model: bert(model, 2)),
    "bert-types": (
        "bert",
        1,
        lambda model: bert(model, 1, width=256, kinds=["Q8_0", "Q4_K", "Q5_1", "Q6_K", "F16"]),
    ),
    "nomic-bert": ("nomic-bert", 2, nomic_bert),
    "qwen3-last": ("qwen3", 2, lambda model: qwen3_embedding(model, 3)),
    "qwen3-mean": ("qwen3", 2, lambda model: qwen3_embedding(model, 1)),
}


# Models that rank texts, in the same form.
RANKING_MODELS = {
    "bert-rank": ("bert", 2, lambda model: ranking_bert(model, False)),
    "bert-rank-dense": ("bert", 2, lambda model: ranking_bert(model, True)),
}


# LoRA adapters: the model that each is for, its rank, alpha (0: none), the scale it is used with,
# and its precision.
ADAPTERS = {
    "llama-lora": ("llama", 4, 6.0, 0.75, np.float32),
    "phi3-lora": ("phi3", 3, 0.0, -1.25, np.float16),
}


def build_adapter(name, path, directory):
    base, rank, alpha, _, kind = ADAPTERS[name]
    random = np.random.default_rng(list(ADAPTERS).index(name))
    reader = gguf.GGUFReader(directory / f"{base}.gguf")
    writer = gguf.GGUFWriter(path, MODELS[base][0])
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for tensor in reader.tensors:
        if len(tensor.shape) != 2 or tensor.name == "token_embd.weight":
            continue
        columns, rows = (int(size) for size in tensor.shape)
        down = random.standard_normal((rank, columns)) / np.sqrt(columns)
        up = random.standard_normal((rows, rank)) / np.sqrt(rank)
        for suffix, values in [("lora_a", down), ("lora_b", up)]:
            writer.add_tensor(f"{tensor.name}.{suffix}", np.ascontiguousarray(values, dtype=kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build(models, name, path):
    arch, blocks, builder = models[name]
    model = Model(path, arch, blocks, seed=list(models).index(name))
    vocabulary = word_piece_vocabulary if "bert" in arch else bpe_vocabulary
    model.vocabulary = vocabulary(model.writer)
    builder(model)
    model.finish()
