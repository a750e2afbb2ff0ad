# SPDX-License-Identifier: Apache-2.0
"""Prometheus' text format 0.0.4, read by its rules.

    families = exposition.read(text)      # name -> Family; ValueError says what is wrong
    families["x_total"].value(outcome="committed")

Stricter than the format where metrics of ours are always better so: each family has its
HELP and its TYPE, in this order, and all its samples right behind them.  Standard library only.
"""

import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*$")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


class Family:
    def __init__(self, name, help_):
        self.name, self.help, self.kind, self.samples = name, help_, None, {}

    def value(self, ending="", **labels):
        return self.samples[self.name + ending, tuple(sorted(labels.items()))]

    def buckets(self):
        """(bound, count), in the order in which they came."""
        return [(float(dict(labels)["le"]), value) for (name, labels), value in self.samples.items()
                if name.endswith("_bucket")]


def _labels(text):
    labels, at = {}, 0
    while text and at < len(text):
        found = LABEL.match(text, at)
        if not found or found.group(1) in labels:
            raise ValueError("labels that are none: %s" % text)
        labels[found.group(1)] = found.group(2)
        at = found.end()
    return tuple(sorted(labels.items()))


def _add(family, line):
    found = SAMPLE.match(line)
    if not found or not family or not family.kind:
        raise ValueError("no sample, or of no family: %s" % line)
    name, labels, value = found.group(1), _labels(found.group(2)), float(found.group(3))
    if name not in [family.name + ending for ending in ENDINGS[family.kind]]:
        raise ValueError("%s stands below %s" % (name, family.name))
    if (name, labels) in family.samples:
        raise ValueError("twice: %s" % line)
    family.samples[name, labels] = value


def _check(family):
    name = family.name
    if not NAME.match(name) or not family.help or not family.kind:
        raise ValueError("%s lacks something" % name)
    if (family.kind == "counter") != name.endswith("_total"):
        raise ValueError("%s is a %s" % (name, family.kind))
    if family.kind != "gauge" and any(value < 0 for value in family.samples.values()):
        raise ValueError("%s is below zero" % name)
    if family.kind != "histogram":
        return
    buckets = family.buckets()
    counts = [count for _, count in buckets]
    if buckets != sorted(buckets) or buckets[-1][0] != float("inf") or counts != sorted(counts):
        raise ValueError("%s: buckets that do not add up" % name)
    if counts[-1] != family.value("_count"):
        raise ValueError("%s: the last bucket is not the count" % name)


def read(text):
    families, family = {}, None
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            if words[2] in families:
                raise ValueError("%s comes twice" % words[2])
            family = families[words[2]] = Family(words[2], words[3])
        elif line.startswith("# TYPE "):
            if not family or words[2] != family.name or family.kind or words[3] not in ENDINGS:
                raise ValueError("not the type of what came before: %s" % line)
            family.kind = words[3]
        else:
            _add(family, line)
    for family in families.values():
        _check(family)
    return families
