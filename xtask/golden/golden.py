"""Makes a tiny random model of each architecture, and what llama.cpp computes with it.

golden.py DIRECTORY [NAME ...] writes NAME.gguf and NAME.json into its folders `architectures` (models
that generate, with logits), `embeddings` (with vectors) and `ranking` (with scores). `cargo xtask
golden` runs it with the versions of `gguf` and `llama-cpp-python` that it needs.
"""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp as ll
import numpy as np
from models import (
    ADAPTERS,
    CONTEXT,
    EMBEDDING_MODELS,
    MODELS,
    RANKING_MODELS,
    build,
    build_adapter,
)

# Tokens of the prompt; those before the last few fill windows and caches.
PROMPT = 44
# Places in the prompt whose logits are kept.
PLACES = [0, 1, 6, 23, 43]
# The same of models whose windows leave most of the prompt behind.
LONG_PROMPT = 450
LONG_PLACES = [9, 10, 200, 333, 449]
# What is embedded; 128 tokens at most.
TEXT = "The other one, then: he WAS there in 1999! Naïve caf\u00e9 中文 - on it."

# What is ranked.
QUERY = "Who was there?"
DOCUMENTS = [TEXT, "on it", ""]

# Kept here: llama.cpp goes on calling it.
WARNINGS = []


@ll.llama_log_callback
def log(level, text, _):
    if level >= 3:
        WARNINGS.append(text.decode(errors="replace"))


ll.llama_log_set(log, ctypes.c_void_p(0))


def load(path):
    WARNINGS.clear()
    model = ll.llama_model_load_from_file(str(path).encode(), ll.llama_model_default_params())
    if not model:
        raise SystemExit(f"{path}: " + "".join(WARNINGS))
    return model


def compute(path, model, tokens, pooling=None, adapter=None):
    """A context that has computed the tokens; embeds them if a kind of pooling is given. `adapter` is
    a path and a scale."""
    params = ll.llama_context_default_params()
    if pooling is not None:
        params.embeddings = True
        params.pooling_type = pooling
    params.n_ctx = max(CONTEXT, 2 ** len(tokens).bit_length())
    params.n_batch = params.n_ubatch = len(tokens)
    params.n_threads = params.n_threads_batch = 1
    params.type_k = params.type_v = ll.GGML_TYPE_F32
    params.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = ll.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"{path}: " + "".join(WARNINGS))
    if adapter:
        lora = ll.llama_adapter_lora_init(model, str(adapter[0]).encode())
        scale = (ctypes.c_float * 1)(adapter[1])
        loras = (ll.llama_adapter_lora_p_ctypes * 1)(lora)
        if not lora or ll.llama_set_adapters_lora(context, loras, 1, scale) != 0:
            raise SystemExit(f"{adapter[0]}: " + "".join(WARNINGS))
    batch = ll.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index] = token
        batch.pos[index] = index
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = 0
        batch.logits[index] = 1
    if ll.llama_decode(context, batch) != 0:
        raise SystemExit(f"{path}: llama_decode failed")
    ll.llama_batch_free(batch)
    return context


def logits(path, tokens, places, adapter=None):
    model = load(path)
    context = compute(path, model, tokens, adapter=adapter)
    vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    rows = []
    for place in places:
        row = ll.llama_get_logits_ith(context, place)
        rows.append(np.ctypeslib.as_array(row, (vocabulary,)).astype(np.float32).copy())
    ll.llama_free(context)
    ll.llama_model_free(model)
    return rows


def rounded(row):
    return [float(f"{value:.7g}") for value in row]


def tokenize(model, text):
    """Tokens of a text, with those that the model wants around it."""
    text = text.encode()
    tokens = (ll.llama_token * 256)()
    vocabulary = ll.llama_model_get_vocab(model)
    count = ll.llama_tokenize(vocabulary, text, len(text), tokens, len(tokens), True, False)
    return list(tokens[:count])


def scores(path):
    """How well documents go with a query: `[CLS] query [SEP] document [SEP]`."""
    model = load(path)
    rows = []
    for document in DOCUMENTS:
        tokens = tokenize(model, QUERY) + tokenize(model, document)[1:]
        context = compute(path, model, tokens, pooling=-1)
        row = np.ctypeslib.as_array(ll.llama_get_embeddings_seq(context, 0), (1,)).copy()
        rows.append({"document": document, "tokens": tokens, "score": rounded(row)[0]})
        ll.llama_free(context)
    ll.llama_model_free(model)
    return {"query": QUERY, "documents": rows}


