"""Writes the JSON schemas of `tests/reference/schemas`: templates in the forms that public APIs,
configuration files and tool definitions use, each in several variants.

    python3 xtask/golden/schemas.py tests/reference/schemas
"""

import itertools
import json
import pathlib
import sys


def an_object(properties, required=None, closed=True, **more):
    schema = {"type": "object", "properties": properties}
    if required is None:
        required = list(properties)
    if required:
        schema["required"] = required
    if closed:
        schema["additionalProperties"] = False
    return schema | more


def a_list(items, **more):
    return {"type": "array", "items": items} | more


def nullable(schema, by):
    if None in schema.get("enum", []) or "null" in schema.get("type", ""):
        return schema
    if by == "types" and isinstance(schema.get("type"), str) and "enum" not in schema:
        return schema | {"type": [schema["type"], "null"]}
    return {by if by != "types" else "anyOf": [schema, {"type": "null"}]}


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
FLAG = {"type": "boolean"}


def ref(name):
    return {"$ref": f"#/$defs/{name}"}


def domains():
    """Objects as APIs have them: a name and properties."""
    yield "person", {
        "name": TEXT | {"minLength": 1, "maxLength": 40},
        "age": WHOLE | {"minimum": 0, "maximum": 150},
        "email": TEXT | {"format": "email"},
        "tags": a_list(TEXT, maxItems=3),
    }
    yield "address", {
        "street": TEXT,
        "zip": TEXT | {"pattern": r"^\d{5}(-\d{4})?$"},
        "country": TEXT | {"pattern": "^[A-Z]{2}$"},
        "location": an_object({
            "lat": NUMBER | {"minimum": -90, "maximum": 90},
            "lon": NUMBER | {"minimum": -180, "maximum": 180},
        }),
    }
    yield "order", {
        "id": TEXT | {"format": "uuid"},
        "status": {"enum": ["open", "paid", "shipped", "returned"]},
        "lines": a_list(an_object({
            "sku": TEXT | {"pattern": "^[A-Z]{3}-[0-9]{4}$"},
            "count": WHOLE | {"exclusiveMinimum": 0, "maximum": 99},
            "price": NUMBER | {"minimum": 0},
        }), minItems=1, maxItems=3),
        "placed": TEXT | {"format": "date-time"},
    }
    yield "event", {
        "title": TEXT | {"maxLength": 60},
        "start": TEXT | {"format": "date"},
        "at": TEXT | {"format": "time"},
        "lasts": TEXT | {"format": "duration"},
        "repeat": {"enum": ["never", "daily", "weekly", None]},
    }
    yield "sensor", {
        "sensor": TEXT | {"pattern": "^s[0-9a-f]{4}$"},
        "unit": {"const": "celsius"},
        "values": a_list(NUMBER | {"minimum": -273.15, "maximum": 1000}, minItems=1, maxItems=4),
        "ok": FLAG,
    }
    yield "server", {
        "host": TEXT | {"format": "hostname"},
        "port": WHOLE | {"minimum": 1, "maximum": 65535},
        "protocol": {"type": "string", "enum": ["http", "https", "ws"]},
        "timeout_s": NUMBER | {"exclusiveMinimum": 0, "exclusiveMaximum": 60},
        "allow": a_list(TEXT | {"format": "ipv4"}, maxItems=2),
    }
    yield "log", {
        "level": {"enum": ["debug", "info", "warn", "error"]},
        "message": TEXT,
        "code": WHOLE | {"minimum": 100, "maximum": 599},
        "fields": {"type": "object", "additionalProperties": TEXT},
    }
    yield "page", {
        "url": TEXT | {"format": "uri"},
        "language": TEXT | {"pattern": "^[a-z]{2}(-[A-Z]{2})?$"},
        "words": WHOLE | {"minimum": 0},
        "links": a_list(TEXT | {"format": "uri-reference"}, maxItems=2),
    }
    yield "ticket", {
        "summary": TEXT | {"minLength": 3, "maxLength": 20},
        "priority": WHOLE | {"enum": [1, 2, 3]},
        "labels": a_list({"enum": ["bug", "docs", "speed"]}, minItems=0, maxItems=3),
        "assignee": nullable(TEXT, "types"),
    }
    yield "review", {
        "stars": WHOLE | {"minimum": 1, "maximum": 5},
        "half": NUMBER | {"multipleOf": 5, "minimum": 0, "maximum": 50},
        "pros": a_list(TEXT | {"maxLength": 10}, maxItems=2),
        "sentiment": {"enum": ["positive", "neutral", "negative"]},
    }
    yield "geometry", {
        "type": {"const": "Polygon"},
        "coordinates": a_list(
            a_list({"type": "array", "prefixItems": [NUMBER, NUMBER], "items": False,
                    "minItems": 2}, maxItems=3),
            maxItems=2),
    }
    yield "measure", {
        "value": NUMBER,
        "error": NUMBER | {"minimum": 0, "maximum": 1},
        "count": WHOLE | {"multipleOf": 7},
        "balance": WHOLE | {"minimum": -100, "maximum": -10},
    }


