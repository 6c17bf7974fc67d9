//! The table that a drill prints, and whether what must hold did hold.

use std::time::Duration;

/// Rows as they are printed, and the count of promises that were broken.
#[derive(Debug, Default)]
pub(crate) struct Report {
    broken: Vec<String>,
    missed: Vec<String>,
}

/// Characters of the first column.
const WIDTH: usize = 58;

impl Report {
    pub(crate) fn title(&self, text: &str) {
        println!("\n{text}\n{}", "-".repeat(text.chars().count()));
    }

    pub(crate) fn row(&self, name: &str, value: impl std::fmt::Display) {
        println!("  {name:WIDTH$} {value}");
    }

    /// A promise about what is right: without it the drill fails.
    pub(crate) fn must(&mut self, name: &str, value: impl std::fmt::Display, holds: bool) {
        let mark = if holds { "ok" } else { "BROKEN" };
        println!("  {name:WIDTH$} {value:<24} {mark}");
        if !holds {
            self.broken.push(name.trim().to_owned());
        }
    }

    /// A bar about time, which a busy machine may miss.
    pub(crate) fn bar(&mut self, name: &str, value: impl std::fmt::Display, holds: bool) {
        let mark = if holds { "met" } else { "MISSED" };
        println!("  {name:WIDTH$} {value:<24} {mark}");
        if !holds {
            self.missed.push(name.trim().to_owned());
        }
    }

    /// Prints the verdict; answers whether every promise held.
    pub(crate) fn verdict(&self) -> bool {
        self.title("Verdict");
        for name in &self.broken {
            println!("  BROKEN: {name}");
        }
        for name in &self.missed {
            println!("  missed: {name}");
        }
        if self.broken.is_empty() {
            println!("  every promise held; {} bars missed", self.missed.len());
        }
        self.broken.is_empty()
    }
}

/// Milliseconds with two digits.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