def vectors(path):
    """The tokens of the text, their vectors at some places, and the one of the text."""
    model = load(path)
    tokens = tokenize(model, TEXT)
    width = ll.llama_model_n_embd(model)
    context = compute(path, model, tokens, pooling=0)
    places = [0, 1, len(tokens) // 2, len(tokens) - 1]
    rows = [
        np.ctypeslib.as_array(ll.llama_get_embeddings_ith(context, place), (width,)).copy()
        for place in places
    ]
    ll.llama_free(context)
    # The model's own.
    context = compute(path, model, tokens, pooling=-1)
    row = np.ctypeslib.as_array(ll.llama_get_embeddings_seq(context, 0), (width,)).copy()
    ll.llama_free(context)
    ll.llama_model_free(model)
    return {
        "text": TEXT,
        "tokens": tokens,
        "places": places,
        "vectors": [rounded(row) for row in rows],
        "vector": rounded(row),
    }


def main():
    folders = [Path(sys.argv[1]) / name for name in ("architectures", "embeddings", "ranking")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    chosen = sys.argv[2:] or [*MODELS, *EMBEDDING_MODELS, *RANKING_MODELS]
    unknown = {*chosen} - {*MODELS, *EMBEDDING_MODELS, *RANKING_MODELS}
    if unknown:
        raise SystemExit(f"there are no models {', '.join(sorted(unknown))}")
    for name in [name for name in chosen if name in EMBEDDING_MODELS]:
        path = folders[1] / f"{name}.gguf"
        build(EMBEDDING_MODELS, name, path)
        golden = vectors(path)
        deviation = float(np.std(golden["vectors"]))
        print(f"{name}: {path.stat().st_size} bytes, vectors deviate by {deviation:.2f}")
        (folders[1] / f"{name}.json").write_text(json.dumps(golden) + "\n")
    for name in [name for name in chosen if name in RANKING_MODELS]:
        path = folders[2] / f"{name}.gguf"
        build(RANKING_MODELS, name, path)
        golden = scores(path)
        print(f"{name}: scores {[row['score'] for row in golden['documents']]}")
        (folders[2] / f"{name}.json").write_text(json.dumps(golden) + "\n")
    for name in [name for name in chosen if name in MODELS]:
        path = folders[0] / f"{name}.gguf"
        build(MODELS, name, path)
        is_long = name.endswith("-window")
        length, places = (LONG_PROMPT, LONG_PLACES) if is_long else (PROMPT, PLACES)
        tokens = [int(token) for token in np.random.default_rng(1).integers(2, 258, length)]
        rows = logits(path, tokens, places)
        deviation = float(np.std(rows))
        print(f"{name}: {path.stat().st_size} bytes, logits deviate by {deviation:.2f}")
        if not 0.8 < deviation < 20:
            raise SystemExit(f"{name}: logits deviate by {deviation}")
        write(path.with_suffix(".json"), {}, tokens, places, rows)
    adapters = folders[0].parent / "adapters"
    adapters.mkdir(exist_ok=True)
    for name, (base, _, _, scale, _) in ADAPTERS.items():
        path = adapters / f"{name}.gguf"
        build_adapter(name, path, folders[0])
        tokens = [int(token) for token in np.random.default_rng(1).integers(2, 258, PROMPT)]
        rows = logits(folders[0] / f"{base}.gguf", tokens, PLACES, (path, scale))
        without = logits(folders[0] / f"{base}.gguf", tokens, PLACES)
        change = float(np.std(np.subtract(rows, without)))
        print(f"{name}: {path.stat().st_size} bytes, changes logits by {change:.2f}")
        if not 0.3 < change < 20:
            raise SystemExit(f"{name}: logits change by {change}")
        write(path.with_suffix(".json"), {"base": base, "scale": scale}, tokens, PLACES, rows)


def write(path, more, tokens, places, rows):
    rows = [rounded(row) for row in rows]
    path.write_text(json.dumps({**more, "tokens": tokens, "places": places, "logits": rows}) + "\n")


main()
