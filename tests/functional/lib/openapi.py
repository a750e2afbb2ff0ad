# SPDX-License-Identifier: Apache-2.0
"""An OpenAPI 3.1 document as a source of requests, and as a judge of answers.

    document = openapi.Document("docs/rows-openapi.yaml")
    for operation in document.operations: ...
    request = document.request(operation, rng)                # a proper one
    for request in document.mistakes(operation, rng): ...     # with one thing wrong each
    wrong = document.judge(operation, answer)                  # [] or what does not agree

It knows the part of JSON Schema that the document uses; a keyword that it does not know
is an error, so that nothing goes unchecked.  The document is YAML, for which it takes
Debian's python3-yaml; all else is the standard library's.
"""

import json
import re
import string
import urllib.parse

# Words of JSON Schema that say nothing about validity.
SILENT = {"description", "format", "contentEncoding", "contentMediaType", "default", "title"}
METHODS = ("get", "put", "post", "delete")
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


class Answer:
    """What the server said.  fields: an http.client.HTTPMessage."""

    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    @property
    def type(self):
        return (self.fields.get("Content-Type") or "").split(";")[0].strip()


class Request:
    def __init__(self, operation, path, query, fields, body, wrong=None):
        self.operation, self.query, self.fields = operation, query, dict(fields)
        self.path, self.body, self.wrong = path, body, wrong

    @property
    def target(self):
        query = urllib.parse.urlencode(self.query)
        return self.path + ("?" + query if query else "")

    def __str__(self):
        return "%s %s %s %r" % (self.operation.method, self.target, self.fields, (self.body or b"")[:60])


class Operation:
    def __init__(self, path, method, raw, parameters):
        self.path, self.method, self.raw, self.id = path, method.upper(), raw, raw["operationId"]
        self.parameters = parameters
        self.bodies = raw.get("requestBody", {}).get("content", {})

    def __str__(self):
        return "%s %s" % (self.method, self.path)


# ------------------------------------------------------------------------ judging

def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def _check_type(value, want, at):
    names = want if isinstance(want, list) else [want]
    return [] if any(is_type(value, name) for name in names) else ["%s is no %s: %r" % (at, want, value)]


def _number(compare, text):
    def check(value, bound, at):
        fine = not is_type(value, "number") or compare(value, bound)
        return [] if fine else ["%s is %s %s: %r" % (at, text, bound, value)]
    return check


def _size(kind, compare, text):
    def check(value, bound, at):
        fine = not isinstance(value, kind) or compare(len(value), bound)
        return [] if fine else ["%s is %s than %d" % (at, text, bound)]
    return check


RULES = {
    "type": _check_type,
    "enum": lambda value, want, at: [] if value in want else ["%s is none of %s: %r" % (at, want, value)],
    "const": lambda value, want, at: [] if value == want else ["%s is not %r: %r" % (at, want, value)],
    "pattern": lambda value, want, at: [] if not isinstance(value, str) or re.search(want, value)
    else ["%s is not /%s/: %r" % (at, want, value)],
    "minimum": _number(lambda a, b: a >= b, "below"),
    "maximum": _number(lambda a, b: a <= b, "above"),
    "minLength": _size(str, lambda a, b: a >= b, "shorter"),
    "maxLength": _size(str, lambda a, b: a <= b, "longer"),
    "minItems": _size(list, lambda a, b: a >= b, "shorter"),
    "maxItems": _size(list, lambda a, b: a <= b, "longer"),
    "required": lambda value, want, at: ["%s lacks %s" % (at, name) for name in want if name not in value]
    if isinstance(value, dict) else [],
}


