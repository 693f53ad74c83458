// SPDX-License-Identifier: GPL-2.0

//! What became of a guest.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use fs_err as fs;

use crate::ktap::{parse_timed, Test};

/// The file with what the kernel prints.
pub const CONSOLE: &str = "console.log";

/// How the guest ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The command ended, with this status.
    Exit(i32),
    Timeout(Duration),
    /// The guest went away before the command ended.
    Died,
}

pub struct Outcome {
    pub name: String,
    pub end: End,
    pub output: Vec<String>,
    /// When each line of it came.
    pub times: Vec<Duration>,
    /// Lines on the console that a healthy kernel doesn't print.
    pub findings: Vec<String>,
    /// Where the guest's files are.
    pub dir: PathBuf,
}

impl Outcome {
    /// The results in the command's output, and how long each took.
    pub fn tests(&self) -> Vec<Test> {
        let times = self.times.iter().map(|time| Some(*time));
        parse_timed(times.zip(self.output.iter().map(String::as_str)))
    }

    pub fn console(&self) -> Result<String> {
        let text = fs::read(self.dir.join(CONSOLE))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What is to be said beside the command's own output.
    pub fn complaints(&self) -> Vec<String> {
        let (name, console) = (&self.name, self.dir.join(CONSOLE));
        let mut lines = Vec::new();
        for finding in self.findings.iter().take(5) {
            lines.push(format!("guest {name}: console says: {finding}"));
        }
        match self.end {
            End::Exit(_) => (),
            End::Timeout(limit) => {
                let limit = crate::seconds(limit);
                lines.push(format!("guest {name}: no end after {limit}"));
            }
            End::Died => lines.push(format!("guest {name}: died before its command ended")),
        }
        if let Some(last) = lines.last_mut() {
            *last += &format!("; console: {}", console.display());
        }
        lines
    }

    /// Of a guest that has said this.
    #[cfg(test)]
    pub fn of(end: End, lines: &[&str]) -> Self {
        Self {
            name: "test".into(),
            end,
            output: lines.iter().map(ToString::to_string).collect(),
            times: vec![Duration::ZERO; lines.len()],
            findings: Vec::new(),
            dir: PathBuf::new(),
        }
    }

    pub fn good(&self) -> bool {
        self.end == End::Exit(0) && self.findings.is_empty()
    }
}
