// SPDX-License-Identifier: GPL-2.0

//! The torture's side of a process that maps files.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::sys::signal::{kill, Signal};
use nix::sys::stat::Mode;
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{mkfifo, Pid};

use super::figures::scaled;
use super::mapper::{self, pipe, DIR};
use crate::calls::open;
use crate::talk::Talk;

/// Longest time a mapper may take to answer.
const PATIENCE: Duration = Duration::from_secs(40);

pub struct Handle {
    pid: Pid,
    talk: Talk,
}

/// Where the pipes are.
pub fn prepare() -> Result<()> {
    Ok(fs::create_dir_all(DIR)?)
}

impl Handle {
    pub fn start(mapper: u64, early: bool) -> Result<Self> {
        let talk = Self::pipes(mapper)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["torture", "--mapper", &mapper.to_string()])
            .args(early.then_some("--early"))
            .stdin(Stdio::null())
            .spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        let mut handle = Self { pid, talk };
        handle.ask("signals").context("a new mapper")?;
        Ok(handle)
    }

    pub fn fork(&mut self, other: u64) -> Result<Self> {
        let talk = Self::pipes(other)?;
        let (pid, _, signals) = self.ask(&format!("fork {other}"))?;
        ensure!(signals.is_empty(), "signals at fork: {signals:?}");
        let pid = Pid::from_raw(pid as i32);
        let mut handle = Self { pid, talk };
        handle.ask("signals").context("a forked mapper")?;
        Ok(handle)
    }

    fn pipes(mapper: u64) -> Result<Talk> {
        let make = |path: &Path| -> Result<File> {
            let _ = fs::remove_file(path);
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).context("mkfifo")?;
            open(path, 0)
        };
        Ok(Talk::new(
            make(&pipe(mapper, "in"))?,
            make(&pipe(mapper, "out"))?,
        ))
    }

    /// It runs its program anew; with that all mappings are gone.
    pub fn exec(&mut self) -> Result<()> {
        // The new program answers.
        let (_, _, signals) = self.ask("exec")?;
        ensure!(signals.is_empty(), "signals at exec: {signals:?}");
        Ok(())
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid, signal);
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its answer: a number, bytes, and the signals that it had.
    pub fn ask(&mut self, command: &str) -> Result<(i64, Vec<u8>, Vec<String>)> {
        self.talk.say(command)?;
        for _ in 0..scaled(PATIENCE).as_secs() {
            if self.talk.answers(Duration::from_secs(1)) {
                return mapper::read_answer(&mut self.talk.from);
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
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => Some(format!("ended with {status}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("was killed by {signal}")),
            Ok(_) => None,
            Err(_) => Some("is gone".into()),
        }
    }

    /// Ends it; it must be alive.
    pub fn end(self) -> Result<()> {
        if let Some(how) = self.ended() {
            bail!("mapper {how}");
        }
        self.signal(Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
        Ok(())
    }
}
