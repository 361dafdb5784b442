"""Measures llama.cpp on a GGUF file.

llama.py MODEL THREADS [--tests TESTS] [--repetitions N] [--prompt-ids IDS]

Prints JSON as `trefoil bench --json` does: of several repetitions the median. With --prompt-ids
(comma-separated) it prints the ids of 48 tokens at temperature 0 instead. Times do not include the
start of Python.
"""

import argparse
import ctypes
import json
import statistics
import time

import llama_cpp as ll

CONTEXT_TOKENS = 2304
BATCH_TOKENS = 512
# Kept here: llama.cpp goes on calling it.
SILENCE = ll.llama_log_callback(lambda *_: None)


class Session:
    def __init__(self, path, threads, flash):
        start = time.perf_counter()
        ll.llama_backend_init()
        self.model = ll.llama_model_load_from_file(
            path.encode(), ll.llama_model_default_params()
        )
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = ll.llama_context_default_params()
        params.n_ctx = CONTEXT_TOKENS
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = (
            ll.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        self.context = ll.llama_init_from_model(self.model, params)
        self.vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.batch = ll.llama_batch_init(BATCH_TOKENS, 0, 1)
        self.position = 0
        self.load_s = time.perf_counter() - start

    def clear(self):
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)
        self.position = 0

    def decode(self, tokens):
        """Processes tokens; logits only behind the last one."""
        for first in range(0, len(tokens), BATCH_TOKENS):
            piece = tokens[first : first + BATCH_TOKENS]
            batch = self.batch
            batch.n_tokens = len(piece)
            for index, token in enumerate(piece):
                batch.token[index] = token
                batch.pos[index] = self.position + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = first + index + 1 == len(tokens)
            if ll.llama_decode(self.context, batch) != 0:
                raise SystemExit("llama_decode failed")
            self.position += len(piece)
        ll.llama_synchronize(self.context)

    def likeliest(self):
        logits = ll.llama_get_logits_ith(self.context, -1)
        values = (ctypes.c_float * self.vocabulary).from_address(ctypes.addressof(logits.contents))
        values = memoryview(values).cast("B").cast("f")
        return max(range(self.vocabulary), key=values.__getitem__)


def prompt(tokens, vocabulary):
    return [1000 + 37 * index % (vocabulary - 2000) for index in range(tokens)]


def prefill(session, tokens):
    session.clear()
    start = time.perf_counter()
    session.decode(prompt(tokens, session.vocabulary))
    return tokens / (time.perf_counter() - start)


def generate(session, tokens, depth):
    session.clear()
    session.decode(prompt(max(depth, 1), session.vocabulary))
    start = time.perf_counter()
    for token in prompt(tokens, session.vocabulary):
        session.decode([token])
    return tokens / (time.perf_counter() - start)


def speed(session, test):
    if test.startswith("pp"):
        return prefill(session, int(test[2:]))
    tokens, _, depth = test.removeprefix("tg").partition("@")
    return generate(session, int(tokens), int(depth or 0))


def anonymous_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("threads", type=int)
    parser.add_argument("--flash", action="store_true")
    parser.add_argument("--tests", default="pp128,pp512,tg128,tg128@2048")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--prompt-ids")
    arguments = parser.parse_args()
    ll.llama_log_set(SILENCE, ctypes.c_void_p(0))
    session = Session(arguments.model, arguments.threads, arguments.flash)
    if arguments.prompt_ids:
        session.decode([int(text) for text in arguments.prompt_ids.split(",")])
        ids = []
        for _ in range(48):
            ids.append(session.likeliest())
            session.decode(ids[-1:])
        print(json.dumps({"ids": ids}))
        return
    # The first tokens that this process computes: what a user waits for.
    start = time.perf_counter()
    session.decode(prompt(32, session.vocabulary))
    session.likeliest()
    first_token_ms = (session.load_s + time.perf_counter() - start) * 1e3
    prefill(session, 16)
    results = [
        {
            "test": test,
            "tokens_per_s": statistics.median(
                speed(session, test) for _ in range(arguments.repetitions)
            ),
        }
        for test in arguments.tests.split(",")
    ]
    print(
        json.dumps(
            {
                "results": results,
                "load_ms": session.load_s * 1e3,
                "first_token_ms": first_token_ms,
                "anonymous_memory_bytes": anonymous_bytes(),
            }
        )
    )


main()
