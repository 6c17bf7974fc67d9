//! Where settings come from: the process environment, and behind it the `.env` file of the
//! working directory. The process environment is left as it is.

use std::{
    collections::HashMap,
    env::{self, VarError},
    fs, io,
};

const FILE: &str = ".env";

/// The value of a variable, `None` where no source has one, or the variable's problem.
pub(super) type Found = Result<Option<String>, String>;

/// What `.env` says, by name.
#[derive(Debug, Default)]
pub(super) struct File(HashMap<String, String>);

impl File {
    /// Reads `.env` of the working directory; one that isn't there says nothing.
    pub(super) fn read() -> Result<Self, String> {
        match fs::read_to_string(FILE) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{FILE}: cannot be read: {error}")),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut values = HashMap::new();
        for line in dotenvy::from_read_iter(text.as_bytes()) {
            let (name, value) = line.map_err(|error| problem(&error))?;
            // As in dotenvy's own `load`, the first of several lines counts.
            if is_set(&value) {
                values.entry(name).or_insert(value);
            }
        }
        Ok(Self(values))
    }

    /// The value that the environment has, or else this file.
    pub(super) fn behind_environment(&self, name: &str) -> Found {
        self.behind(name, environment(name)?)
    }

    fn behind(&self, name: &str, environment: Option<String>) -> Found {
        let here = environment.filter(|value| is_set(value));
        Ok(here.or_else(|| self.0.get(name).cloned()))
    }
}

/// An empty variable counts as not set, as Compose files write it.
pub(super) fn is_set(value: &str) -> bool {
    !value.trim().is_empty()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one reader of the environment"
)]
fn environment(name: &str) -> Found {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        // Its value may be a secret, and isn't repeated.
        Err(VarError::NotUnicode(_)) => Err("is not UTF-8 text".to_owned()),
    }
}

/// The error's own text would repeat the line, which may hold a secret.
fn problem(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(_, column) => format!(
            "{FILE}: a line cannot be parsed at character {column}; write NAME=value, with quotes around values that contain spaces"
        ),
        error => format!("{FILE}: cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_unless_its_value_is_empty() {
        let file = File::parse("\u{feff}A=file\nB=\nB='second $x'\n").unwrap();
        let found = |name, value: Option<&str>| file.behind(name, value.map(str::to_owned));
        assert_eq!(found("A", Some("here")), Ok(Some("here".to_owned())));
        for unset in [None, Some(""), Some("  ")] {
            assert_eq!(found("A", unset), Ok(Some("file".to_owned())));
        }
        assert_eq!(found("B", None), Ok(Some("second $x".to_owned())));
        assert_eq!(found("C", Some("")), Ok(None));
    }

    #[test]
    fn a_line_that_cannot_be_parsed_is_not_repeated() {
        let refusal = File::parse("ADMIN_KEY=hunter2 hunter3").unwrap_err();
        assert!(refusal.starts_with(".env: "), "{refusal}");
        assert!(!refusal.contains("hunter"), "{refusal}");
    }
}
