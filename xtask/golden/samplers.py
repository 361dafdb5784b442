"""Makes what llama.cpp's samplers leave of logits.

samplers.py VOCABULARY FILE writes the cases as JSON. VOCABULARY is the GGUF file whose tokens have
the texts in which DRY looks for its sequence breakers. `cargo xtask golden` runs it with the versions
of `gguf` and `llama-cpp-python` that it needs.
"""

import ctypes
import json
import sys

import llama_cpp as ll
import numpy as np

# Kept here: llama.cpp goes on calling it.
SILENCE = ll.llama_log_callback(lambda *_: None)
ll.llama_log_set(SILENCE, ctypes.c_void_p(0))

VOCABULARY_TOKENS = 200
# More than any text here has.
LAST_TOKENS = 4096


def candidates(logits):
    """All tokens with their logits, as samplers take them."""
    data = (ll.llama_token_data * len(logits))()
    for token, logit in enumerate(logits):
        data[token] = ll.llama_token_data(token, logit, 0.0)
    return ll.llama_token_data_array(data, len(logits), -1, False)


def left(array):
    """Tokens and logits that are left."""
    kept = [(array.data[place].id, array.data[place].logit) for place in range(array.size)]
    return sorted((token, logit) for token, logit in kept if logit > -1e30)


def apply(sampler, logits):
    array = candidates(logits)
    ll.llama_sampler_apply(sampler, ctypes.byref(array))
    ll.llama_sampler_free(sampler)
    return left(array)


def draws(random):
    """Logits of several shapes, all of them different: how ties are broken is no matter of these."""
    for spread in [0.3, 1.0, 3.0, 8.0]:
        yield (random.standard_normal(VOCABULARY_TOKENS) * spread).astype(np.float32)
    # As steep as those of a model that is sure.
    steep = -2.5 * np.log(np.arange(1, VOCABULARY_TOKENS + 1)) + random.random(VOCABULARY_TOKENS) / 8
    yield random.permutation(steep).astype(np.float32)


def cutting(inputs):
    """Samplers that leave some of the tokens, and these."""
    f = ctypes.c_float
    kinds = {
        "typical-p": ([0.1, 0.5, 0.9, 0.99], lambda p: ll.llama_sampler_init_typical(f(p), 0)),
        "xtc-threshold": ([0.01, 0.03, 0.1, 0.3], lambda t: ll.llama_sampler_init_xtc(f(1.0), f(t), 0, 7)),
        "top-n-sigma": ([0.5, 1.0, 2.0], lambda n: ll.llama_sampler_init_top_n_sigma(f(n))),
    }
    for kind, (parameters, make) in kinds.items():
        for parameter in parameters:
            for place, logits in enumerate(inputs):
                tokens = [token for token, _ in apply(make(parameter), logits)]
                yield {"kind": kind, "parameter": parameter, "logits": place, "tokens": tokens}


def heating(inputs):
    """What the dynamic temperature makes of the logits."""
    f = ctypes.c_float
    for temperature, spread, exponent in [(1.0, 0.5, 1.0), (0.8, 0.8, 2.0), (0.5, 1.5, 0.5)]:
        for place, logits in enumerate(inputs):
            sampler = ll.llama_sampler_init_temp_ext(f(temperature), f(spread), f(exponent))
            divided = [logit for _, logit in apply(sampler, logits)]
            case = {"temperature": temperature, "range": spread, "exponent": exponent}
            yield case | {"logits": place, "divided": divided}


