// What the tests of Node's clients share. run.sh starts everything and says where it is.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import process from "node:process";

const DOCUMENT = process.env.CLIENTS_DOCUMENT;

// What the mock provider says when nothing else was asked for.
export const CHUNKS = 20;
export const CHUNK_TEXT = "All work and no ";
export const PROMPT_TOKENS = 12;
// Whole answers have as much text, but go on in the phrase.
export const TEXT_LENGTH = CHUNKS * CHUNK_TEXT.length;

// Far more than anything here takes, so that whatever hangs fails.
export const TIMEOUT = 60_000;
// The same for a program of its own: it reads many modules first, and all suites run at once.
const PROGRAM_TIMEOUT = 3 * TIMEOUT;

/** One that has a key's form, but was never issued. */
export const WRONG_KEY = process.env.CLIENTS_WRONG_KEYS.split(" ")[1];

/** What the names of models.tsv are called by their provider. */
export const PROVIDER_NAMES = new Map(
  readFileSync(new URL("../models.tsv", import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line && !line.startsWith("#"))
    .map((line) => line.split("\t"))
    .map(([name, , theirs]) => [name, theirs === "-" ? name : theirs]),
);

/** The constants that a block of docs/CLIENTS.md leaves behind. */
export const documented = (block) => import(`${DOCUMENT}/${block}`);

/** What a module prints that is run where a block of shell commands was run before. */
export function afterDocument(block, program) {
  const script = `source "${DOCUMENT}/${block}"\nexec "$0" --input-type=module --eval "$1"`;
  const options = { cwd: DOCUMENT, encoding: "utf8", timeout: PROGRAM_TIMEOUT };
  return execFileSync("bash", ["--norc", "-euo", "pipefail", "-c", script, process.execPath, program], options).trim();
}

// A file of every byte, so that whoever takes it for text spoils it, and longer than one read.
export const FILE = Buffer.alloc(256 * 1024, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));

/** Whether a part of a form reached the provider whole. */
export const isWhole = (part) =>
  part.bytes === FILE.length && part.sha256 === createHash("sha256").update(FILE).digest("hex");

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}
