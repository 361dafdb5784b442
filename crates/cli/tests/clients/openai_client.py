"""What the official client gets from a server: openai_client.py URL MODEL. Prints one JSON object."""

import json
import sys

import openai

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0)
messages = [{"role": "user", "content": "What is the capital of France?"}]
wishes = {"model": model, "temperature": 0, "max_tokens": 8}

whole = client.chat.completions.create(messages=messages, **wishes)
stream = client.chat.completions.create(
    messages=messages, stream=True, stream_options={"include_usage": True}, **wishes
)
chunks = list(stream)
text = client.completions.create(prompt="Once upon a time", **wishes)


def refusal(**request):
    try:
        client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.code]
    return None


# A client that loses interest: the server must notice, which the test sees in its metrics.
with client.chat.completions.create(
    model=model, messages=messages, max_tokens=4000, temperature=1.5, stream=True
) as long:
    next(iter(long))

stranger = openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0)
try:
    stranger.models.list()
    unauthorised = None
except openai.AuthenticationError as error:
    unauthorised = error.code

json.dump(
    {
        "models": [model.id for model in client.models.list()],
        "whole": whole.choices[0].message.content,
        "usage": whole.usage.completion_tokens,
        "finish_reason": whole.choices[0].finish_reason,
        "stream": "".join(
            chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices
        ),
        "stream_usage": chunks[-1].usage.completion_tokens,
        "text": text.choices[0].text,
        "no_model": refusal(model="other", messages=messages),
        "too_long": refusal(model=model, messages=[{"role": "user", "content": "word " * 9000}]),
        "unauthorised": unauthorised,
        "vector": len(
            client.embeddings.create(model=model, input="a text").data[0].embedding
        ),
    },
    sys.stdout,
)
