// SPDX-License-Identifier: GPL-2.0

//! Runs a guest: boots it, hands it a command, streams the output, watches its
//! console, and ends it when its time is up.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use regex_lite::Regex;

use crate::console::Console;
use crate::lab::Lab;
use crate::qemu::{self, Platform};

/// Printed by the script before the user's command: from here on a fault is not
/// one of booting.
const START: &str = "LAB-START";
/// Printed by the guest's init, with the exit status.
const EXIT: &str = "LAB-EXIT ";
/// While identify_cpu() sets the boot CPU's features anew, an interrupt finds LA57 off, and KASAN
/// takes each address for a wild one: what it says after that is not printed.
pub const NO_LA57: &str = " no5lvl";
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

/// How the guest ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The command ended, with this status.
    Exit(i32),
    Timeout(Duration),
    /// The guest went away before the command ended.
    Died,
}

pub struct Outcome {
    name: String,
    pub end: End,
    pub output: Vec<String>,
    /// Lines on the console that a healthy kernel doesn't print.
    pub findings: Vec<String>,
    pub console: PathBuf,
}

impl Outcome {
    /// What is to be said beside the command's own output.
    pub fn complaints(&self) -> Vec<String> {
        let (name, console) = (&self.name, self.console.display());
        let mut lines = Vec::new();
        for finding in self.findings.iter().take(5) {
            lines.push(format!("guest {name}: console says: {finding}"));
        }
        match self.end {
            End::Exit(_) => (),
            End::Timeout(limit) => {
                lines.push(format!(
                    "guest {name}: no end after {}",
                    crate::seconds(limit)
                ));
            }
            End::Died => lines.push(format!("guest {name}: died before its command ended")),
        }
        if let Some(last) = lines.last_mut() {
            *last += &format!("; console: {console}");
        }
        lines
    }

    /// Of a guest that has said this.
    #[cfg(test)]
    pub fn of(end: End, lines: &[&str]) -> Self {
        Self {
            name: "test".into(),
            end,
            output: lines.iter().map(ToString::to_string).collect(),
            findings: Vec::new(),
            console: PathBuf::new(),
        }
    }

    pub fn good(&self) -> bool {
        self.end == End::Exit(0) && self.findings.is_empty()
    }
}

