"""Hooks of schemathesis: what a schema cannot say about a valid request."""

import schemathesis
from schemathesis import GenerationMode

# Fields that name columns, which are the catalogue's.
COLUMNS = ("where", "properties", "diversity")


def valid(body):
    if not isinstance(body, dict):
        return body
    known = {name: value for name, value in body.items() if name not in COLUMNS}
    # As many kinds as items: a schema cannot compare two lengths.
    if len(known.get("kinds") or []) != len(known.get("items") or []):
        known.pop("kinds", None)
    if isinstance(known.get("questions"), list):
        known["questions"] = [valid(question) for question in known["questions"]]
    return known


@schemathesis.hook
def before_call(context, case, kwargs):
    # A request that is meant to be invalid stays as it is.
    if case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        case.body = valid(case.body)
