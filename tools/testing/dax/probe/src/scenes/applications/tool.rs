// SPDX-License-Identifier: GPL-2.0

//! Programs of others: where they are, and what they said.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Output};

use crate::scenes::prelude::*;

/// Where programs are that are in nobody's PATH.
const PLACES: [&str; 5] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib/postgresql/17/bin",
    "/usr/libexec/xfsprogs",
    "/bin",
];

/// A program, and the package of Debian's that has it.
pub fn tool(name: &str, package: &str) -> Result<Command> {
    let paths = PLACES.iter().map(|place| Path::new(place).join(name));
    match paths.into_iter().find(|path| path.exists()) {
        Some(path) => Ok(Command::new(path)),
        None => bail!("{name} is missing: Debian's package {package} has it"),
    }
}

/// How a program ended.
pub struct Said {
    status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self::new(command.output().with_context(|| name)?))
    }

    pub fn new(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        Self {
            status: output.status,
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// What it printed, if it went well.
    pub fn good(self) -> Result<String> {
        let words = self.err.lines().last().unwrap_or(&self.out);
        ensure!(self.status.success(), "{}: {words}", self.ended());
        Ok(self.out)
    }

    /// "exit 0", or how else it ended.
    pub fn ended(&self) -> String {
        ended(self.status)
    }

    /// `words` if what it printed has them, or else all of that.
    pub fn with(&self, words: &str) -> String {
        let all = format!("{}\n{}", self.out, self.err);
        match all.contains(words) {
            true => words.into(),
            false => format!("{}: {}", self.ended(), all.trim()),
        }
    }
}

pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(libc::SIGBUS)) => "killed by SIGBUS".into(),
        (_, signal) => format!("killed by signal {}", signal.unwrap_or(0)),
    }
}

/// What it printed, which is to go well.
pub fn good(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    Said::of(command)?.good().context(name)
}
