// SPDX-License-Identifier: GPL-2.0

//! The torture's side of a process that maps files.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::figures::scaled;
use super::mapper::{self, pipe, DIR};

/// Longest time a mapper may take to answer.
const PATIENCE: Duration = Duration::from_secs(40);

pub struct Handle {
    pid: i32,
    input: File,
    output: BufReader<File>,
}

/// Where the pipes are.
pub fn prepare() -> Result<()> {
    Ok(fs::create_dir_all(DIR)?)
}

impl Handle {
    pub fn start(mapper: u64, early: bool) -> Result<Self> {
        let (input, output) = Self::pipes(mapper)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["torture", "--mapper", &mapper.to_string()])
            .args(early.then_some("--early"))
            .stdin(Stdio::null())
            .spawn()?;
        let mut handle = Self {
            pid: child.id() as i32,
            input,
            output,
        };
        handle.ask("signals").context("a new mapper")?;
        Ok(handle)
    }

    pub fn fork(&mut self, other: u64) -> Result<Self> {
        let (input, output) = Self::pipes(other)?;
        let (pid, _, signals) = self.ask(&format!("fork {other}"))?;
        ensure!(signals.is_empty(), "signals at fork: {signals:?}");
        let mut handle = Self {
            pid: pid as i32,
            input,
            output,
        };
        handle.ask("signals").context("a forked mapper")?;
        Ok(handle)
    }

    fn pipes(mapper: u64) -> Result<(File, BufReader<File>)> {
        let make = |path: &Path| -> Result<File> {
            let _ = fs::remove_file(path);
            let name = CString::new(path.to_string_lossy().as_bytes())?;
            // SAFETY: a valid string.
            ensure!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) } == 0, "mkfifo");
            Ok(OpenOptions::new().read(true).write(true).open(path)?)
        };
        let input = make(&pipe(mapper, "in"))?;
        Ok((input, BufReader::new(make(&pipe(mapper, "out"))?)))
    }

    /// It runs its program anew; with that all mappings are gone.
    pub fn exec(&mut self) -> Result<()> {
        // The new program answers.
        let (_, _, signals) = self.ask("exec")?;
        ensure!(signals.is_empty(), "signals at exec: {signals:?}");
        Ok(())
    }

    pub fn signal(&self, number: i32) {
        // SAFETY: a child of ours.
        unsafe { libc::kill(self.pid, number) };
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its answer: a number, bytes, and the signals that it had.
    pub fn ask(&mut self, command: &str) -> Result<(i64, Vec<u8>, Vec<String>)> {
        writeln!(self.input, "{command}")?;
        let mut fd = libc::pollfd {
            fd: self.output.get_ref().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        for _ in 0..scaled(PATIENCE).as_secs() {
            // SAFETY: one valid pollfd. Answers are read whole, so the reader's buffer is empty.
            if unsafe { libc::poll(&mut fd, 1, 1000) } > 0 {
                return mapper::read_answer(&mut self.output);
            }
            if let Some(how) = self.ended() {
                bail!("mapper {how} at {command:?}");
            }
        }
        bail!(
            "mapper: no answer to {command:?} in {} s",
            PATIENCE.as_secs()
        )
    }

    /// Its answer's number, if there were no signals.
    pub fn quiet(&mut self, command: &str) -> Result<i64> {
        let (number, _, signals) = self.ask(command)?;
        ensure!(
            signals.is_empty(),
            "{command}: unexpected signals {signals:?}"
        );
        Ok(number)
    }

    /// How it ended, if it did.
    fn ended(&self) -> Option<String> {
        let mut status = 0;
        // SAFETY: a child of ours, and a valid int.
        match unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } {
            0 => None,
            -1 => Some("is gone".into()),
            _ if libc::WIFSIGNALED(status) => {
                Some(format!("was killed by signal {}", libc::WTERMSIG(status)))
            }
            _ => Some(format!("ended with {}", libc::WEXITSTATUS(status))),
        }
    }

    /// Ends it; it must be alive.
    pub fn end(self) -> Result<()> {
        if let Some(how) = self.ended() {
            bail!("mapper {how}");
        }
        // SAFETY: a child of ours.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
        Ok(())
    }
}
