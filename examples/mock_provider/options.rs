//! The command line: where to listen, and the settings that hold for every request.

use std::fmt::Write as _;
use std::time::Duration;

use crate::endpoints::ENDPOINTS;
use crate::settings::{MODEL_PREFIX, ROWS, Settings, duration};

/// What the command line asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) listen: String,
    pub(crate) workers: Option<usize>,
    pub(crate) keep_alive: Duration,
    pub(crate) api_key: Option<String>,
    pub(crate) models: Vec<String>,
    pub(crate) settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9000".to_owned(),
            workers: None,
            // Longer than any pause between two rounds of a bench, so that connections are reused.
            keep_alive: Duration::from_secs(300),
            api_key: None,
            models: vec!["mock".to_owned()],
            settings: Settings::default(),
        }
    }
}

impl Options {
    /// Reads the arguments; `None` means that help was asked for.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "--help" || arg == "-h" {
                return Ok(None);
            }
            let flag = arg
                .strip_prefix("--")
                .ok_or_else(|| format!("'{arg}' is not a flag"))?;
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (
                    flag,
                    args.next().ok_or_else(|| format!("{arg} needs a value"))?,
                ),
            };
            options
                .set(name, value)
                .map_err(|problem| format!("--{name}: {problem}"))?;
        }
        Ok(Some(options))
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "listen" => self.listen = value,
            "workers" => self.workers = Some(worker_count(&value)?),
            "keep-alive" => self.keep_alive = duration(&value)?,
            "api-key" => self.api_key = Some(value),
            "models" => self.models = value.split(',').map(str::to_owned).collect(),
            _ => self.settings.set(name, &value)?,
        }
        Ok(())
    }
}

fn worker_count(value: &str) -> Result<usize, String> {
    value
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("'{value}' is not a number of workers"))
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "A provider of OpenAI's API and Anthropic's for trials, tests and benches.\n\n\
         Usage: mock_provider [FLAGS]\n\n\
         Flags:\n  \
         --listen ADDRESS       where to serve; port 0 takes a free one [127.0.0.1:9000]\n  \
         --workers N            threads [one per core]\n  \
         --keep-alive DURATION  how long an idle connection stays open [300s]\n  \
         --api-key KEY          refuse requests without `Authorization: Bearer KEY`, `x-api-key` or `api-key`\n  \
         --models A,B           names that GET /v1/models lists [mock]; any name is answered\n\n\
         Settings, as flags for every request (--NAME VALUE), as headers for one\n\
         (x-mock-NAME: VALUE), or in the model's name for one (",
    );
    let _ = writeln!(text, "{MODEL_PREFIX}NAME=VALUE,NAME=VALUE):");
    for row in ROWS {
        let _ = writeln!(text, "  {:<15} {:<9} {}", row.name, row.value, row.meaning);
    }
    text.push_str("\nEndpoints:\n");
    for endpoint in ENDPOINTS {
        let _ = writeln!(
            text,
            "  {:<4} {:<26} {}",
            endpoint.method.as_str(),
            endpoint.path,
            endpoint.meaning
        );
    }
    text.push_str(
        "\nA tool call is answered when `tool_choice` is \"required\" (Anthropic: \"any\") or names a function.\n\
         Durations: 250ms, 2s, 5m. Sizes: 512, 64KiB, 50MiB.\n\n\
         Example: curl -N http://127.0.0.1:9000/v1/chat/completions \\\n  \
         -H 'content-type: application/json' -H 'x-mock-chunk-delay: 100ms' \\\n  \
         -d '{\"model\":\"mock\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}'",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>, String> {
        Options::parse(args.iter().map(|&arg| arg.to_owned()))
    }

    #[test]
    fn flags_come_in_both_spellings() {
        let options = parse(&["--listen", "127.0.0.1:0", "--chunks=3"])
            .unwrap()
            .unwrap();
        assert_eq!(options.listen, "127.0.0.1:0");
        assert_eq!(options.settings.chunks, 3);
    }

    #[test]
    fn help_is_not_an_error() {
        assert!(parse(&["--help"]).unwrap().is_none());
        assert!(help().contains("/v1/chat/completions"));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse(&["--chunks"]).unwrap_err().contains("--chunks"));
        assert!(parse(&["--chunks", "x"]).unwrap_err().contains("--chunks"));
        assert!(parse(&["--workers=0"]).unwrap_err().contains("--workers"));
        assert!(parse(&["stray"]).unwrap_err().contains("stray"));
    }
}