def objects():
    for name, properties in domains():
        names = list(properties)
        yield f"{name}-closed", an_object(properties)
        yield f"{name}-open", an_object(properties, closed=False)
        yield f"{name}-half-required", an_object(properties, required=names[::2])
        yield f"{name}-optional", an_object(properties, required=[])
        yield f"{name}-optional-open", an_object(properties, required=[], closed=False)
        for by in ("types", "anyOf", "oneOf"):
            may_be = {key: nullable(schema, by) for key, schema in properties.items()}
            yield f"{name}-nullable-by-{by.lower()}", an_object(may_be)
        yield f"{name}-more-numbers", an_object(properties) | {"additionalProperties": NUMBER}
        yield f"{name}-list", a_list(an_object(properties), minItems=1, maxItems=2)
        yield f"{name}-by-key", {
            "type": "object",
            "patternProperties": {"^[a-z]{1,8}$": an_object(properties)},
            "additionalProperties": False,
        }
        yield f"{name}-by-reference", {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": name,
            "description": "What a tool returns.",
            "$defs": {name: an_object(properties)},
            "type": "object",
            "properties": {"main": ref(name), "others": a_list(ref(name), maxItems=2)},
            "required": ["main"],
            "additionalProperties": False,
        }
        yield f"{name}-tool-call", an_object({
            "name": {"const": f"put_{name}"}, "arguments": an_object(properties)})
        yield f"{name}-answer", {
            "anyOf": [
                an_object({"result": an_object(properties)}),
                an_object({"error": TEXT}),
            ]
        }


def numbers():
    bounds = [0, 1, 7, 10, 99, 100, 12345, -1, -9, -10, -250]
    for low, high in itertools.combinations(sorted(bounds), 2):
        if (low + high) % 3 == 0:
            yield f"integer-{low}-to-{high}", WHOLE | {"minimum": low, "maximum": high}
    for low, high in [(0, 1), (-1, 1), (0.5, 0.75), (-2.5, -2.25), (0.001, 0.002), (99.5, 1000),
                      (-1e6, 1e6), (3.14, 3.15), (-0.1, 0)]:
        yield f"number-{low}-to-{high}", NUMBER | {"minimum": low, "maximum": high}
        yield f"number-above-{low}-below-{high}", NUMBER | {
            "exclusiveMinimum": low, "exclusiveMaximum": high}
    for bound in [0, 5, -5, 1000.5, -0.25]:
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            yield f"number-{keyword}-{bound}", NUMBER | {keyword: bound}
    for bound in [0, 17, -17, 4096]:
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            yield f"integer-{keyword}-{bound}", WHOLE | {keyword: bound}
    for divisor in [1, 2, 3, 10, 64, 365]:
        yield f"multiple-of-{divisor}", WHOLE | {"multipleOf": divisor}
        yield f"multiple-of-{divisor}-to-1000", WHOLE | {
            "multipleOf": divisor, "minimum": -1000, "maximum": 1000}


