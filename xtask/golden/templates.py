"""Renders chat templates with Jinja as `transformers` sets it up, for a matrix of conversations.

templates.py DIRECTORY reads DIRECTORY/conversations.json and writes NAME.json beside each
DIRECTORY/NAME.jinja. `cargo xtask golden` runs it with the version of Jinja that it needs.
"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import jinja2
from jinja2 import ext, nodes, sandbox

# What `strftime_now` says, in seconds since 1970-01-01 UTC: 2025-02-03 04:05:06, a Monday.
NOW = 1738555506
BOS, EOS = "<s>", "</s>"


class Raised(Exception):
    """What a template passed to `raise_exception`."""


class Generation(ext.Extension):
    """`{% generation %}` marks what the assistant said; it prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise Raised(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def environment():
    made = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    made.filters["tojson"] = to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.fromtimestamp(
        NOW, timezone.utc
    ).strftime(form)
    return made


def forms(conversation):
    """A conversation in the forms that templates were written for, the likeliest first."""
    calls = [m for m in conversation["messages"] if "tool_calls" in m]
    contents = ["missing", None, ""] if any("content" not in m for m in calls) else ["missing"]
    for arguments_as_text in [False, True] if calls else [False]:
        for content in contents:
            form = json.loads(json.dumps(conversation))
            for message in form["messages"]:
                if "reasoning_content" in message:
                    message["thinking"] = message["reasoning_content"]
                if "tool_calls" not in message:
                    continue
                if "content" not in message and content != "missing":
                    message["content"] = content
                for call in message["tool_calls"] if arguments_as_text else []:
                    call["function"]["arguments"] = to_json(call["function"]["arguments"])
            yield form


def render(template, conversation, add_generation_prompt):
    """The text, or why there is none: what the template raised, or the kind of Jinja's error."""
    first = None
    for form in forms(conversation):
        variables = {"documents": None, **form.get("variables", {})}
        try:
            text = template.render(
                messages=form["messages"],
                tools=form.get("tools"),
                add_generation_prompt=add_generation_prompt,
                bos_token=BOS,
                eos_token=EOS,
                **variables,
            )
            return {"text": text}
        except Raised as raised:
            failure = {"raised": str(raised)}
        except Exception as error:
            failure = {"error": type(error).__name__}
        first = first or failure
    return first


def main():
    directory = Path(sys.argv[1])
    conversations = json.loads((directory / "conversations.json").read_text())
    jinja = environment()
    for path in sorted(directory.glob("*.jinja")):
        try:
            template = jinja.from_string(path.read_bytes().decode())
        except jinja2.TemplateError as error:
            rows = [{"error": type(error).__name__}]
        else:
            rows = [
                {"conversation": conversation["name"], "prompt": prompt}
                | render(template, conversation, prompt)
                for conversation in conversations
                for prompt in (True, False)
            ]
        texts = sum("text" in row for row in rows)
        print(f"{path.stem}: {texts} of {len(rows)} rendered")
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        path.with_suffix(".json").write_text(f"[\n{lines}\n]\n")


main()
