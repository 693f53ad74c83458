// SPDX-License-Identifier: GPL-2.0

//! A patched and a stock guest that answer in turn.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::stats::Pair;
use crate::console::Console;
use crate::lab::Lab;
use crate::vm::{self, Vm};

/// To boot, on a machine that is busy.
const BOOT: Duration = Duration::from_secs(120);
/// Longest time for one answer. 20000 clones, or as many mappings beside 2000
/// processes, take some ten seconds, and more on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(300);
/// The emulated serial port may lose an interrupt. An empty line brings another, and
/// the guest ignores it.
const NUDGE: Duration = Duration::from_secs(3);
/// One instruction takes 2^0 ns.
const COUNTED: [&str; 2] = ["-icount", "shift=0"];
/// The status with which the guest's init reports the end of the command.
const EXIT: &str = "LAB-EXIT";

/// Which kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Stock,
    Patched,
}

/// A guest that runs `dax-probe bench`.
struct Guest {
    name: &'static str,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    console: Console,
    console_path: PathBuf,
    qemu_log: PathBuf,
    log: File,
    /// What it said that was no answer.
    last_words: String,
    _lock: File,
}

impl Guest {
    fn boot(lab: &Lab, name: &'static str, kernel: &Path, counted: bool) -> Result<Self> {
        let vm = Vm::new(lab, name, kernel, 0);
        let lock = vm.lock()?;
        let qemu_log = vm.dir().join("qemu.log");
        let mut child = vm
            .prepare("exec dax-probe bench")?
            .args(["-serial", "stdio"])
            .args(if counted { &COUNTED[..] } else { &[] })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&qemu_log)?)
            .spawn()
            .context("qemu-system-x86_64")?;
        Ok(Self {
            name,
            stdin: child.stdin.take().context("no stdin")?,
            lines: vm::follow(&mut child)?,
            child,
            console: Console::new(&vm.console_path(), None)?,
            console_path: vm.console_path(),
            qemu_log,
            log: File::create(vm.dir().join("output.log"))?,
            last_words: String::new(),
            _lock: lock,
        })
    }

    fn send(&mut self, command: &str) -> Result<()> {
        writeln!(self.log, "> {command}")?;
        // A guest that is gone shows in the answer.
        let _ = writeln!(self.stdin, "{command}");
        Ok(())
    }

    /// What the guest answers to `command`.
    fn answer(&mut self, command: &str, patience: Duration) -> Result<String> {
        let start = Instant::now();
        let mut nudged = start;
        loop {
            if nudged.elapsed() > NUDGE {
                nudged = Instant::now();
                writeln!(self.log, "> (nudge)")?;
                let _ = writeln!(self.stdin);
            }
            let line = self.lines.recv_timeout(Duration::from_millis(100));
            self.console.poll()?;
            match line {
                Ok(line) => {
                    writeln!(self.log, "{line}")?;
                    if let Some(answer) = line.strip_prefix("ok") {
                        return Ok(answer.trim().into());
                    }
                    if let Some(error) = line.strip_prefix("error ") {
                        return self.fail(command, error);
                    }
                    if line.starts_with(EXIT) {
                        let why = std::mem::take(&mut self.last_words);
                        return self.fail(command, &format!("dax-probe ended: {why}"));
                    }
                    if !line.is_empty() {
                        self.last_words = line;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let said = fs::read_to_string(&self.qemu_log).unwrap_or_default();
                    return self.fail(command, &format!("QEMU ended: {}", said.trim()));
                }
                Err(RecvTimeoutError::Timeout) if self.console.fatal => {
                    let why = self.console.findings.join("; ");
                    return self.fail(command, &why);
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() > patience => {
                    return self.fail(
                        command,
                        &format!("no answer in {}", crate::seconds(patience)),
                    );
                }
                Err(RecvTimeoutError::Timeout) => (),
            }
        }
    }

    fn fail(&self, command: &str, why: &str) -> Result<String> {
        bail!(
            "guest {}, {command}: {why}; console: {}",
            self.name,
            self.console_path.display()
        )
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Harmless if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a guest is up. One boot in some dozens fails for reasons of the
/// emulator's: it is tried again, once.
fn ready(mut guest: Guest, again: impl Fn() -> Result<Guest>) -> Result<(Guest, String)> {
    let about = match guest.answer("boot", BOOT) {
        Ok(about) => about,
        Err(e) => {
            eprintln!("dax-lab: {e:#}; booting again");
            drop(guest);
            guest = again()?;
            guest.answer("boot", BOOT)?
        }
    };
    Ok((guest, about))
}

/// Both guests; one of them at most is at work while the other is measured.
pub struct Guests(Pair<Guest>);

impl Guests {
    /// Boots both; also what they say about themselves.
    pub fn boot(lab: &Lab, counted: bool) -> Result<(Self, Pair<String>)> {
        let stock = || {
            Guest::boot(
                lab,
                "bench-stock",
                Path::new("build/kernels/stock"),
                counted,
            )
        };
        let patched = || {
            Guest::boot(
                lab,
                "bench-patched",
                Path::new("build/kernels/patched"),
                counted,
            )
        };
        let first = (stock()?, patched()?);
        let (stock, about_stock) = ready(first.0, stock)?;
        let (patched, about_patched) = ready(first.1, patched)?;
        let about = Pair {
            stock: about_stock,
            patched: about_patched,
        };
        Ok((Self(Pair { stock, patched }), about))
    }

    fn guest(&mut self, side: Side) -> &mut Guest {
        match side {
            Side::Stock => &mut self.0.stock,
            Side::Patched => &mut self.0.patched,
        }
    }

    /// Asks one guest while the other waits.
    pub fn ask(&mut self, side: Side, command: &str) -> Result<String> {
        let guest = self.guest(side);
        guest.send(command)?;
        guest.answer(command, PATIENCE)
    }

    /// Lets both do something that is not measured.
    pub fn both(&mut self, command: &str) -> Result<Pair<String>> {
        self.0.stock.send(command)?;
        self.0.patched.send(command)?;
        Ok(Pair {
            stock: self.0.stock.answer(command, PATIENCE)?,
            patched: self.0.patched.answer(command, PATIENCE)?,
        })
    }

    /// One round: asks both in turn. Who is asked first changes from round to round, so
    /// that neither has the better of what the host does meanwhile.
    pub fn round(&mut self, round: usize, command: &str) -> Result<Pair<String>> {
        let mut answers = Pair::default();
        let first = [Side::Stock, Side::Patched][round % 2];
        let second = [Side::Patched, Side::Stock][round % 2];
        for side in [first, second] {
            let answer = self.ask(side, command)?;
            match side {
                Side::Stock => answers.stock = answer,
                Side::Patched => answers.patched = answer,
            }
        }
        Ok(answers)
    }

    /// Lines on the consoles that a healthy kernel doesn't print.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for side in [Side::Stock, Side::Patched] {
            let guest = self.guest(side);
            guest.console.poll()?;
            for finding in guest.console.findings.iter().take(5) {
                lines.push(format!(
                    "guest {}: console says: {finding}; console: {}",
                    guest.name,
                    guest.console_path.display()
                ));
            }
        }
        Ok(lines)
    }
}
