// SPDX-License-Identifier: GPL-2.0

//! Runs a guest: boots it, hands it a command, streams the output, watches its
//! console, and ends it when its time is up.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use fs_err as fs;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use regex_lite::Regex;

use crate::console::Console;
use crate::guest::{Guest, Heard, EXIT};
use crate::lab::Lab;
pub use crate::outcome::{End, Outcome, CONSOLE};
use crate::qemu::{self, Platform, QEMU};

/// Printed by the script before the user's command: from here on a fault is not
/// one of booting.
const START: &str = "LAB-START";
/// While identify_cpu() sets the boot CPU's features anew, an interrupt finds LA57 off, and KASAN
/// takes each address for a wild one: what it says after that is not printed.
pub const NO_LA57: &str = " no5lvl";
/// The build directory of the kernel that guests run.
pub const PATCHED: &str = "build/kernels/patched";
/// Time for a guest to print the rest of an oops.
const GRACE: Duration = Duration::from_secs(4);

pub struct Vm<'a> {
    lab: &'a Lab,
    name: String,
    kernel: PathBuf,
    /// In seconds; 0 is for ever.
    timeout: u64,
    allow: Option<Regex>,
    platform: Platform,
    append: String,
    memory: Option<PathBuf>,
    cpus: u32,
    disks: Vec<Disk>,
    /// In seconds; 0 is for ever.
    silence: u64,
    /// More words for QEMU.
    words: Vec<String>,
}

/// The user's time limit for guests, in seconds.
static LIMIT: OnceLock<u64> = OnceLock::new();

/// No guest of this process runs for longer.
pub fn limit(seconds: u64) {
    // It is called once.
    let _ = LIMIT.set(seconds);
}

/// A raw image that the guest has as /dev/vdb, /dev/vdc, ...
pub struct Disk {
    pub image: PathBuf,
    /// Whether what the guest writes goes to the image.
    pub keep: bool,
}

/// A word for a shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A shell script that runs `command`. One word is a script already.
pub fn script(command: &[String]) -> String {
    match command {
        [script] => script.clone(),
        words => {
            let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
            words.join(" ")
        }
    }
}

impl<'a> Vm<'a> {
    pub fn new(lab: &'a Lab, name: &str, kernel: &Path, timeout: u64) -> Self {
        Self {
            lab,
            name: name.into(),
            kernel: kernel.into(),
            timeout: match (LIMIT.get(), timeout) {
                (Some(&limit), 0) => limit,
                (Some(&limit), timeout) => timeout.min(limit),
                (None, timeout) => timeout,
            },
            allow: None,
            platform: Platform::default(),
            append: String::new(),
            memory: None,
            cpus: 2,
            disks: Vec::new(),
            silence: 0,
            words: Vec::new(),
        }
    }

    /// Console lines that match are no failure.
    pub fn allow(self, allow: Option<Regex>) -> Self {
        Self { allow, ..self }
    }

    pub fn platform(self, platform: Platform) -> Self {
        Self { platform, ..self }
    }

    /// More words for the kernel's command line.
    pub fn append(self, append: String) -> Self {
        Self { append, ..self }
    }

    /// A file that holds what of the guest's memory outlives it.
    pub fn memory(self, memory: PathBuf) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    pub fn disks(self, disks: Vec<Disk>) -> Self {
        Self { disks, ..self }
    }

    /// A guest that prints nothing for so many seconds has hung.
    pub fn silence(self, silence: u64) -> Self {
        Self { silence, ..self }
    }

    /// More words for QEMU, which runs in the guest's directory.
    pub fn words(self, words: Vec<String>) -> Self {
        Self { words, ..self }
    }

    /// Runs `script` in a guest; its output goes to `sink` line by line.
    pub fn run(&self, script: &str, sink: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let (outcome, boot_fault) = self.attempt(script, sink)?;
        if !boot_fault {
            return Ok(outcome);
        }
        eprintln!(
            "dax-lab: guest {}: died at boot of a fault of the emulator; booting again",
            self.name
        );
        Ok(self.attempt(script, sink)?.0)
    }

    /// Runs `script` on the terminal.
    pub fn interact(&self, script: &str) -> Result<u8> {
        let (mut qemu, dir) = self.prepare(script)?;
        qemu.args(["-chardev", "stdio,id=terminal,mux=on,signal=off"])
            .args(["-serial", "chardev:terminal", "-mon", "chardev=terminal"]);
        let path = dir.join(CONSOLE);
        let shown = path.display();
        eprintln!("dax-lab: console: {shown}; Ctrl-a x ends the guest");
        let status = qemu.status().context(QEMU)?;
        let mut console = Console::new(&path, self.allow.as_ref())?;
        console.poll()?;
        for finding in &console.findings {
            eprintln!("dax-lab: console says: {finding}");
        }
        Ok(u8::from(!status.success() || !console.findings.is_empty()))
    }

    /// Boots a guest that runs `script` and reads `stdin`.
    pub fn boot(&self, script: &str, stdin: Stdio) -> Result<Guest> {
        let (mut qemu, dir) = self.prepare(script)?;
        qemu.stdin(stdin);
        let console = Console::new(&dir.join(CONSOLE), self.allow.as_ref())?;
        Guest::start(&mut qemu, dir, console)
    }

