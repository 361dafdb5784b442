"""What LangChain makes of a server: langchain_client.py URL MODEL. Prints one JSON object."""

import json
import sys
from typing import Annotated

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

url, model = sys.argv[1:]
server = {"base_url": f"{url}/v1", "api_key": "secret", "model": model, "max_retries": 0}
chat = ChatOpenAI(**server, temperature=0, max_tokens=64)
short = ChatOpenAI(**server, temperature=0, max_tokens=8)
question = "What is the capital of France?"


Digit = Annotated[int, Field(ge=0, le=9)]


@tool
def add(first: Digit, second: Digit) -> int:
    """Adds two numbers."""
    return first + second


class Car(BaseModel):
    """A car."""

    doors: int = Field(ge=2, le=5)


asked = [HumanMessage("Add 2 and 3.")]
call = chat.bind_tools([add], tool_choice="add").invoke(asked)
result = ToolMessage("5", tool_call_id=call.tool_calls[0]["id"])
answer = short.invoke([*asked, call, result])
car = chat.with_structured_output(Car, method="json_schema").invoke("Describe a car.")
embeddings = OpenAIEmbeddings(**server, check_embedding_ctx_length=False)

json.dump(
    {
        "whole": short.invoke(question).content,
        "stream": "".join(chunk.content for chunk in short.stream(question)),
        "call": [call.tool_calls[0]["name"], sorted(call.tool_calls[0]["args"])],
        "answer": bool(answer.content),
        "doors": 2 <= car.doors <= 5,
        "vectors": len(embeddings.embed_documents(["one", "two"])),
    },
    sys.stdout,
)
