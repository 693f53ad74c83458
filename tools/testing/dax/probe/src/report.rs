// SPDX-License-Identifier: GPL-2.0

//! Rows of the table: what a scene saw, from its own process to the one that prints.

use std::io::{stdout, Write};

use anyhow::{Context, Result};

/// One line of the table.
pub struct Row {
    pub process: String,
    pub expected: String,
    pub got: String,
}

impl Row {
    pub fn good(&self) -> bool {
        self.expected == self.got
    }

    /// As a scene's process writes it.
    pub fn encode(&self) -> String {
        let clean = |text: &str| text.replace(['\t', '\n'], " ");
        let (process, expected, got) = (
            clean(&self.process),
            clean(&self.expected),
            clean(&self.got),
        );
        format!("row\t{process}\t{expected}\t{got}")
    }

    pub fn decode(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("row\t")?.split('\t').map(String::from);
        Some(Self {
            process: fields.next()?,
            expected: fields.next()?,
            got: fields.next()?,
        })
    }

    pub fn print(&self, scene: &str) {
        let mark = if self.good() { "" } else { "  <-- differs" };
        let line = format_row(scene, &self.process, &self.expected, &self.got);
        println!("{line}{mark}");
    }
}

fn format_row(scene: &str, process: &str, expected: &str, got: &str) -> String {
    format!("{scene:13} {process:22} {expected:40} {got}")
}

pub fn print_header() {
    println!("{}", format_row("scene", "process", "expected", "got"));
}

/// A scene's side of the table.
pub fn expect(process: &str, expected: &str, got: impl AsRef<str>) -> Result<()> {
    let row = Row {
        process: process.into(),
        expected: expected.into(),
        got: got.as_ref().into(),
    };
    // A pipe that is gone would make println!() panic.
    writeln!(stdout(), "{}", row.encode()).context("nobody reads the rows")
}

/// A remark that is printed below the scene's rows.
pub fn note(text: &str) -> Result<()> {
    writeln!(stdout(), "{text}").context("nobody reads the rows")
}

/// Starts the line that tells why a scene ended early.
pub const ERROR: &str = "error\t";

pub fn error(error: &anyhow::Error) -> Result<()> {
    writeln!(stdout(), "{ERROR}{error:#}").context("nobody reads the rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_the_pipe() {
        let row = Row {
            process: "a\tb".into(),
            expected: "two\nlines".into(),
            got: String::new(),
        };
        let back = Row::decode(&row.encode()).unwrap();
        assert_eq!(
            (back.process.as_str(), back.expected.as_str()),
            ("a b", "two lines")
        );
        assert_eq!(back.got, "");
        assert!(Row::decode("note\tx").is_none());
    }
}