    /// Lays out the guest's files: the command that boots it, and where they are.
    fn prepare(&self, script: &str) -> Result<(Command, PathBuf)> {
        let image = self.lab.image(&self.kernel)?;
        for (file, made) in std::iter::once((self.lab.build("guest.img"), "image")).chain(
            self.platform
                .tables(self.lab)
                .into_iter()
                .map(|table| (table, "tools")),
        ) {
            let there = file.is_file();
            ensure!(
                there,
                "{} is missing: make {made} builds it",
                file.display()
            );
        }
        self.lab.install_programs()?;
        let run = self.lab.run()?;
        run.kernel(&self.kernel);
        let (name, dir) = run.guest(&self.name)?;
        let share = run.share().join(&name);
        fs::create_dir_all(&share)?;
        fs::write(
            share.join("cmd"),
            // From memory: the programs may be built anew meanwhile.
            format!(
                "cp -a /lab/bin /run && PATH=/run/bin:$PATH\n{}{script}\n",
                self.platform.setup()
            ),
        )?;
        let name = format!("{}/{name}", run.name);
        let mut append = self.append.clone();
        if self.kernel.ends_with("debug") {
            append += NO_LA57;
        }
        let mut qemu = qemu::command(
            self.lab,
            &self.lab.top.join(&self.kernel),
            &image,
            &name,
            &dir,
            self.platform,
            &append,
        );
        qemu.args(self.platform.memory(self.memory.as_deref()));
        qemu.args(["-smp", &self.cpus.to_string()]);
        for (disk, n) in self.disks.iter().zip(1..) {
            qemu.args(qemu::disk(n, &disk.image, disk.keep));
        }
        qemu.args(&self.words);
        // SAFETY: prctl is async-signal-safe. A guest nobody watches must not go on.
        unsafe {
            qemu.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        Ok((qemu, dir))
    }

    /// One boot; also whether it met the emulator's fault before the command began.
    fn attempt(&self, script: &str, sink: &mut dyn FnMut(&str)) -> Result<(Outcome, bool)> {
        let script = format!("echo {START}\n{script}");
        let mut watch = Watch {
            guest: self.boot(&script, Stdio::null())?,
            begin: Instant::now(),
            output: Vec::new(),
            times: Vec::new(),
            blank: 0,
            started: false,
            exit: None,
            sink,
        };
        let end = watch.until_end(self.timeout, self.silence);
        let guest = &mut watch.guest;
        guest.end();
        let end = end?;
        if end == End::Died {
            guest.console.poll()?;
        }
        let findings = std::mem::take(&mut guest.console.findings);
        let mut boot_fault = !watch.started && Console::emulation_fault(&findings);
        if !watch.started && end == End::Died && findings.is_empty() {
            let said = guest.qemu_said();
            // QEMU sometimes fails one of its own checks while the guest sets up its devices.
            boot_fault = said.contains("Assertion `");
            if !said.is_empty() && !boot_fault {
                bail!("{QEMU}: {said}");
            }
        }
        let outcome = Outcome {
            name: self.name.clone(),
            end,
            output: watch.output,
            times: watch.times,
            findings,
            dir: guest.dir.clone(),
        };
        Ok((outcome, boot_fault))
    }
}

/// What is seen of a running guest.
struct Watch<'a> {
    guest: Guest,
    begin: Instant,
    output: Vec<String>,
    times: Vec<Duration>,
    /// Empty lines that are held back.
    blank: usize,
    started: bool,
    exit: Option<i32>,
    sink: &'a mut dyn FnMut(&str),
}

impl Watch<'_> {
    fn until_end(&mut self, limit: u64, silence: u64) -> Result<End> {
        let time = |limit| Duration::from_secs(if limit == 0 { u32::MAX.into() } else { limit });
        let (limit, silence) = (time(limit), time(silence));
        let mut heard = self.begin;
        let mut last_words = None;
        loop {
            let ended = match self.guest.next(Duration::from_millis(100))? {
                Heard::Line(line) => {
                    heard = Instant::now();
                    self.line(line)?;
                    false
                }
                Heard::Nothing => false,
                Heard::End => true,
            };
            // Powering off is of no interest: the disk is a snapshot.
            if let Some(status) = self.exit {
                return Ok(End::Exit(status));
            }
            if last_words.is_none() && self.guest.console.fatal {
                last_words = Some(Instant::now());
            }
            if ended || last_words.is_some_and(|since| since.elapsed() > GRACE) {
                return Ok(End::Died);
            }
            for (since, limit) in [(self.begin, limit), (heard, silence)] {
                if since.elapsed() > limit {
                    return Ok(End::Timeout(limit));
                }
            }
        }
    }

    fn line(&mut self, line: String) -> Result<()> {
        if let Some(status) = line.strip_prefix(EXIT) {
            self.exit = Some(status.trim().parse().with_context(|| line.clone())?);
        } else if !self.started && line == START {
            self.started = true;
        } else if line.is_empty() {
            // init puts an empty line before its last one.
            self.blank += 1;
        } else {
            for _ in 0..std::mem::take(&mut self.blank) {
                self.show(String::new())?;
            }
            self.show(line)?;
        }
        Ok(())
    }

    fn show(&mut self, line: String) -> Result<()> {
        self.guest.note(&line)?;
        (self.sink)(&line);
        self.output.push(line);
        self.times.push(self.begin.elapsed());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_but_a_script_is_not() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(script(&words(&["ls | wc"])), "ls | wc");
        assert_eq!(script(&words(&["echo", "it's"])), r"'echo' 'it'\''s'");
    }
}
