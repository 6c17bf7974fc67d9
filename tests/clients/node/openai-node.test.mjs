// OpenAI's SDK for Node: every endpoint that it has and the gateway forwards.

import assert from "node:assert/strict";
import { test } from "node:test";
import process from "node:process";

import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import {
  CHUNKS,
  CHUNK_TEXT,
  FILE,
  PROMPT_TOKENS,
  PROVIDER_NAMES,
  TEXT_LENGTH,
  TIMEOUT,
  WRONG_KEY,
  afterDocument,
  collect,
  documented,
  isWhole,
} from "./shared.mjs";

const { client: documentedClient } = await documented("openai-node.mjs");
// A failed request is the result, not something to try again.
const client = documentedClient.withOptions({ maxRetries: 0, timeout: TIMEOUT });

// A name whose provider knows it by another one: the body has to be rewritten.
const model = "renamed";
const theirs = PROVIDER_NAMES.get(model);
const messages = [{ role: "user", content: "Hello!" }];

const Person = z.object({ name: z.string(), age: z.number().int() });
const person = { name: "mock", age: 1 };

const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const args = { city: "mock", days: 1 };

// ---- chat ----

for (const name of ["mock", "renamed", "vendor/модель:free"]) {
  test(`a whole answer of ${name}`, async () => {
    const completion = await client.chat.completions.create({ model: name, messages });
    assert.equal(completion.model, PROVIDER_NAMES.get(name));
    assert.equal(completion.choices[0].message.content.length, TEXT_LENGTH);
    assert.equal(completion.usage.total_tokens, PROMPT_TOKENS + CHUNKS);
  });

  test(`a streamed answer of ${name}`, async () => {
    const chunks = await collect(await client.chat.completions.create({ model: name, messages, stream: true }));
    assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), CHUNK_TEXT.repeat(CHUNKS));
    assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  });
}

test("usage in a stream", async () => {
  const options = { model, messages, stream: true, stream_options: { include_usage: true } };
  const chunks = await collect(await client.chat.completions.create(options));
  assert.equal(chunks.at(-1).usage.total_tokens, PROMPT_TOKENS + CHUNKS);
});

test("a stream put together by the SDK", async () => {
  const completion = await client.chat.completions.stream({ model, messages }).finalChatCompletion();
  assert.equal(completion.choices[0].message.content, CHUNK_TEXT.repeat(CHUNKS));
});

test("a stream is readable before it ends, and can be left", async () => {
  // This one never ends: whoever collects it first would never hand out anything.
  const stream = await client.chat.completions.create({ model: "endless", messages, stream: true });
  let count = 0;
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    if (++count === 5) break;
  }
  assert.equal(count, 5);
});

test("a stream that is cut is an error", async () => {
  const stream = await client.chat.completions.create({ model: "cut", messages, stream: true });
  let count = 0;
  await assert.rejects(async () => {
    for await (const _ of stream) count++;
  });
  assert.equal(count, 3);
});

test("a tool call, whole and in pieces", async () => {
  const asked = { model, messages, tools, tool_choice: "required" };
  const completion = await client.chat.completions.create(asked);
  const [call] = completion.choices[0].message.tool_calls;
  assert.equal(completion.choices[0].finish_reason, "tool_calls");
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), args);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
  assert.deepEqual(JSON.parse(streamed.choices[0].message.tool_calls[0].function.arguments), args);
});

test("structured output", async () => {
  const response_format = zodResponseFormat(Person, "person");
  const completion = await client.chat.completions.parse({ model, messages, response_format });
  assert.deepEqual(completion.choices[0].message.parsed, person);
});