class Document:
    def __init__(self, path):
        import yaml
        with open(path) as text:
            self.raw = yaml.safe_load(text)
        self.operations = [self._operation(path, method, item)
                           for path, item in self.raw["paths"].items() for method in METHODS if method in item]

    def _operation(self, path, method, item):
        both = item.get("parameters", []) + item[method].get("parameters", [])
        return Operation(path, method, item[method], [self.find(one) for one in both])

    def find(self, node):
        """The node that a $ref means; what stands beside it is added."""
        if not isinstance(node, dict) or "$ref" not in node:
            return node
        there = self.raw
        for name in node["$ref"].removeprefix("#/").split("/"):
            there = there[name]
        return {**self.find(there), **{name: value for name, value in node.items() if name != "$ref"}}

    def references(self, node=None):
        """All that $ref names, for finding those that are not there."""
        node = self.raw if node is None else node
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            if name == "$ref":
                yield value
            elif isinstance(value, (dict, list)):
                yield from self.references(value)

    def validate(self, value, schema, at="it"):
        """[] or what is wrong with the value."""
        schema, wrong = self.find(schema), []
        for word, want in schema.items():
            if word in RULES:
                wrong += RULES[word](value, want, at)
            elif word == "properties":
                wrong += self._properties(value, schema, at)
            elif word == "items" and isinstance(value, list):
                wrong += [text for i, one in enumerate(value)
                          for text in self.validate(one, want, "%s[%d]" % (at, i))]
            elif word == "anyOf":
                tried = [self.validate(value, one, at) for one in want]
                wrong += [] if [] in tried else min(tried, key=len)
            elif word == "additionalProperties" and "properties" not in schema:
                wrong += self._properties(value, schema, at)
            elif word not in SILENT | {"items", "additionalProperties"}:
                raise ValueError("the schema at %s has %s, which nobody checks" % (at, word))
        return wrong

    def _properties(self, value, schema, at):
        known, wrong = schema.get("properties", {}), []
        for name, one in value.items() if isinstance(value, dict) else ():
            more = known.get(name, schema.get("additionalProperties", True))
            if more is False:
                wrong.append("%s has %s, which is not documented" % (at, name))
            elif more is not True:
                wrong += self.validate(one, more, "%s.%s" % (at, name))
        return wrong

    def judge(self, operation, answer, head=False):
        """[] or in what the answer is not as the document says."""
        said = operation.raw["responses"].get(str(answer.status))
        if not said:
            return ["status %d is not documented" % answer.status]
        said = self.find(said)
        return self._judge_fields(said, answer) + ([] if head else self._judge_body(said, answer))

    def _judge_fields(self, said, answer):
        wrong = []
        for name, field in said.get("headers", {}).items():
            value = answer.fields.get(name)
            if value is not None:
                wrong += self.validate(value, self.find(field)["schema"], name)
        if answer.type not in said.get("content", {"": None}):
            wrong.append("its type %r is not documented" % answer.type)
        return wrong

    def _judge_body(self, said, answer):
        schema = (said.get("content", {}).get(answer.type) or {}).get("schema")
        if not schema:
            return []
        text = answer.body.decode("utf-8")
        return self.validate(json.loads(text) if answer.type.endswith("json") else text, schema)

    # ------------------------------------------------------------------ requests

    def value(self, schema, rng):
        """A value that the schema allows."""
        schema = self.find(schema)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema["type"][0] if isinstance(schema["type"], list) else schema["type"]
        return getattr(self, "_" + kind)(schema, rng)

    def _integer(self, schema, rng):
        low, high = schema.get("minimum", 0), schema.get("maximum", 1 << 40)
        return rng.choice([low, high, rng.randint(low, high), min(high, low + rng.randint(0, 5))])

    def _string(self, schema, rng):
        pattern = schema.get("pattern", "")
        if "latest" in pattern:
            return rng.choice(["latest", "1", str(rng.randint(1, 9)), str(rng.randint(1, 10 ** 18 - 1))])
        if "16}:" in pattern:
            return rng.choice(["-:0", "%016x:-" % rng.getrandbits(64), "%016x:%d" % (rng.getrandbits(64), rng.randint(0, 9))])
        if "{16}" in pattern:
            return "%016x" % rng.getrandbits(64)
        if pattern.startswith('^"'):
            return '"%d"' % rng.randint(0, 5)
        if schema.get("contentEncoding") == "base64":
            return rng.choice(["", "YQ==", "YWI=", "YWJj"])
        if "a-z0-9-" in pattern:
            return rng.choice(["", "sum", "unique"])
        high = min(schema.get("maxLength", 40), 40)
        size = rng.randint(schema.get("minLength", 0), high)
        letters = string.ascii_letters + string.digits + "/%+&=?. :\u00e4\u20ac" * ("Name" == schema.get("is"))
        return "".join(rng.choice(letters) for _ in range(size))

    def _boolean(self, schema, rng):
        return rng.random() < 0.5

    def _array(self, schema, rng):
        low = schema.get("minItems", 0)
        return [self.value(schema["items"], rng) for _ in range(rng.randint(low, low + 3))]

    def _object(self, schema, rng):
        return {name: self.value(one, rng) for name, one in schema.get("properties", {}).items()
                if name in schema.get("required", ()) or rng.random() < 0.3}

    def _place(self, operation, rng, given):
        path, query, fields = operation.path, [], {}
        for one in operation.parameters:
            if not one.get("required") and one["name"] not in given and rng.random() < 0.75:
                continue
            value = given.get(one["name"], self.value(one["schema"], rng) if one["name"] not in given else None)
            if value is None:
                continue
            if one["in"] == "path":
                path = path.replace("{%s}" % one["name"], urllib.parse.quote(str(value), safe=""))
            elif one["in"] == "query":
                query.append((one["name"], str(value)))
            else:
                fields[one["name"]] = str(value)
        return path, query, fields

    def body(self, operation, rng):
        """(type, bytes), or none."""
        if not operation.bodies or (not operation.raw["requestBody"].get("required") and rng.random() < 0.1):
            return None, None
        kind = rng.choice(sorted(operation.bodies))
        if kind.endswith("json") and "ndjson" not in kind:
            return kind, json.dumps(self.value(operation.bodies[kind]["schema"], rng)).encode()
        return kind, b"" if "ndjson" in kind else bytes(rng.randrange(256) for _ in range(rng.randint(0, 60)))

    def request(self, operation, rng, given=None):
        """A request that the document allows; given: parameters that have that value, or (None) are left out."""
        path, query, fields = self._place(operation, rng, given or {})
        kind, body = self.body(operation, rng)
        if kind:
            fields["Content-Type"] = kind
        return Request(operation, path, query, fields, body)

    def wrong_values(self, schema):
        """Texts that the schema does not allow."""
        schema = self.find(schema)
        if schema["type"] == "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", (1 << 63) - 1)
            return ["x", "-1", "1.5", "", "0x10", "1e3", "9" * 30, str(high + 1)] + ([str(low - 1)] if low > 0 else [])
        wrong = ["ko", "\u20ac"] if "enum" in schema else []
        if "pattern" in schema or "maxLength" in schema:
            tries = ["", "x" * 300, "G" * 16, "~", "a~b", "12", "-", "0", "1.0", '"x"', '""', "W/\"1\"", "\x7f", "\x01"]
            wrong += [text for text in tries if self.validate(text, schema)]
        return wrong

    def mistakes(self, operation, rng, given):
        """Requests with one thing wrong each, which say so in .wrong."""
        for one in operation.parameters:
            for text in self.wrong_values(one["schema"]):
                if one["in"] == "path" and not text:
                    continue  # that is another path
                if one["in"] == "header" and (not text.isascii() or not text.isprintable() or one["name"] == "Last-Event-ID"):
                    continue
                request = self.request(operation, rng, {**given, one["name"]: text})
                request.wrong = "%s %r" % (one["name"], text[:20])
                yield request
        request = self.request(operation, rng, given)
        request.query.append(("surplus", "1"))
        request.wrong = "a parameter that there is not"
        yield request
        for kind, media in operation.bodies.items():
            if kind.endswith("json") and "ndjson" not in kind:
                yield from self._wrong_bodies(operation, kind, self.find(media["schema"]), rng, given)

    def _wrong_bodies(self, operation, kind, schema, rng, given):
        proper = {name: self.value(one, rng) for name, one in schema["properties"].items()}
        bad = [("no JSON", b"{"), ("not UTF-8", b'{"a":"\xff"}'), ("an array", b"[]"), ("a number", b"1"), ("two", b"{}{}"),
               ("a surplus member", json.dumps({**proper, "surplus": 1}).encode())]
        for name in schema.get("required", ()):
            bad.append(("no " + name, json.dumps({k: v for k, v in proper.items() if k != name}).encode()))
        for name, one in schema["properties"].items():
            for value in (None, {}, True, -1, 1.5, "?", [], 1 << 70, ["?"], [1]):
                if self.validate(value, one):
                    bad.append(("%s %r" % (name, value), json.dumps({**proper, name: value}).encode()))
        for text, body in bad:
            request = self.request(operation, rng, given)
            request.body, request.wrong = body, "a body: " + text
            request.fields["Content-Type"] = kind
            yield request
