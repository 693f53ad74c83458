// SPDX-License-Identifier: GPL-2.0

//! A guest that runs `dax-probe crash`, and dies.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::plan::Kill;
use crate::gdb::{self, Gdb};
use crate::guest::{Guest as Running, Heard, EXIT};
use crate::pace;
use crate::vm::Vm;

/// To boot, to look at what is left, to begin: on a machine that is busy.
fn patience() -> Duration {
    pace::limit(300)
}
/// To get to where the guest is to be killed.
fn hit_patience() -> Duration {
    pace::limit(20)
}

/// What a guest says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    Mounting,
    Checked(String),
    Bad(String),
    Running,
    /// Harmless.
    Note(String),
    /// dax-probe has ended.
    Exit(String),
    /// Nothing more is to be expected.
    Dead(String),
    /// QEMU is gone, for a reason of its own.
    Quit(String),
}

impl Said {
    fn parse(line: &str) -> Self {
        let line = line.strip_prefix("crash: ").unwrap_or(line);
        let after = |word| line.strip_prefix(word).map(String::from);
        match line {
            "mounting" => Self::Mounting,
            "running" => Self::Running,
            _ => (after("checked ").map(Self::Checked))
                .or_else(|| after("bad: ").map(Self::Bad))
                .or_else(|| after(EXIT).map(Self::Exit))
                .unwrap_or_else(|| Self::Note(line.into())),
        }
    }
}

/// How an attempt to kill a guest ended.
pub enum Killed {
    Yes,
    /// Not where it was to be, but when the time was over.
    Late,
    /// It has said this before.
    No(Said),
}

pub struct Guest {
    running: Running,
    gdb: Option<Gdb>,
}

impl Guest {
    pub fn boot(vm: &Vm, script: &str) -> Result<Self> {
        Ok(Self {
            running: vm.boot(script, Stdio::null())?,
            gdb: None,
        })
    }

    /// Where its files are.
    pub fn dir(&self) -> PathBuf {
        self.running.dir.clone()
    }

    /// What the guest says next.
    pub fn next(&mut self) -> Result<Said> {
        let start = Instant::now();
        loop {
            if let Some(said) = self.poll(Duration::from_millis(100))? {
                return Ok(said);
            }
            if start.elapsed() > patience() {
                let limit = crate::seconds(patience());
                return Ok(Said::Dead(format!("says nothing for {limit}")));
            }
        }
    }

    fn poll(&mut self, time: Duration) -> Result<Option<Said>> {
        let heard = self.running.next(time)?;
        if let Some(finding) = self.running.console.findings.first() {
            return Ok(Some(Said::Dead(format!("console says: {finding}"))));
        }
        match heard {
            Heard::Line(line) if !line.is_empty() => {
                self.running.note(&line)?;
                Ok(Some(Said::parse(&line)))
            }
            Heard::Line(_) | Heard::Nothing => Ok(None),
            Heard::End => Ok(Some(Said::Quit(self.running.qemu_said()))),
        }
    }

    /// Kills the guest, unless it says something important before.
    pub fn kill(&mut self, kill: Kill, address: Option<u64>) -> Result<Killed> {
        let killed = match (kill, address) {
            (Kill::At { hit, steps, .. }, Some(address)) => self.wait_for(address, hit, steps)?,
            (Kill::At { .. }, None) => Killed::Late,
            (Kill::After(time), _) => {
                let end = Instant::now() + time;
                loop {
                    let left = end.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break Killed::Yes;
                    }
                    match self.poll(left)? {
                        None | Some(Said::Note(_)) => (),
                        Some(said) => break Killed::No(said),
                    }
                }
            }
        };
        if !matches!(killed, Killed::No(_)) {
            self.running.end();
        }
        Ok(killed)
    }

    /// Has a function of the guest's kernel return 0 at once.
    pub fn gut(&mut self, address: u64) -> Result<()> {
        let mut gdb = self.stopped()?;
        gdb.gut(address)?;
        gdb.go_on()?;
        self.gdb = Some(gdb);
        Ok(())
    }

    /// Stops the guest.
    fn stopped(&mut self) -> Result<Gdb> {
        match self.gdb.take() {
            Some(mut gdb) => {
                gdb.stop()?;
                Ok(gdb)
            }
            None => Gdb::connect(&self.running.dir.join(gdb::SOCKET)),
        }
    }

    fn wait_for(&mut self, address: u64, hit: u32, steps: u32) -> Result<Killed> {
        let mut gdb = self.stopped()?;
        gdb.break_at(address)?;
        let end = Instant::now() + hit_patience();
        for hits in 0..hit {
            if hits > 0 {
                gdb.step()?;
            }
            gdb.go_on()?;
            while !gdb.has_stopped(Duration::from_millis(20))? {
                if Instant::now() > end {
                    return Ok(Killed::Late);
                }
                match self.poll(Duration::ZERO)? {
                    None | Some(Said::Note(_)) => (),
                    Some(said) => {
                        gdb.stop()?;
                        gdb.clear(address)?;
                        gdb.go_on()?;
                        self.gdb = Some(gdb);
                        return Ok(Killed::No(said));
                    }
                }
            }
        }
        for _ in 0..steps {
            gdb.step()?;
        }
        // It must not go on when the debugger leaves.
        self.gdb = Some(gdb);
        Ok(Killed::Yes)
    }
}