test("raw responses carry both request ids", async () => {
  const { data, response, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
  assert.match(request_id, /^req_mock_/);
  assert.equal(data._request_id, request_id);
  assert.ok(response.headers.get("x-gateway-request-id"));
});

test("calls side by side", async () => {
  const calls = Array.from({ length: 32 }, () => client.chat.completions.create({ model, messages }));
  const lengths = (await Promise.all(calls)).map((completion) => completion.choices[0].message.content.length);
  assert.deepEqual(new Set(lengths), new Set([TEXT_LENGTH]));
});

// ---- the other endpoints ----

test("completions, whole and streamed", async () => {
  const completion = await client.completions.create({ model, prompt: "Once" });
  assert.equal(completion.model, theirs);
  assert.equal(completion.choices[0].text.length, TEXT_LENGTH);
  const chunks = await collect(await client.completions.create({ model, prompt: "Once", stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), CHUNK_TEXT.repeat(CHUNKS));
});

test("embeddings, as numbers and as base64", async () => {
  const create = (more) => client.embeddings.create({ model, input: ["one", "two"], ...more });
  const numbers = await create({ encoding_format: "float" });
  assert.equal(numbers.model, theirs);
  assert.deepEqual(numbers.data.map((item) => item.embedding.length), [8, 8]);
  // Unless told otherwise, the SDK asks for base64 and reads it.
  assert.deepEqual((await create({})).data, numbers.data);
  const packed = await create({ encoding_format: "base64" });
  const bytes = Buffer.from(packed.data[1].embedding, "base64");
  assert.deepEqual(Array.from({ length: 8 }, (_, index) => bytes.readFloatLE(4 * index)), numbers.data[1].embedding);
});

test("responses, whole and streamed", async () => {
  const response = await client.responses.create({ model, input: "Hello!" });
  assert.equal(response.model, theirs);
  assert.equal(response.output_text.length, TEXT_LENGTH);
  const events = await collect(await client.responses.create({ model, input: "Hello!", stream: true }));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), CHUNK_TEXT.repeat(CHUNKS));
  assert.equal(events.at(-1).type, "response.completed");
});

test("responses with structured output and tools", async () => {
  const text = { format: zodTextFormat(Person, "person") };
  const parsed = await client.responses.parse({ model, input: "Who?", text });
  assert.deepEqual(parsed.output_parsed, person);
  const asked = {
    model,
    input: "Hi",
    tools: [{ type: "function", name: "get_weather", parameters, strict: true }],
    tool_choice: "required",
  };
  const [call] = (await client.responses.create(asked)).output;
  assert.deepEqual([call.type, call.name, JSON.parse(call.arguments)], ["function_call", "get_weather", args]);
  const streamed = await client.responses.stream(asked).finalResponse();
  assert.equal(streamed.output[0].arguments, call.arguments);
});

test("moderations, with a model and without", async () => {
  const named = await client.moderations.create({ model, input: ["one", "two"] });
  assert.equal(named.model, theirs);
  assert.deepEqual(named.results.map((result) => result.flagged), [false, false]);
  const unnamed = await client.moderations.create({ input: "one" });
  assert.equal(unnamed.model, "omni-moderation-latest");
});

const isPixel = (image) => Buffer.from(image.b64_json, "base64").subarray(1, 4).toString() === "PNG";
const part = (answer, name) => answer.mock.find((part) => part.name === name);
const file = (name) => toFile(FILE, name);

test("images: generated, edited, varied", async () => {
  const generated = await client.images.generate({ model, prompt: "a gateway", n: 2 });
  assert.deepEqual(generated.data.map(isPixel), [true, true]);
  const edited = await client.images.edit({
    model,
    prompt: "a gateway",
    image: await file("in.png"),
    mask: await file("mask.png"),
  });
  assert.ok(isPixel(edited.data[0]) && isWhole(part(edited, "image")) && isWhole(part(edited, "mask")));
  const varied = await client.images.createVariation({ model, image: await file("in.png") });
  assert.ok(isPixel(varied.data[0]) && isWhole(part(varied, "image")));
});

