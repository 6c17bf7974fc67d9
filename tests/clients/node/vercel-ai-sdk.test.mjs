// The Vercel AI SDK: by OpenAI's responses and chat completions, by the compatible package, by Anthropic's API.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  APICallError,
  Output,
  embed,
  embedMany,
  experimental_transcribe as transcribe,
  generateImage,
  generateObject,
  generateSpeech,
  generateText,
  isStepCount,
  streamText,
  tool,
} from "ai";
import { z } from "zod";

import {
  CHUNKS,
  CHUNK_TEXT,
  FILE,
  PROMPT_TOKENS,
  TEXT_LENGTH,
  WRONG_KEY,
  afterDocument,
  collect,
  documented,
} from "./shared.mjs";

const { openai, compatible, anthropic } = await documented("vercel-ai-sdk.mjs");

// It has an opinion on models that it doesn't know.
globalThis.AI_SDK_LOG_WARNINGS = false;

const KINDS = {
  responses: openai("renamed"),
  chat: openai.chat("renamed"),
  compatible: compatible("renamed"),
  anthropic: anthropic("claude"),
};

const prompt = "Hello!";
const maxRetries = 0;
const Person = z.object({ name: z.string(), age: z.number().int() });
const person = { name: "mock", age: 1 };

const tools = {
  weather: tool({
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string(), days: z.number().int() }),
    execute: async ({ city, days }) => `${city}: sunny for ${days} day`,
  }),
};

for (const [kind, model] of Object.entries(KINDS)) {
  test(`${kind}: generateText`, async () => {
    const { text, finishReason, usage } = await generateText({ model, prompt, maxRetries });
    assert.equal(text.length, TEXT_LENGTH);
    assert.equal(finishReason, "stop");
    assert.equal(usage.inputTokens, PROMPT_TOKENS);
    assert.equal(usage.outputTokens, CHUNKS);
  });

  test(`${kind}: streamText`, async () => {
    const result = streamText({ model, prompt, maxRetries });
    const pieces = await collect(result.textStream);
    assert.equal(pieces.join(""), CHUNK_TEXT.repeat(CHUNKS));
    assert.equal(await result.finishReason, "stop");
  });

  test(`${kind}: a tool is called, run and answered`, async () => {
    // Two steps: the call that is forced, and what comes after its result.
    const { steps } = await generateText({
      model,
      prompt,
      maxRetries,
      tools,
      stopWhen: isStepCount(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "auto" }),
    });
    assert.deepEqual(steps[0].toolCalls[0].input, { city: "mock", days: 1 });
    assert.equal(steps[0].toolResults[0].output, "mock: sunny for 1 day");
    assert.equal(steps[1].text.length, TEXT_LENGTH);
  });

  test(`${kind}: a tool call in a stream`, async () => {
    const result = streamText({ model, prompt, maxRetries, tools, toolChoice: "required" });
    const [call] = await result.toolCalls;
    assert.deepEqual([call.toolName, call.input], ["weather", { city: "mock", days: 1 }]);
  });

  test(`${kind}: what fails has its status and its reason`, async () => {
    const name = kind === "anthropic" ? "claude-error-429" : "error-429";
    const failing = { responses: openai, chat: openai.chat, compatible, anthropic }[kind](name);
    await assert.rejects(generateText({ model: failing, prompt, maxRetries }), (error) => {
      assert.ok(APICallError.isInstance(error));
      assert.equal(error.statusCode, 429);
      assert.equal(error.isRetryable, true);
      assert.match(error.message, /as the request asked for/);
      assert.equal(error.responseHeaders["retry-after"], "7");
      return true;
    });
  });

  test(`${kind}: a model that is not mapped`, async () => {
    const unknown = { responses: openai, chat: openai.chat, compatible, anthropic }[kind]("no-such-model");
    await assert.rejects(generateText({ model: unknown, prompt, maxRetries }), (error) => {
      assert.equal(error.statusCode, 404);
      assert.match(error.message, /no-such-model.*does not exist/);
      return true;
    });
  });
}

for (const kind of ["responses", "chat"]) {
  test(`${kind}: structured output`, async () => {
    const model = KINDS[kind];
    assert.deepEqual((await generateObject({ model, schema: Person, prompt, maxRetries })).object, person);
    const asked = { model, prompt, maxRetries, output: Output.object({ schema: Person }) };
    assert.deepEqual((await generateText(asked)).output, person);
    assert.deepEqual((await collect(streamText(asked).partialOutputStream)).at(-1), person);
  });
}

test("embed and embedMany", async () => {
  for (const model of [openai.embedding("renamed"), compatible.embeddingModel("renamed")]) {
    const { embeddings } = await embedMany({ model, values: ["one", "two"], maxRetries });
    assert.deepEqual(embeddings.map((embedding) => embedding.length), [8, 8]);
    const { embedding } = await embed({ model, value: "one", maxRetries });
    assert.deepEqual(embedding, embeddings[0]);
  }
});

test("images, speech and its transcription", async () => {
  const { image } = await generateImage({ model: openai.image("renamed"), prompt, maxRetries });
  assert.equal(Buffer.from(image.uint8Array).subarray(1, 4).toString(), "PNG");
  const { audio } = await generateSpeech({ model: openai.speech("renamed"), text: prompt, maxRetries });
  assert.equal(audio.uint8Array.length, TEXT_LENGTH);
  const { text } = await transcribe({ model: openai.transcription("renamed"), audio: FILE, maxRetries });
  assert.equal(text.length, TEXT_LENGTH);
});

test("a refused key", async () => {
  const program = `
    import { createOpenAI } from "@ai-sdk/openai";
    import { generateText } from "ai";
    const openai = createOpenAI({ apiKey: "${WRONG_KEY}" });
    await generateText({ model: openai("mock"), prompt: "Hello!", maxRetries: 0 }).catch((error) =>
      console.log(error.statusCode, error.data.error.code));`;
  assert.equal(afterDocument("vercel-ai-sdk.sh", program), "401 invalid_api_key");
});

test("the default provider from the environment", () => {
  const program = `
    import { openai } from "@ai-sdk/openai";
    import { generateText } from "ai";
    const { text } = await generateText({ model: openai("mock"), prompt: "Hello!" });
    console.log(text.length);`;
  assert.equal(afterDocument("vercel-ai-sdk.sh", program), String(TEXT_LENGTH));
});
