"""Checks a description: against OpenAPI's own schema, and each example against the schema beside it.

    document.py FILE
"""

import json
import sys

from jsonschema import FormatChecker
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def main(file):
    with open(file, encoding="utf-8") as text:
        document = json.load(text)
    OpenAPIV31SpecValidator(document).validate()
    checked = 0
    for where, schema, example in examples(document):
        # References are looked up in the document that the schema stands in.
        validator = OAS31Validator(
            {**schema, "components": document["components"]}, format_checker=FormatChecker()
        )
        problems = [problem.message for problem in validator.iter_errors(example)]
        assert not problems, f"{where}: {problems}"
        checked += 1
    assert checked > 200, checked
    print(f"valid OpenAPI 3.1, and {checked} examples fit their schemas")


def examples(document):
    """Where each is, its schema, and itself."""
    yield from in_schemas(document["components"]["schemas"])
    for path, item in document["paths"].items():
        for method, operation in item.items():
            bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
            for name, body in bodies.items():
                for content in body.get("content", {}).values():
                    for example in of_content(content):
                        yield f"{method} {path} {name}", content["schema"], example


def in_schemas(schemas):
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            yield name, schema, example


def of_content(content):
    if "example" in content:
        yield content["example"]
    for example in content.get("examples", {}).values():
        yield example["value"]


if __name__ == "__main__":
    main(*sys.argv[1:])