/// A shell script that runs `command`. One word is a script already.
pub fn script(command: &[String]) -> String {
    match command {
        [script] => script.clone(),
        words => {
            let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
            words.iter().map(quote).collect::<Vec<_>>().join(" ")
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

    /// A file that holds the guest's memory and outlives it.
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

    /// Two guests of one name would share their files.
    pub fn lock(&self) -> Result<File> {
        let results = self.lab.build("results");
        fs::create_dir_all(&results)?;
        let lock = File::create(results.join(format!(".{}.lock", self.name)))?;
        // SAFETY: flock of a file that is open.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            bail!(
                "a guest named {} is running: choose another name",
                self.name
            );
        }
        Ok(lock)
    }

    /// Runs `script` in a guest; its output goes to `sink` line by line.
    pub fn run(&self, script: &str, sink: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let _lock = self.lock()?;
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
        let _lock = self.lock()?;
        let mut qemu = self.prepare(script)?;
        qemu.args(["-chardev", "stdio,id=terminal,mux=on,signal=off"])
            .args(["-serial", "chardev:terminal", "-mon", "chardev=terminal"]);
        eprintln!(
            "dax-lab: console: {}; Ctrl-a x ends the guest",
            self.console_path().display()
        );
        let status = qemu.status().context("qemu-system-x86_64")?;
        let mut console = Console::new(&self.console_path(), self.allow.as_ref())?;
        console.poll()?;
        for finding in &console.findings {
            eprintln!("dax-lab: console says: {finding}");
        }
        let good = status.success() && console.findings.is_empty();
        Ok(if good { 0 } else { 1 })
    }

    pub fn dir(&self) -> PathBuf {
        self.lab.build("results").join(&self.name)
    }

    pub fn console_path(&self) -> PathBuf {
        self.dir().join("console.log")
    }

    /// Lays out the guest's files.
    pub fn prepare(&self, script: &str) -> Result<Command> {
        ensure!(
            !self.name.is_empty() && !self.name.contains(['/', ' ']),
            "{:?} is no name for a guest",
            self.name
        );
        let image = self.lab.image(&self.kernel)?;
        let disk = self.lab.build("guest.img");
        ensure!(
            disk.is_file(),
            "{} is missing: make run builds it",
            disk.display()
        );
        for table in self.platform.tables(self.lab) {
            ensure!(
                table.is_file(),
                "{} is missing: make tools builds it",
                table.display()
            );
        }
        self.lab.install_programs()?;
        let dir = self.dir();
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
        fs::create_dir_all(&dir)?;
        let share = self.lab.build("guest/vm").join(&self.name);
        fs::create_dir_all(&share)?;
        fs::write(
            share.join("cmd"),
            // From memory: the programs may be built anew meanwhile.
            format!(
                "cp -a /lab/bin /run && PATH=/run/bin:$PATH\n{}{script}\n",
                self.platform.setup()
            ),
        )?;
        let mut append = self.append.clone();
        if self.kernel.ends_with("debug") {
            append += NO_LA57;
        }
        let mut qemu = qemu::command(self.lab, &image, &self.name, &dir, self.platform, &append);
        if let Some(memory) = &self.memory {
            qemu.args(qemu::memory_file(memory));
        }
        qemu.args(["-smp", &self.cpus.to_string()]);
        for disk in &self.disks {
            qemu.args(qemu::disk(&disk.image, disk.keep));
        }
        qemu.args(&self.words);
        // SAFETY: prctl is async-signal-safe. A guest nobody watches must not go on.
        unsafe {
            qemu.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        Ok(qemu)
    }

    /// One boot; also whether it met the emulator's fault before the command began.
    fn attempt(&self, script: &str, sink: &mut dyn FnMut(&str)) -> Result<(Outcome, bool)> {
        let mut child = self
            .prepare(&format!("echo {START}\n{script}"))?
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.dir().join("qemu.log"))?)
            .spawn()
            .context("qemu-system-x86_64")?;
        let lines = follow(&mut child)?;
        let mut watch = Watch {
            log: File::create(self.dir().join("output.log"))?,
            console: Console::new(&self.console_path(), self.allow.as_ref())?,
            output: Vec::new(),
            blank: 0,
            started: false,
            exit: None,
            sink,
        };
        let end = watch.until_end(&mut child, &lines, self.timeout, self.silence);
        // Harmless if it has ended.
        let _ = child.kill();
        child.wait()?;
        let end = end?;
        if end == End::Died {
            watch.console.poll()?;
        }
        let mut boot_fault = !watch.started && watch.console.emulation_fault();
        if !watch.started && end == End::Died && watch.console.findings.is_empty() {
            let said = fs::read_to_string(self.dir().join("qemu.log")).unwrap_or_default();
            let said = said.trim();
            // QEMU sometimes fails one of its own checks while the guest sets up its devices.
            boot_fault = said.contains("Assertion `");
            if !said.is_empty() && !boot_fault {
                bail!("qemu-system-x86_64: {said}");
            }
        }
        let outcome = Outcome {
            name: self.name.clone(),
            end,
            output: watch.output,
            findings: watch.console.findings,
            console: self.console_path(),
        };
        Ok((outcome, boot_fault))
    }
}

pub fn follow(child: &mut Child) -> Result<Receiver<String>> {
    let stdout = child.stdout.take().context("no stdout")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender
                .send(text.trim_end_matches(['\r', '\n']).into())
                .is_err()
            {
                return;
            }
            line.clear();
        }
    });
    Ok(receiver)
}

/// What is seen of a running guest.
struct Watch<'a> {
    log: File,
    console: Console,
    output: Vec<String>,
    /// Empty lines that are held back.
    blank: usize,
    started: bool,
    exit: Option<i32>,
    sink: &'a mut dyn FnMut(&str),
}

impl Watch<'_> {
    fn until_end(
        &mut self,
        child: &mut Child,
        lines: &Receiver<String>,
        limit: u64,
        silence: u64,
    ) -> Result<End> {
        let start = Instant::now();
        let time = |limit| Duration::from_secs(if limit == 0 { u32::MAX.into() } else { limit });
        let (limit, silence) = (time(limit), time(silence));
        let mut heard = start;
        let mut last_words = None;
        loop {
            let ended = match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    heard = Instant::now();
                    self.line(line)?;
                    false
                }
                Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => child.try_wait()?.is_some(),
            };
            self.console.poll()?;
            // Powering off is of no interest: the disk is a snapshot.
            if let Some(status) = self.exit {
                return Ok(End::Exit(status));
            }
            if last_words.is_none() && self.console.fatal {
                last_words = Some(Instant::now());
            }
            if ended || last_words.is_some_and(|since| since.elapsed() > GRACE) {
                return Ok(End::Died);
            }
            if start.elapsed() > limit {
                return Ok(End::Timeout(limit));
            }
            if heard.elapsed() > silence {
                return Ok(End::Timeout(silence));
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
        writeln!(self.log, "{line}")?;
        (self.sink)(&line);
        self.output.push(line);
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