def texts():
    for pattern in [
        "^a+$", "b", "^x", "^[xy]*y$", "^(?:red|green|blue)$", r"^\d{3}-\d{4}$", r"^[\w.]+$",
        r"^\S+\s\S+$", "^[^\"\\\\]{2,5}$", r"^#[0-9A-Fa-f]{6}$", r"^v?\d+\.\d+\.\d+$", "^.{3}$",
        "^[äöü]+$", r"^[一-龥]{2}$", r"^\p{Lu}\p{Ll}+$", "^(ab|c)*$", r"^/(?:[a-z]+/)*$",
        r"^\$\{[A-Z_]+\}$", "^$", r"^\u0041[\x42-\x44]$", r"^-?(?:0|[1-9]\d*)$", "a|^b|c$",
        r"^(?<year>\d{4})/(?<month>0[1-9]|1[0-2])$", r"^\.[a-z]{1,3}$", r"^[^\s@]+@[^\s@]+$",
    ]:
        # Random texts would go on for long before they have what some of these ask for.
        yield f"pattern-{pattern}", TEXT | {"pattern": pattern, "maxLength": 20}
    for low, high in [(0, 0), (0, 1), (1, 1), (2, 5), (10, 10), (0, 100), (30, 40)]:
        yield f"length-{low}-to-{high}", TEXT | {"minLength": low, "maxLength": high}
    yield "length-from-5", TEXT | {"minLength": 5}
    yield "pattern-and-length", TEXT | {"pattern": "^[a-z]*$", "minLength": 2, "maxLength": 4}
    yield "two-patterns", TEXT | {"maxLength": 9, "allOf": [{"pattern": "a"}, {"pattern": "b"}]}
    yield "pattern-without-bounds", TEXT | {"pattern": "^x[^\\d]*$"}
    for form in ["date-time", "date", "time", "duration", "email", "idn-email", "hostname",
                 "idn-hostname", "ipv4", "ipv6", "uuid", "uri", "iri", "uri-reference",
                 "iri-reference", "json-pointer", "relative-json-pointer"]:
        yield f"format-{form}", TEXT | {"format": form}
    yield "format-and-pattern", TEXT | {"format": "date", "pattern": "^20"}
    yield "format-of-whatever", {"format": "ipv4"}


def constants():
    yield "const-text", {"const": "yes\n\"no\" \\ ä 😀"}
    yield "const-number", {"const": 12.5}
    yield "const-tree", {"const": {"a": [1, {"b": None}], "": False}}
    yield "enum-mixed", {"enum": ["a", 1, 2.5, None, True, [], {}, ["x"]]}
    yield "enum-with-type", {"type": "string", "enum": ["a", 1, "b"]}
    yield "enum-long", {"enum": [f"option {number}" for number in range(200)]}
    yield "enum-and-pattern", {"enum": ["ab", "cd", "ae"], "pattern": "^a"}
    yield "enum-and-enum", {"enum": [1, 2, 3], "allOf": [{"enum": [2, 3, 4]}]}
    yield "boolean", FLAG
    yield "null", {"type": "null"}
    yield "anything", {}
    yield "anything-true", True
    yield "any-object", {"type": "object"}
    yield "any-list", {"type": "array"}
    yield "types", {"type": ["string", "integer", "null"]}
    yield "types-with-bounds", {"type": ["string", "integer"], "minimum": 5, "maxLength": 3}
    yield "bounds-without-type", {"minimum": 5, "maxLength": 3, "maxItems": 1, "required": ["a"]}


