"""Errors arrive as the classes that the SDK has for them, whoever made them."""

import openai
import pytest
from conftest import API_KEY, HELLO, PROVIDER_KEY, TEXT_LENGTH, WRONG_KEYS, model


def failure(client, name="mock", **more):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model(name), messages=HELLO, **more)
    return caught.value


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "error_class", "type_", "code"),
    [
        (400, openai.BadRequestError, "invalid_request_error", None),
        (401, openai.AuthenticationError, "invalid_request_error", "invalid_api_key"),
        (403, openai.PermissionDeniedError, "invalid_request_error", None),
        (404, openai.NotFoundError, "invalid_request_error", "model_not_found"),
        (409, openai.ConflictError, "invalid_request_error", None),
        (413, openai.APIStatusError, "invalid_request_error", None),
        (422, openai.UnprocessableEntityError, "invalid_request_error", None),
        (429, openai.RateLimitError, "requests", "rate_limit_exceeded"),
        (500, openai.InternalServerError, "server_error", None),
        (502, openai.InternalServerError, "server_error", None),
        (503, openai.InternalServerError, "server_error", None),
        (504, openai.InternalServerError, "server_error", None),
    ],
)
def test_a_providers_error_is_relayed(client, status, error_class, type_, code, streamed):
    error = failure(client, f"error-{status}", stream=streamed)
    assert type(error) is error_class
    assert error.status_code == status
    assert (error.type, error.code) == (type_, code)
    assert "as the request asked for" in error.message
    assert error.request_id.startswith("req_mock_")
    retry_after = error.response.headers.get("retry-after")
    assert retry_after == ("7" if status in (429, 503) else None)


@pytest.mark.parametrize("key", WRONG_KEYS)
def test_a_refused_key(client, key):
    error = failure(client.with_options(api_key=key))
    assert type(error) is openai.AuthenticationError
    assert (error.type, error.code) == ("invalid_request_error", "invalid_api_key")
    assert "Incorrect API key provided" in error.message
    assert key not in error.response.text


@pytest.mark.gateway
def test_a_model_that_is_not_mapped(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    error = caught.value
    assert (error.type, error.code) == ("invalid_request_error", "model_not_found")
    assert "no-such-model" in error.message and "does not exist" in error.message


@pytest.mark.gateway
def test_a_body_that_is_unusable(client):
    error = failure(client, extra_body={"model": 7})
    assert type(error) is openai.BadRequestError
    assert error.type == "invalid_request_error"


@pytest.mark.gateway
def test_a_body_that_is_too_large(client):
    with pytest.raises(openai.APIStatusError) as caught:
        long = [{"role": "user", "content": "x" * (33 << 20)}]
        client.chat.completions.create(model="mock", messages=long)
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"


@pytest.mark.gateway
def test_an_endpoint_that_does_not_exist(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.post("/no-such-endpoint", body={}, cast_to=object)
    assert caught.value.code == "unknown_url"


@pytest.mark.gateway
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_provider_that_cannot_be_reached(client, streamed):
    error = failure(client, "unreachable", stream=streamed)
    assert type(error) is openai.InternalServerError
    assert error.status_code == 502
    assert (error.type, error.code) == ("api_error", "upstream_unreachable")


@pytest.mark.gateway
def test_a_provider_that_does_not_answer_in_time(impatient_client):
    error = failure(impatient_client, "slow")
    assert type(error) is openai.InternalServerError
    assert error.status_code == 504
    assert (error.type, error.code) == ("api_error", "upstream_timeout")


@pytest.mark.gateway
def test_neither_key_is_told(client):
    for name in ("error-401", "unreachable"):
        error = failure(client, name)
        said = error.response.text + str(error.response.headers)
        assert API_KEY not in said and PROVIDER_KEY not in said


def test_the_sdk_repeats_what_failed_and_gets_through(client):
    raw = client.with_options(max_retries=2).chat.completions.with_raw_response.create(
        model=model("flaky"), messages=HELLO
    )
    assert raw.retries_taken == 2
    assert len(raw.parse().choices[0].message.content) == TEXT_LENGTH


def test_the_sdk_gives_up_after_its_last_repetition(client):
    assert type(failure(client.with_options(max_retries=1), "flaky")) is openai.RateLimitError


def test_a_client_that_does_not_wait(client):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(
            model=model("slow"), messages=HELLO
        )