def mirostat(inputs):
    """Chains of choices: how many are left depends on what was chosen before."""
    for version in [1, 2]:
        for temperature, tau, eta in [(1.0, 5.0, 0.1), (0.7, 3.0, 0.3), (1.5, 2.0, 1.0)]:
            if version == 1:
                sampler = ll.llama_sampler_init_mirostat(
                    VOCABULARY_TOKENS, 5, ctypes.c_float(tau), ctypes.c_float(eta), 100
                )
            else:
                sampler = ll.llama_sampler_init_mirostat_v2(5, ctypes.c_float(tau), ctypes.c_float(eta))
            steps = []
            # Version 1 overflows an `int` on even probabilities, of which it would keep all tokens.
            for place in [*range(1 if version == 1 else 0, len(inputs))] * 2:
                array = candidates(inputs[place] / np.float32(temperature))
                ll.llama_sampler_apply(sampler, ctypes.byref(array))
                chosen = array.data[array.selected].id
                tokens = [token for token, _ in left(array)]
                steps.append({"logits": place, "tokens": tokens, "chosen": chosen})
            ll.llama_sampler_free(sampler)
            case = {"version": version, "temperature": temperature, "tau": tau, "eta": eta}
            yield case | {"steps": steps}


def dry_sampler(vocabulary, parameters, breakers):
    multiplier, base, allowed_length, penalty_tokens = parameters
    texts = (ctypes.c_char_p * max(len(breakers), 1))(*[text.encode() for text in breakers])
    return ll.llama_sampler_init_dry(
        vocabulary,
        multiplier,
        base,
        allowed_length,
        penalty_tokens if penalty_tokens else LAST_TOKENS,
        texts,
        len(breakers),
    )


def dry(path):
    """What DRY subtracts behind a text, from which tokens."""
    parameters = ll.llama_model_default_params()
    parameters.vocab_only = True
    model = ll.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        raise SystemExit(f"{path} cannot be loaded")
    vocabulary = ll.llama_model_get_vocab(model)

    def tokens(text):
        raw = text.encode()
        found = (ll.llama_token * (len(raw) + 8))()
        count = ll.llama_tokenize(vocabulary, raw, len(raw), found, len(found), False, False)
        return list(found[:count])

    count = ll.llama_vocab_n_tokens(vocabulary)
    texts = [
        "the other one, then the other one, then the",
        "one: the in\none: the in\none: the",
        "a a a a a a a a",
        "in there\nin there\nin",
        '"there" he said. "there" he said',
        "no repetition here at all: xyz",
        "an end => an end => an end",
        "round and round and round and round and round",
        "to be or not to be; to be; not to",
    ]
    variants = [
        ([0.8, 1.75, 2, 0], ["\n", ":", '"', "*"]),
        ([0.8, 1.75, 2, 0], []),
        ([2.0, 1.2, 1, 0], ["\n"]),
        ([1.5, 3.0, 4, 12], ["."]),
        ([0.5, 1.0, 3, 0], ["=>", "nd "]),
    ]
    for text in texts:
        for parameters, breakers in variants:
            history = tokens(text)
            sampler = dry_sampler(vocabulary, parameters, breakers)
            for token in history:
                ll.llama_sampler_accept(sampler, token)
            changed = [(token, -logit) for token, logit in apply(sampler, [0.0] * count) if logit]
            multiplier, base, allowed_length, penalty_tokens = parameters
            yield {
                "multiplier": multiplier,
                "base": base,
                "allowed_length": allowed_length,
                "penalty_tokens": penalty_tokens,
                "breakers": breakers,
                "history": history,
                "subtracted": changed,
            }


def main():
    vocabulary, file = sys.argv[1:]
    inputs = list(draws(np.random.default_rng(20260101)))
    golden = {
        "logits": [[float(f"{logit:.9g}") for logit in logits] for logits in inputs],
        "cutting": list(cutting(inputs)),
        "heating": list(heating(inputs)),
        "mirostat": list(mirostat(inputs)),
        "dry": list(dry(vocabulary)),
    }
    with open(file, "w", encoding="utf-8") as out:
        parts = []
        for name, items in golden.items():
            lines = ",\n".join(json.dumps(item) for item in items)
            parts.append(f'"{name}": [\n{lines}\n]')
        out.write("{\n" + ",\n".join(parts) + "\n}\n")


main()