def lists():
    for low, high in [(0, 0), (0, 1), (1, 1), (2, 3), (5, 5), (0, 20)]:
        yield f"list-{low}-to-{high}", a_list(WHOLE, minItems=low, maxItems=high)
    yield "list-from-3", a_list(FLAG, minItems=3)
    yield "list-of-lists", a_list(a_list(WHOLE, maxItems=2), maxItems=3)
    yield "tuple", {"type": "array", "prefixItems": [TEXT, WHOLE, FLAG], "items": False}
    yield "tuple-in-full", {"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2,
                            "maxItems": 2}
    yield "tuple-and-more", {"type": "array", "prefixItems": [TEXT], "items": WHOLE, "minItems": 2}
    yield "tuple-of-draft-7", {"$schema": "http://json-schema.org/draft-07/schema#",
                               "type": "array", "items": [TEXT, WHOLE], "additionalItems": False}
    yield "tuple-of-draft-7-and-more", {"$schema": "http://json-schema.org/draft-07/schema#",
                                        "type": "array", "items": [TEXT],
                                        "additionalItems": FLAG}
    yield "items-of-any-kind", a_list({"anyOf": [TEXT, WHOLE, FLAG, {"type": "null"}]})
    yield "matrix", a_list(a_list(NUMBER, minItems=2, maxItems=2), minItems=2, maxItems=2)
    yield "items-may-repeat", a_list(WHOLE, uniqueItems=False, maxItems=3)


def keys():
    yield "keys-of-numbers", {"type": "object", "additionalProperties": NUMBER}
    yield "keys-by-pattern", {"type": "object", "patternProperties": {
        "^x-": TEXT, "^n-": NUMBER}, "additionalProperties": False}
    yield "keys-by-pattern-and-name", {"type": "object", "properties": {"id": WHOLE},
                                       "patternProperties": {"^x-": TEXT},
                                       "additionalProperties": FLAG, "required": ["id"]}
    yield "keys-by-pattern-that-match-a-name", {
        "type": "object", "properties": {"x-id": {"minLength": 2}},
        "patternProperties": {"^x-": TEXT}, "additionalProperties": False, "required": ["x-id"]}
    yield "at-least-one-key", {"type": "object", "additionalProperties": WHOLE, "minProperties": 1}
    yield "at-most-two-keys", {"type": "object", "additionalProperties": WHOLE, "maxProperties": 2}
    yield "no-keys", {"type": "object", "maxProperties": 0}
    yield "exactly-one-of-three", an_object({"a": WHOLE, "b": WHOLE, "c": WHOLE}, required=[],
                                            minProperties=1, maxProperties=1)
    yield "required-without-schema", {"type": "object", "required": ["a", "b"]}
    yield "required-of-additional", {"type": "object", "required": ["a"],
                                     "additionalProperties": WHOLE}
    yield "strange-names", an_object({"": WHOLE, "a b": WHOLE, "\"": WHOLE, "\\": WHOLE,
                                      "ä": WHOLE, "a\nb": WHOLE, "~/": WHOLE})
    yield "open-with-strange-names", an_object({"\"": WHOLE, "\u0001": WHOLE, "ä\n": WHOLE},
                                               closed=False)
    yield "many", an_object({f"field_{number}": WHOLE for number in range(60)}, required=[])
    yield "optional-that-cannot-be", an_object({"a": WHOLE, "b": False}, required=["a"])


