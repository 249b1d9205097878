"""The part of JSON Schema that config.schema.json uses, so that tests need no package for it."""

import re

_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
_KNOWN = {"$schema", "$id", "$defs", "$ref", "title", "description", "default", "examples", "type", "properties",
          "additionalProperties", "required", "items", "minItems", "maxItems", "enum", "const", "minimum", "maximum",
          "pattern", "anyOf", "oneOf", "allOf", "minProperties", "maxProperties", "minLength", "maxLength", "if", "then",
          "else", "not", "format", "deprecated", "propertyNames", "patternProperties", "unevaluatedProperties"}


def _is(value, kind):
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def violations(schema, value, root=None, at="$"):
    """What `value` breaks of `schema`, as texts. An unknown keyword of the schema is an error: it would go unchecked."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return [] if schema else [f"{at}: not allowed"]
    unknown = set(schema) - _KNOWN
    if unknown:
        raise ValueError(f"json_schema.py does not know {unknown}")
    out = []
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        out += violations(target, value, root, at)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return out + [f"{at}: {value!r} is not of type {kinds}"]
    if "enum" in schema and value not in schema["enum"]:
        out.append(f"{at}: {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        out.append(f"{at}: {value!r} is not {schema['const']!r}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        out.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if _is(value, "number"):
        if "minimum" in schema and value < schema["minimum"] or "maximum" in schema and value > schema["maximum"]:
            out.append(f"{at}: {value} is out of range")
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0) or len(value) > schema.get("maxItems", len(value)):
            out.append(f"{at}: {len(value)} items")
        for i, item in enumerate(value):
            out += violations(schema.get("items", True), item, root, f"{at}[{i}]")
    if isinstance(value, dict):
        if len(value) < schema.get("minProperties", 0) or len(value) > schema.get("maxProperties", len(value)):
            out.append(f"{at}: {len(value)} properties")
        out += [f"{at}: {name} is required" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            out += violations(inner, item, root, f"{at}.{name}")
    for one in schema.get("allOf", []):
        out += violations(one, value, root, at)
    for word, least, most in (("anyOf", 1, None), ("oneOf", 1, 1)):
        if word in schema:
            fits = [not violations(one, value, root, at) for one in schema[word]]
            if sum(fits) < least or most is not None and sum(fits) > most:
                closest = min((violations(one, value, root, at) for one in schema[word]), key=len)
                out.append(f"{at}: fits {sum(fits)} of {word}; nearest: {closest[:2]}")
    if "if" in schema:
        branch = "then" if not violations(schema["if"], value, root, at) else "else"
        out += violations(schema.get(branch, True), value, root, at)
    if "not" in schema and not violations(schema["not"], value, root, at):
        out.append(f"{at}: fits what it must not")
    return out
