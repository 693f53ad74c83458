// SPDX-License-Identifier: GPL-2.0

//! Other processes, which take orders and answer them, a line each.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

/// Whether there is something to read, or comes before `patience` is over.
pub fn is_ready(from: &impl AsFd, patience: Duration) -> bool {
    let limit = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    loop {
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => (),
            ready => return ready == Ok(1),
        }
    }
}

pub struct Talk {
    to: File,
    pub from: BufReader<File>,
}

impl Talk {
    pub fn new(to: impl Into<OwnedFd>, from: impl Into<OwnedFd>) -> Self {
        Self {
            to: File::from(to.into()),
            from: BufReader::new(File::from(from.into())),
        }
    }

    /// Runs this program with other words.
    pub fn start<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Result<(Child, Self)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take().context("no stdin")?;
        let from = child.stdout.take().context("no stdout")?;
        Ok((child, Self::new(to, from)))
    }

    pub fn say(&mut self, order: &str) -> Result<()> {
        Ok(self.to.write_all(format!("{order}\n").as_bytes())?)
    }

    /// Whether an answer comes in time. Answers are read whole, so none is in the buffer.
    pub fn answers(&self, patience: Duration) -> bool {
        is_ready(self.from.get_ref(), patience)
    }

    /// Its next line; empty when it has ended.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line)
    }
}
