// SPDX-License-Identifier: GPL-2.0

//! A scene's handle on a `dax-probe map` process.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::fault::Signal;
use crate::kernel::{self, errno_name};
use crate::talk::Talk;
use crate::units::PAGE_SIZE;

/// Longest time a probe may take to answer; emulated machines are slow.
fn patience() -> Duration {
    kernel::limit(20)
}

pub struct Probe {
    child: Child,
    talk: Talk,
    base: u64,
    first: usize,
}

/// The byte that scenes write all over page `page` of a file. It repeats after
/// four pages, so that a block can be shared at another offset.
pub fn pattern(page: usize) -> u8 {
    (page % 4) as u8 ^ 0x5a
}

/// What to map, and how.
pub struct Map<'a> {
    pub file: &'a Path,
    pub first: usize,
    pub pages: usize,
    pub early: bool,
    pub extra: &'a [&'a str],
}

impl<'a> Map<'a> {
    pub fn new(file: &'a Path, pages: usize) -> Self {
        Self {
            file,
            first: 0,
            pages,
            early: false,
            extra: &[],
        }
    }

    pub fn first(self, first: usize) -> Self {
        Self { first, ..self }
    }

    pub fn early(self) -> Self {
        Self {
            early: true,
            ..self
        }
    }

    pub fn extra(self, extra: &'a [&'a str]) -> Self {
        Self { extra, ..self }
    }

    /// Starts the process and lets it read all its pages.
    pub fn start(self) -> Result<Probe> {
        let (first, pages) = (self.first.to_string(), self.pages.to_string());
        let words = ["map", "--first", &first, "--pages", &pages].into_iter();
        let words = words.chain(self.early.then_some("--early"));
        let words = words.chain(self.extra.iter().copied()).map(OsString::from);
        let (child, talk) = Talk::start(words.chain([self.file.into()]))?;
        let mut probe = Probe {
            child,
            talk,
            base: 0,
            first: self.first,
        };
        probe.base = probe.answer("ready")?.parse()?;
        let state = probe.reads_on();
        ensure!(state == "reads on", "{}: {state}", self.file.display());
        Ok(probe)
    }
}

impl Probe {
    fn ask(&mut self, command: &str) -> Result<String> {
        // A probe that is gone shows in the answer.
        let _ = self.talk.say(command);
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let patience = patience();
        if !self.talk.answers(patience) {
            bail!("no answer in {} s", patience.as_secs());
        }
        let line = self.talk.line()?;
        if line.is_empty() {
            match self.exit(patience) {
                Some(status) => bail!("{}", describe_exit(status)),
                None => bail!("neither answers nor ends"),
            }
        }
        Ok(line.trim_end().into())
    }

    fn answer(&mut self, kind: &str) -> Result<String> {
        after(&self.line()?, kind)
    }

    /// MADV_HWPOISON on a page; the name of the error it returned.
    pub fn poison(&mut self, page: usize) -> Result<String> {
        let answer = self.ask(&format!("poison {page}"))?;
        Ok(errno_name(after(&answer, "errno")?.parse()?))
    }

    /// As [`Probe::poison`], by a child that has the same memory, in vfork(2).
    pub fn poison_in_vfork(&mut self, page: usize) -> Result<String> {
        let answer = self.ask(&format!("vfork-poison {page}"))?;
        Ok(errno_name(after(&answer, "errno")?.parse()?))
    }

    /// Has the page taken out of the process's page tables (MADV_DONTNEED).
    pub fn forget(&mut self, page: usize) -> Result<()> {
        let answer = self.ask(&format!("forget {page}"))?;
        ensure!(answer == "errno 0", "MADV_DONTNEED: {answer}");
        Ok(())
    }

    /// Where it has a page mapped.
    pub fn address(&self, page: usize) -> u64 {
        self.base + ((page - self.first) * PAGE_SIZE) as u64
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn present(&mut self, page: usize) -> Result<u64> {
        let answer = self.ask(&format!("pfn {page}"))?;
        Ok(after(&answer, "pfn")?.parse()?)
    }

    /// The page frame behind a page.
    pub fn pfn(&mut self, page: usize) -> Result<u64> {
        let pfn = self.present(page)?;
        ensure!(pfn != 0, "page {page} is not mapped");
        Ok(pfn)
    }

    /// Whether a page is mapped at present.
    pub fn mapped(&mut self, page: usize) -> Result<&'static str> {
        Ok(match self.present(page)? {
            0 => "not mapped",
            _ => "mapped",
        })
    }

