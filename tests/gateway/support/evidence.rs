//! What `tests/secrets` looks through. With `GATEWAY_TEST_EVIDENCE` set to a folder, every key that a test sends or is
//! given is noted there, and gateways leave their logs and what they said to operators.

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::OnceLock,
};

use serde_json::Value;
use uuid::Uuid;

use super::client::Response;

/// What a gateway logs for it. What libraries trace is seen by `tests/secrets` itself; here it would
/// be a line for every piece of a body. The access log is as it is by default, because tests read it.
pub(crate) const LEVEL: &str = "debug,llm_gateway=trace,access=info";

/// Shorter ones are words: what is too short to be a key can't be told from other text.
const SHORTEST: usize = 16;

/// Keys stand at the beginning, in the head or in a short body.
const MOST_READ: usize = 16 << 10;

/// Where evidence is kept, if it is.
pub(crate) fn folder() -> Option<&'static PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| env::var_os("GATEWAY_TEST_EVIDENCE").map(PathBuf::from));
    folder.as_ref()
}

/// Notes a key, so that it is looked for.
pub(crate) fn used(what: &str, key: &str) {
    let is_key = key.len() >= SHORTEST && key.bytes().all(|byte| byte.is_ascii_graphic());
    if let (Some(folder), true) = (folder(), is_key) {
        append(&folder.join("keys"), &format!("{what}\t{key}\n"));
    }
}

/// Notes the keys of a request as it is sent, however broken it may be.
pub(crate) fn sent(bytes: &[u8]) {
    if folder().is_none() {
        return;
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_READ)]);
    for name in ["bearer ", "api-key: "] {
        for value in after(&text, name) {
            let key = value.split(['\r', '\n', ' ']).next();
            used("key in a request", key.unwrap_or_default());
        }
    }
    for value in after(&text, "\"api_key\"") {
        let mut quoted = value.splitn(3, '"');
        if let (Some(":" | ": "), Some(key)) = (quoted.next(), quoted.next()) {
            used("provider key", key);
        }
    }
}

/// What follows each occurrence of a name, in any case.
fn after<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lower = text.to_ascii_lowercase();
    let places = lower.match_indices(name);
    places
        .map(|(place, _)| &text[place + name.len()..])
        .collect()
}

/// Keeps what an operator was told, but for the one plaintext that it may be.
pub(crate) fn told(answer: &Response) {
    let Some(folder) = folder() else {
        return;
    };
    let text = match serde_json::from_slice(&answer.body()) {
        Ok(Value::Object(mut fields)) => {
            if let Some(key) = fields.remove("key") {
                used("user key", key.as_str().unwrap_or_default());
            }
            Value::Object(fields).to_string()
        }
        _ => answer.text(),
    };
    append(&folder.join("told.log"), &format!("{text}\n"));
}

/// Keeps a gateway's log.
pub(crate) fn logged(log: &str) {
    if let Some(folder) = folder() {
        fs::write(folder.join(format!("{}.log", Uuid::new_v4())), log).unwrap();
    }
}

/// Says of a storage that providers' keys are kept in plaintext there.
pub(crate) fn plain(storage: &str) {
    if let Some(folder) = folder() {
        append(&folder.join("plain"), &format!("{storage}\n"));
    }
}

/// One `write` a line, so that those of many processes don't mix.
fn append(file: &PathBuf, line: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