def combined():
    shape = [
        an_object({"kind": {"const": "circle"}, "radius": NUMBER}),
        an_object({"kind": {"const": "square"}, "side": NUMBER}),
        an_object({"kind": {"const": "text"}, "text": TEXT}),
    ]
    yield "any-of-shapes", {"anyOf": shape}
    yield "one-of-shapes", {"oneOf": shape}
    yield "list-of-shapes", a_list({"oneOf": shape}, maxItems=2)
    yield "one-of-types", {"oneOf": [TEXT, WHOLE, {"type": "null"}]}
    yield "one-of-constants", {"oneOf": [{"const": "a"}, {"const": "b"}]}
    yield "all-of-objects", {"allOf": [
        an_object({"a": WHOLE}, closed=False), an_object({"b": TEXT}, closed=False)]}
    yield "all-of-bounds", {"allOf": [{"minimum": 3}, {"maximum": 9}, {"type": "integer"}]}
    yield "all-of-and-properties", {"type": "object", "properties": {"a": WHOLE},
                                    "required": ["a"], "allOf": [{"required": ["b"]}]}
    yield "any-of-required", {"type": "object", "properties": {"a": WHOLE, "b": WHOLE},
                              "additionalProperties": False,
                              "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    yield "any-of-any-of", {"anyOf": [{"anyOf": [TEXT, WHOLE]}, FLAG]}
    yield "reference-with-siblings", {"$defs": {"n": WHOLE}, "$ref": "#/$defs/n", "minimum": 5}
    yield "definitions-of-draft-7", {"definitions": {"n": WHOLE}, "type": "array",
                                     "items": {"$ref": "#/definitions/n"}}
    yield "reference-to-a-property", an_object({"a": WHOLE | {"minimum": 1},
                                                "b": {"$ref": "#/properties/a"}})
    yield "reference-with-escapes", {"$defs": {"a/b~c": WHOLE}, "type": "array",
                                     "items": {"$ref": "#/$defs/a~1b~0c"}}
    yield "two-all-ofs-of-any-ofs", {"allOf": [{"anyOf": [TEXT, WHOLE]}, {"anyOf": [WHOLE, FLAG]}]}
    yield "annotations", {"$schema": "https://json-schema.org/draft/2020-12/schema",
                          "$id": "https://example.com/a", "$comment": "x", "title": "A",
                          "description": "b", "default": 1, "examples": [1], "deprecated": True,
                          "readOnly": True, "type": "integer"}
    yield "exclusive-of-draft-4", {"$schema": "http://json-schema.org/draft-04/schema#",
                                   "type": "integer", "minimum": 3, "exclusiveMinimum": True,
                                   "maximum": 9, "exclusiveMaximum": False}


def recursive():
    yield "linked-list", {"$defs": {"node": an_object({
        "value": WHOLE, "next": {"anyOf": [ref("node"), {"type": "null"}]}})}, "$ref": "#/$defs/node"}
    yield "tree", {"$defs": {"node": an_object({
        "name": TEXT, "children": a_list(ref("node"), maxItems=2)})}, "$ref": "#/$defs/node"}
    yield "tree-of-the-root", an_object({"name": TEXT, "children": a_list({"$ref": "#"},
                                                                          maxItems=2)})
    yield "expression", {"$defs": {
        "expression": {"anyOf": [NUMBER, ref("operation")]},
        "operation": an_object({"op": {"enum": ["+", "-", "*"]}, "left": ref("expression"),
                                "right": ref("expression")})}, "$ref": "#/$defs/expression"}
    yield "nested-lists", {"$defs": {"list": a_list({"anyOf": [WHOLE, ref("list")]}, maxItems=3)},
                           "$ref": "#/$defs/list"}
    yield "json-value", {"$defs": {"value": {"anyOf": [
        {"type": "null"}, FLAG, NUMBER, TEXT, a_list(ref("value")),
        {"type": "object", "additionalProperties": ref("value")}]}}, "$ref": "#/$defs/value"}
    yield "one-way-out", {"$defs": {"a": {"anyOf": [ref("b"), TEXT]}, "b": {"anyOf": [ref("a"), WHOLE]}},
                          "$ref": "#/$defs/a"}
    yield "way-in-that-has-no-end", {"$defs": {"endless": an_object({"again": ref("endless")})},
                                     "anyOf": [ref("endless"), TEXT]}
    yield "file-system", {"$defs": {
        "file": an_object({"type": {"const": "file"}, "size": WHOLE | {"minimum": 0}}),
        "folder": an_object({"type": {"const": "folder"}, "entries": {
            "type": "object", "additionalProperties": ref("entry")}}),
        "entry": {"anyOf": [ref("file"), ref("folder")]}}, "$ref": "#/$defs/folder"}


def refused():
    """Schemas that are refused, with a part of the message."""
    for keyword, schema in [
        ("`uniqueItems`", a_list(WHOLE, uniqueItems=True)),
        ("`not`", {"not": TEXT}),
        ("`if`", {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}),
        ("`contains`", {"type": "array", "contains": WHOLE}),
        ("`dependentRequired`", {"type": "object", "dependentRequired": {"a": ["b"]}}),
        ("`dependentSchemas`", {"type": "object", "dependentSchemas": {"a": {}}}),
        ("`dependencies`", {"type": "object", "dependencies": {"a": ["b"]}}),
        ("`propertyNames`", {"type": "object", "propertyNames": {"maxLength": 3}}),
        ("`unevaluatedProperties`", {"type": "object", "unevaluatedProperties": False}),
        ("`unevaluatedItems`", {"type": "array", "unevaluatedItems": False}),
        ("`nullable`", {"type": "string", "nullable": True}),
        ("`minLenght`", {"type": "string", "minLenght": 3}),
        ("`$dynamicRef`", {"$dynamicRef": "#node"}),
        ("`$id`", an_object({"a": {"$id": "https://example.com/a", "type": "string"}})),
        ("`other.json`", {"$ref": "other.json"}),
        ("`#anchor`", {"$ref": "#anchor"}),
        ("`#/$defs/missing`", {"$ref": "#/$defs/missing"}),
        ("the format `phone`", TEXT | {"format": "phone"}),
        ("`multipleOf` of 0.01", NUMBER | {"multipleOf": 0.01}),
        ("above 0", NUMBER | {"multipleOf": 0}),
        ("look-around", TEXT | {"pattern": "^(?!a)b"}),
        ("the boundary of a word", TEXT | {"pattern": r"\bword\b"}),
        ("a reference to a group", TEXT | {"pattern": r"^(a)\1$"}),
        ("unclosed group", TEXT | {"pattern": "("}),
        ("`minProperties`", {"type": "object", "minProperties": 3, "additionalProperties": WHOLE}),
        ("oneOf", {"oneOf": [WHOLE, NUMBER]}),
        ("oneOf", {"oneOf": [TEXT | {"maxLength": 5}, TEXT | {"minLength": 3}]}),
        ("9007199254740993", {"const": 9007199254740993}),
        ("1e+300", NUMBER | {"minimum": 1e300}),
        ("U+0001", {"const": "\u0001"}),
        ("is none of", {"type": "text"}),
        ("expected a whole number", TEXT | {"minLength": -1}),
        ("expected a whole number", TEXT | {"maxLength": 1.5}),
        ("expected a list", {"enum": "a"}),
        ("expected a list", {"required": "a"}),
        ("expected an object", {"properties": []}),
        ("at least one schema", {"anyOf": []}),
        ("a schema is an object or a boolean", {"items": 5}),
        ("no JSON text satisfies", False),
        ("no JSON text satisfies", an_object({"again": {"$ref": "#"}})),
        ("no text satisfies", TEXT | {"minLength": 3, "maxLength": 2}),
        ("no text satisfies", WHOLE | {"minimum": 3, "maximum": 2}),
        ("no text satisfies", {"allOf": [TEXT, WHOLE]}),
        ("no text satisfies", TEXT | {"allOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
    ]:
        yield keyword, schema


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for family in (objects, numbers, texts, constants, lists, keys, combined, recursive):
        cases = [{"name": name, "schema": schema} for name, schema in family()]
        assert len({case["name"] for case in cases}) == len(cases), family
        write(folder / f"{family.__name__}.json", cases)
    write(folder / "refused.json",
          [{"message": message, "schema": schema} for message, schema in refused()])


def write(path, cases):
    """One case a line."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
