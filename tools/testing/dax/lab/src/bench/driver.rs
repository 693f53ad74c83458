// SPDX-License-Identifier: GPL-2.0

//! A patched and a stock guest that answer in turn.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use super::stats::Pair;
use crate::guest::{Guest as Running, Heard, EXIT};
use crate::lab::{Lab, Side};
use crate::vm::{Vm, CONSOLE};

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

/// A guest that runs `dax-probe bench`.
struct Guest {
    side: Side,
    running: Running,
    /// What it said that was no answer.
    last_words: String,
}

impl Guest {
    fn boot(lab: &Lab, side: Side, counted: bool) -> Result<Self> {
        let (name, kernel) = (format!("bench-{}", side.name()), side.name());
        let words = if counted { &COUNTED[..] } else { &[] };
        let running = Vm::new(lab, &name, &Path::new("build/kernels").join(kernel), 0)
            .words(words.iter().map(ToString::to_string).collect())
            .boot("exec dax-probe bench", Stdio::piped())?;
        Ok(Self {
            side,
            running,
            last_words: String::new(),
        })
    }

    /// What the guest answers to `command`.
    fn answer(&mut self, command: &str, patience: Duration) -> Result<String> {
        let start = Instant::now();
        let mut nudged = start;
        loop {
            if nudged.elapsed() > NUDGE {
                nudged = Instant::now();
                self.running.send("")?;
            }
            let line = match self.running.next(Duration::from_millis(100))? {
                Heard::Line(line) => line,
                Heard::End => {
                    let said = self.running.qemu_said();
                    return self.fail(command, &format!("QEMU ended: {said}"));
                }
                Heard::Nothing if self.running.console.fatal => {
                    return self.fail(command, &self.running.console.findings.join("; "));
                }
                Heard::Nothing if start.elapsed() > patience => {
                    let why = format!("no answer in {}", crate::seconds(patience));
                    return self.fail(command, &why);
                }
                Heard::Nothing => continue,
            };
            self.running.note(&line)?;
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
    }

    fn fail(&self, command: &str, why: &str) -> Result<String> {
        let console = self.running.dir.join(CONSOLE);
        bail!(
            "guest {}, {command}: {why}; console: {}",
            self.side.name(),
            console.display()
        )
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
        let boot = |side| move || Guest::boot(lab, side, counted);
        let (stock, patched) = (boot(Side::Stock), boot(Side::Patched));
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
        guest.running.send(command)?;
        guest.answer(command, PATIENCE)
    }

    /// Lets both do something that is not measured.
    pub fn both(&mut self, command: &str) -> Result<Pair<String>> {
        let Pair { stock, patched } = &mut self.0;
        stock.running.send(command)?;
        patched.running.send(command)?;
        let stock = stock.answer(command, PATIENCE)?;
        let patched = patched.answer(command, PATIENCE)?;
        Ok(Pair { stock, patched })
    }

    /// One round: asks both in turn. Who is asked first changes from round to round, so
    /// that neither has the better of what the host does meanwhile.
    pub fn round(&mut self, round: usize, command: &str) -> Result<Pair<String>> {
        let stock_first = round % 2 == 0;
        let first = stock_first.then(|| self.ask(Side::Stock, command));
        let first = first.transpose()?;
        let patched = self.ask(Side::Patched, command)?;
        let stock = first.map_or_else(|| self.ask(Side::Stock, command), Ok)?;
        Ok(Pair { stock, patched })
    }

    /// Lines on the consoles that a healthy kernel doesn't print.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for guest in [&mut self.0.stock, &mut self.0.patched] {
            guest.running.console.poll()?;
            let console = guest.running.dir.join(CONSOLE);
            for finding in guest.running.console.findings.iter().take(5) {
                lines.push(format!(
                    "guest {}: console says: {finding}; console: {}",
                    guest.side.name(),
                    console.display()
                ));
            }
        }
        Ok(lines)
    }
}