    /// Writes the expected byte again, as a store through the mapping.
    pub fn rewrite(&mut self, page: usize) -> Result<()> {
        self.store(page, pattern(self.first + page))
    }

    /// Writes one byte through the mapping.
    pub fn store(&mut self, page: usize, value: u8) -> Result<()> {
        let answer = self.ask(&format!("store {page} {value}"))?;
        ensure!(answer == "stored", "store to page {page}: {answer}");
        Ok(())
    }

    /// Loads one byte of a page: "reads", or what was met. Signals that came before
    /// and were not looked at stand before it.
    pub fn touch(&mut self, page: usize) -> String {
        let touch = |probe: &mut Self| {
            let answer = probe.ask(&format!("touch {page}"))?;
            let (list, outcome) = answer.split_once('\t').context("no outcome")?;
            let signals = parse_signals(list)?;
            let mut words = probe.describe(&signals);
            // A signal tells of the fault.
            if outcome != "fault" || words.is_empty() {
                words.push(outcome.into());
            }
            Ok(words.join("; "))
        };
        touch(self).unwrap_or_else(|e: anyhow::Error| e.to_string())
    }

    /// Reads a page with pread(): "ok", or the error's name.
    pub fn pread(&mut self, page: usize) -> String {
        match self.ask(&format!("read {page}")) {
            Ok(answer) => answer.trim_start_matches("read ").into(),
            Err(e) => e.to_string(),
        }
    }

    /// Signals since the last call.
    pub fn signals(&mut self) -> Result<Vec<Signal>> {
        parse_signals(&self.ask("signals")?)
    }

    fn describe(&self, signals: &[Signal]) -> Vec<String> {
        let words = signals.iter().map(|signal| signal.describe(self.base));
        words.collect()
    }

    fn in_words(&self, signals: &[Signal]) -> String {
        match signals {
            [] => "no signal".into(),
            list => self.describe(list).join("; "),
        }
    }

    /// Signals since the last call, or how the process ended, in words.
    pub fn seen(&mut self) -> String {
        match self.signals() {
            Err(e) => e.to_string(),
            Ok(list) => self.in_words(&list),
        }
    }

    /// Signals since the last call, in words: those that the main thread took, and those
    /// that other tasks with the same memory did.
    pub fn seen_apart(&mut self) -> Result<(String, String)> {
        // They are not asked whether they had time to take them.
        sleep(Duration::from_millis(300));
        let (own, others): (Vec<_>, Vec<_>) = self
            .signals()?
            .into_iter()
            .partition(|signal| signal.task == self.pid());
        Ok((self.in_words(&own), self.in_words(&others)))
    }

    /// Kinds of signal since the last call, in the order in which they came first.
    pub fn kinds(&mut self) -> String {
        match self.signals() {
            Err(e) => e.to_string(),
            Ok(list) => {
                let mut kinds: Vec<String> = Vec::new();
                for name in list.iter().map(Signal::name) {
                    if !kinds.contains(&name) {
                        kinds.push(name);
                    }
                }
                kinds.join(", then ")
            }
        }
    }

    /// "reads on" if every page still reads as written, else what was met.
    pub fn reads_on(&mut self) -> String {
        self.ask("check").unwrap_or_else(|e| e.to_string())
    }

    /// Lets the process touch all its pages until [`Probe::stop`].
    pub fn spin(&mut self) -> Result<()> {
        let answer = self.ask("spin")?;
        ensure!(answer == "spinning", "{answer}");
        Ok(())
    }

    pub fn stop(&mut self) -> Result<()> {
        self.ask("stop").map(drop)
    }

    fn exit(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < end => sleep(Duration::from_millis(10)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }
}

/// What follows the word for its kind in an answer.
fn after(answer: &str, kind: &str) -> Result<String> {
    match answer.strip_prefix(kind) {
        Some(rest) => Ok(rest.trim_start().into()),
        None => bail!("{answer} in place of {kind}"),
    }
}

fn parse_signals(answer: &str) -> Result<Vec<Signal>> {
    let list = after(answer, "signals")?;
    list.split_whitespace().map(Signal::parse).collect()
}

fn describe_exit(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGKILL) => "killed by SIGKILL".into(),
        Some(libc::SIGBUS) => "killed by SIGBUS".into(),
        _ => format!("ended: {status}"),
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // A process in D state never ends: leave it to the report.
        self.exit(Duration::from_secs(5));
    }
}
