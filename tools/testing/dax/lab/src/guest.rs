// SPDX-License-Identifier: GPL-2.0

//! A guest that runs: what it says, what its console says, and its files.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use fs_err as fs;

use crate::console::Console;
use crate::load;
use crate::qemu::QEMU;

/// Printed by the guest's init when the command has ended, with its exit status.
pub const EXIT: &str = "LAB-EXIT ";
const QEMU_LOG: &str = "qemu.log";

pub struct Guest {
    child: Child,
    lines: Receiver<String>,
    pub console: Console,
    pub dir: PathBuf,
    log: fs::File,
}

/// What is heard of a guest in some time.
pub enum Heard {
    Line(String),
    Nothing,
    /// QEMU has ended.
    End,
}

impl Guest {
    /// Starts QEMU. Its files go to `dir`.
    pub fn start(qemu: &mut Command, dir: PathBuf, console: Console) -> Result<Self> {
        let mut child = qemu
            .args(["-serial", "stdio"])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join(QEMU_LOG))?.into_parts().0)
            .spawn()
            .context(QEMU)?;
        load::serve(&dir);
        Ok(Self {
            lines: follow(child.stdout.take().context("no stdout")?),
            child,
            console,
            log: fs::File::create(dir.join("output.log"))?,
            dir,
        })
    }

    /// What it says next, and what the console says meanwhile.
    pub fn next(&mut self, time: Duration) -> Result<Heard> {
        let heard = match self.lines.recv_timeout(time) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Disconnected) => Heard::End,
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
        };
        self.console.poll()?;
        Ok(heard)
    }

    /// Writes to it, as it is logged. One that is gone shows when it is asked.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.note(&format!("> {line}"))?;
        if let Some(stdin) = &mut self.child.stdin {
            let _ = writeln!(stdin, "{line}");
        }
        Ok(())
    }

    /// Adds a line to its log.
    pub fn note(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.log, "{line}")?)
    }

    /// What QEMU has complained about.
    pub fn qemu_said(&self) -> String {
        let said = fs::read_to_string(self.dir.join(QEMU_LOG));
        said.unwrap_or_default().trim().into()
    }

    /// Ends it at once.
    pub fn end(&mut self) {
        // Harmless if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end();
    }
}

/// Lines as a program prints them.
fn follow(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            if sender.send(text.into()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}
