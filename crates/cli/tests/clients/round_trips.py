"""What applications do with the official client: round_trips.py URL MODEL. Prints one JSON object."""

import enum
import json
import math
import sys

import openai
import pydantic

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0)
fixed = {"model": model, "temperature": 0}


def asked(question):
    return [{"role": "user", "content": question}]


def function(name, properties):
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


weather = function("get_weather", {"city": {"enum": ["Paris", "Rome"]}})
clock = function("get_time", {"zone": {"enum": ["UTC", "CET"]}})


def tools():
    """A call, the same as a stream, its result, and the answer to that."""
    messages = asked("What is the weather in Paris?")
    wishes = fixed | {"tools": [weather, clock], "max_tokens": 64}
    whole = client.chat.completions.create(messages=messages, tool_choice="required", **wishes)
    choice = whole.choices[0]
    [call] = choice.message.tool_calls

    streamed = {"id": "", "name": "", "arguments": ""}
    ended = None
    for chunk in client.chat.completions.create(
        messages=messages, tool_choice="required", stream=True, **wishes
    ):
        for delta in chunk.choices[0].delta.tool_calls or []:
            streamed["id"] += delta.id or ""
            streamed["name"] += delta.function.name or ""
            streamed["arguments"] += delta.function.arguments or ""
        ended = chunk.choices[0].finish_reason or ended
    same = (streamed["id"], streamed["name"], streamed["arguments"]) == (
        call.id,
        call.function.name,
        call.function.arguments,
    )

    named = client.chat.completions.create(
        messages=messages,
        tool_choice={"type": "function", "function": {"name": "get_time"}},
        **wishes,
    )
    [other] = named.choices[0].message.tool_calls

    result = {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'}
    told = messages + [choice.message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(messages=told, **wishes)
    without = client.chat.completions.create(messages=messages, tool_choice="none", **wishes)
    return {
        "finish_reasons": [choice.finish_reason, ended, named.choices[0].finish_reason],
        "name": call.function.name in ("get_weather", "get_time"),
        "arguments": list(json.loads(call.function.arguments)),
        "stream_is_the_same": same,
        "named": [other.function.name, list(json.loads(other.function.arguments))],
        "without": without.choices[0].message.tool_calls is None,
        # The call and its result are in the prompt, and without a choice no tools.
        "prompts_grow": without.usage.prompt_tokens
        < whole.usage.prompt_tokens
        < answer.usage.prompt_tokens,
    }


class Colour(str, enum.Enum):
    red = "red"
    blue = "blue"


class Car(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    colour: Colour
    doors: int = pydantic.Field(ge=2, le=5)


def schema():
    """The client's own way to structured answers."""
    parsed = client.chat.completions.parse(
        messages=asked("Describe a car."), response_format=Car, max_tokens=64, **fixed
    )
    car = parsed.choices[0].message.parsed
    return isinstance(car, Car) and 2 <= car.doors <= 5


def log_probabilities():
    whole = client.chat.completions.create(
        messages=asked("Count to three."), logprobs=True, top_logprobs=2, max_tokens=8, **fixed
    )
    choice = whole.choices[0]
    tokens = choice.logprobs.content
    text = b"".join(bytes(token.bytes) for token in tokens).decode()
    return {
        "tokens": len(tokens),
        "text": text == choice.message.content,
        "greedy": all(token.top_logprobs[0].token == token.token for token in tokens),
        "ordered": all(
            0 >= token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob for token in tokens
        ),
    }


def choices():
    wishes = {"model": model, "temperature": 1.0, "max_tokens": 6, "seed": 7}
    several = client.chat.completions.create(messages=asked("Say something."), n=2, **wishes)
    alone = client.chat.completions.create(messages=asked("Say something."), **wishes)
    texts = [choice.message.content for choice in several.choices]
    return [len(texts), texts[0] == alone.choices[0].message.content]


def embeddings():
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose."]
    vectors = [item.embedding for item in client.embeddings.create(model=model, input=texts).data]
    lengths = [math.sqrt(sum(x * x for x in vector)) for vector in vectors]
    return [len(vectors), all(abs(length - 1) < 1e-3 for length in lengths)]


def refusals():
    """Faults have the parameter's name, as OpenAI's do."""
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]
    requests = [
        {"messages": [{"role": "user", "content": image}]},
        {"messages": asked("x"), "tools": [weather], "tool_choice": "sometimes"},
        {"messages": asked("x"), "temperature": -1},
        {
            "messages": asked("x"),
            "tools": [weather],
            "tool_choice": {"type": "function", "function": {"name": "none"}},
        },
    ]
    found = []
    for request in requests:
        try:
            client.chat.completions.create(model=model, **request)
            found.append(None)
        except openai.BadRequestError as error:
            found.append(error.param)
    return found


json.dump(
    {
        "tools": tools(),
        "schema": schema(),
        "log_probabilities": log_probabilities(),
        "choices": choices(),
        "embeddings": embeddings(),
        "refusals": refusals(),
    },
    sys.stdout,
)
