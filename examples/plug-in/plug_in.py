"""A language model as a plug-in of a Python program, without native dependencies.

    trefoil compose --engine cpu --model model.gguf -o model.wasm
    pip install wasmtime
    python plug_in.py model.wasm "Once upon a time" 24
"""

import sys

import wasmtime
from wasmtime import component
from wasmtime.component import Variant

INFERENCE = "trefoil:llm/inference@0.1.0"


class Inference:
    """The functions of a composition without an app. It is granted nothing: no files, no network."""

    def __init__(self, path):
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        guest = component.Component.from_file(engine, path)
        self.instance = component.Linker(engine).instantiate(self.store, guest)
        self.interface = self.instance.get_export_index(self.store, INFERENCE)

    def call(self, name, *arguments):
        index = self.instance.get_export_index(self.store, name, self.interface)
        function = self.instance.get_func(self.store, index)
        result = function(self.store, *arguments)
        function.post_return(self.store)
        # Where the types tell `ok` from `err`, the library leaves the tags out.
        if not isinstance(result, Variant):
            return result
        if result.tag == "ok":
            return result.payload
        error = result.payload if result.tag == "err" else result
        raise RuntimeError(f"{name}: {error.tag}: {error.payload}")


def generate(inference, model, prompt, max_tokens):
    """Yields the text that follows the prompt, piece by piece."""
    request = inference.call("[method]model.request", model, prompt.encode())
    inference.call("[method]request.set-temperature", request, 0.0)
    inference.call("[method]request.set-max-tokens", request, max_tokens)
    generation = inference.call("[static]request.start", request)
    while True:
        event = inference.call("[method]generation.next", generation)
        if event.tag == "delta":
            yield event.payload.text
        elif event.tag == "done":
            return


def main():
    path, prompt, max_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
    inference = Inference(path)
    model = inference.call("[static]model.open", None)
    for text in generate(inference, model, prompt, max_tokens):
        print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