test("audio: spoken, transcribed, translated", async () => {
  const spoken = await client.audio.speech.create({ model, voice: "alloy", input: "Hello!" });
  const bytes = Buffer.from(await spoken.arrayBuffer());
  assert.deepEqual(bytes, Buffer.from(Array.from({ length: TEXT_LENGTH }, (_, index) => index % 256)));
  for (const kind of ["transcriptions", "translations"]) {
    const heard = await client.audio[kind].create({ model, file: await file("heard.wav") });
    assert.equal(heard.text.length, TEXT_LENGTH);
    assert.ok(isWhole(part(heard, "file")));
  }
});

test("rerank, by the SDK's own post", async () => {
  const body = { model, query: "gateway", documents: ["a", "abc", "ab"] };
  const ranked = await client.post("/rerank", { body });
  assert.deepEqual(ranked.results.map((result) => result.index), [1, 2, 0]);
});

test("the list of models, and single ones", async () => {
  const names = (await collect(client.models.list())).map((listed) => listed.id);
  assert.deepEqual(new Set(names), new Set(PROVIDER_NAMES.keys()));
  for (const name of ["mock", "vendor/модель:free", "mock:chunks=200,chunk-bytes=37"]) {
    assert.equal((await client.models.retrieve(name)).id, name);
  }
  await assert.rejects(client.models.retrieve("vendor/nobody"), { code: "model_not_found" });
});

// ---- errors ----

const failure = async (client, model) => {
  try {
    await client.chat.completions.create({ model, messages });
  } catch (error) {
    return error;
  }
  assert.fail("it did not fail");
};

for (const [status, errorClass] of [
  [400, OpenAI.BadRequestError],
  [401, OpenAI.AuthenticationError],
  [403, OpenAI.PermissionDeniedError],
  [404, OpenAI.NotFoundError],
  [409, OpenAI.ConflictError],
  [422, OpenAI.UnprocessableEntityError],
  [429, OpenAI.RateLimitError],
  [500, OpenAI.InternalServerError],
  [503, OpenAI.InternalServerError],
]) {
  test(`a provider's ${status} is relayed`, async () => {
    const error = await failure(client, `error-${status}`);
    assert.equal(error.constructor, errorClass);
    assert.equal(error.status, status);
    assert.match(error.message, /as the request asked for/);
    assert.match(error.requestID, /^req_mock_/);
  });
}

test("errors of the gateway's own", async () => {
  const wrong = client.withOptions({ apiKey: WRONG_KEY });
  const refused = await failure(wrong, model);
  assert.equal(refused.constructor, OpenAI.AuthenticationError);
  assert.equal(refused.code, "invalid_api_key");
  const unknown = await failure(client, "no-such-model");
  assert.equal(unknown.constructor, OpenAI.NotFoundError);
  assert.equal(unknown.code, "model_not_found");
  const unreachable = await failure(client, "unreachable");
  assert.equal(unreachable.constructor, OpenAI.InternalServerError);
  assert.equal(unreachable.code, "upstream_unreachable");
  assert.ok(!JSON.stringify(unreachable.error).includes(process.env.CLIENTS_PROVIDER_KEY));
});

test("the SDK repeats what failed, and gets through or gives up", async () => {
  const completion = await client.withOptions({ maxRetries: 2 }).chat.completions.create({ model: "flaky", messages });
  assert.equal(completion.choices[0].message.content.length, TEXT_LENGTH);
  assert.equal((await failure(client.withOptions({ maxRetries: 1 }), "flaky")).constructor, OpenAI.RateLimitError);
});

test("a client that does not wait", async () => {
  const error = await failure(client.withOptions({ timeout: 500 }), "slow");
  assert.equal(error.constructor, OpenAI.APIConnectionTimeoutError);
});

test("a client from the environment", () => {
  const program = `
    import OpenAI from "openai";
    const messages = [{ role: "user", content: "Hello!" }];
    const completion = await new OpenAI().chat.completions.create({ model: "mock", messages });
    console.log(completion.choices[0].message.content.length);`;
  assert.equal(afterDocument("openai-node.sh", program), String(TEXT_LENGTH));
});
