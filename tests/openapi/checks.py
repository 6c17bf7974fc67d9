"""Checks of our own for schemathesis: what holds for every answer, and no schema says."""

import json

import schemathesis


@schemathesis.check
def every_answer_has_an_id(ctx, response, case):
    assert is_of_the_server(response) or header(response, "x-gateway-request-id"), "no x-gateway-request-id"


@schemathesis.check
def errors_of_the_gateway_s_own_have_the_envelope(ctx, response, case):
    if response.status_code < 400 or is_of_the_server(response) or is_of_the_provider(response):
        return
    error = json.loads(response.content)["error"]
    assert set(error) == {"message", "type", "param", "code"}, f"not an error of ours: {error}"


@schemathesis.check
def examples_reach_the_provider(ctx, response, case):
    if case.meta and case.meta.phase.name == "examples" and case.path.startswith("/v1/"):
        assert is_of_the_provider(response), "an example of the data path stops at the gateway"


def is_of_the_server(response):
    """Refused before it was a request: malformed, as some of what is tried here is."""
    return response.status_code == 400 and not response.content


def is_of_the_provider(response):
    """The mock provider names each of its answers, as OpenAI does."""
    return header(response, "x-request-id")


def header(response, name):
    return response.headers.get(name)
