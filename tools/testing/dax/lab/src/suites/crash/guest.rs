// SPDX-License-Identifier: GPL-2.0

//! A guest that runs `dax-probe crash`, and dies.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::gdb::Gdb;
use super::plan::Kill;
use crate::console::Console;
use crate::pace;
use crate::vm::{self, Vm};

/// To boot, to look at what is left, to begin: on a machine that is busy.
fn patience() -> Duration {
    pace::limit(300)
}
/// To get to where the guest is to be killed.
fn hit_patience() -> Duration {
    pace::limit(20)
}
const SOCKET: &str = "gdb.sock";

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
            "mounting" => return Self::Mounting,
            "running" => return Self::Running,
            _ => (),
        }
        if let Some(what) = after("checked ") {
            return Self::Checked(what);
        }
        if let Some(what) = after("bad: ") {
            return Self::Bad(what);
        }
        match after("LAB-EXIT ") {
            Some(status) => Self::Exit(status),
            None => Self::Note(line.into()),
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
    child: Child,
    lines: Receiver<String>,
    console: Console,
    log: File,
    gdb: Option<Gdb>,
    socket: std::path::PathBuf,
    qemu_log: std::path::PathBuf,
}

impl Guest {
    pub fn boot(vm: &Vm, script: &str) -> Result<Self> {
        let mut qemu = vm.prepare(script)?;
        let qemu_log = vm.dir().join("qemu.log");
        let mut child = qemu
            .args(["-serial", "stdio"])
            .arg("-gdb")
            .arg(format!("unix:{SOCKET},server=on,wait=off"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&qemu_log)?)
            .spawn()
            .context("qemu-system-x86_64")?;
        Ok(Self {
            lines: vm::follow(&mut child)?,
            child,
            console: Console::new(&vm.console_path(), None)?,
            log: File::create(vm.dir().join("output.log"))?,
            gdb: None,
            socket: vm.dir().join(SOCKET),
            qemu_log,
        })
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
        let line = self.lines.recv_timeout(time);
        self.console.poll()?;
        if let Some(finding) = self.console.findings.first() {
            return Ok(Some(Said::Dead(format!("console says: {finding}"))));
        }
        match line {
            Ok(line) if line.is_empty() => Ok(None),
            Ok(line) => {
                writeln!(self.log, "{line}")?;
                Ok(Some(Said::parse(&line)))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let said = fs::read_to_string(&self.qemu_log).unwrap_or_default();
                Ok(Some(Said::Quit(said.trim().into())))
            }
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
            self.end()?;
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
            None => Gdb::connect(&self.socket),
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

    fn end(&mut self) -> Result<()> {
        // Harmless if it has ended.
        let _ = self.child.kill();
        self.child.wait()?;
        // What it said at last.
        while !matches!(self.lines.try_recv(), Err(TryRecvError::Disconnected)) {}
        self.console.poll()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It is as good as gone.
        let _ = self.end();
    }
}
