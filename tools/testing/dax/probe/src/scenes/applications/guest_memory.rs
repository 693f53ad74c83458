// SPDX-License-Identifier: GPL-2.0

//! QEMU with a DAX file as its guest's memory. Without KVM it has nobody to pass an error on to:
//! the signals reach it, and end it.

use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};

use super::tool::ended;
use super::{tool, Victim};
use crate::scenes::prelude::*;
use crate::supervise::follow;

const PAGES: usize = 4096;
const HIT: usize = 5;

struct Qemu {
    child: Child,
    lines: Receiver<String>,
}

impl Qemu {
    /// A machine that does not run, and has nothing but its memory.
    fn start(file: &Path, prealloc: &str) -> Result<Self> {
        let mut qemu = tool("qemu-system-x86_64", "qemu-system-x86")?;
        let path = file.display();
        let memory = format!(
            "memory-backend-file,id=m,size=16M,mem-path={path},share=on,prealloc={prealloc}"
        );
        qemu.args([
            "-S",
            "-accel",
            "tcg",
            "-nodefaults",
            "-display",
            "none",
            "-m",
            "16M",
        ]);
        qemu.args([
            "-object",
            &memory,
            "-machine",
            "q35,memory-backend=m",
            "-monitor",
            "stdio",
        ]);
        qemu.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = qemu.spawn().context("qemu-system-x86_64")?;
        let (sender, lines) = mpsc::channel();
        follow(child.stdout.take().context("no stdout")?, sender.clone());
        follow(child.stderr.take().context("no stderr")?, sender);
        Ok(Self { child, lines })
    }

    /// What its monitor answers, up to the line with some words; all it said, if there is none.
    fn ask(&mut self, command: &str, words: &str) -> Result<String> {
        self.tell(command)?;
        self.says(words)
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        // If it is gone, that shows.
        let _ = writeln!(self.child.stdin.as_mut().context("no stdin")?, "{command}");
        Ok(())
    }

    fn says(&mut self, words: &str) -> Result<String> {
        let end = Instant::now() + kernel::limit(30);
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end - Instant::now()) {
            if let Some(at) = line.find(words) {
                return Ok(line[at..].trim().into());
            }
            said.push(line);
        }
        Ok(said.join(" / "))
    }

    fn ended(&mut self) -> Result<String> {
        let gone = until(|| Ok(self.child.try_wait()?.is_some()))?;
        if !gone {
            return Ok("goes on".into());
        }
        Ok(ended(self.child.wait()?))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

scene!(GUEST_MEMORY = 280 "guest-memory" play: "QEMU with a DAX file as its guest's memory";
    fast, differs("QEMU again: says", ""));
fn play(_: u64) -> Result<()> {
    const REFUSES: &str =
        "qemu_prealloc_mem: preallocating memory failed: Memory page has hardware error";
    const PAUSED: &str = "VM status: paused";
    let (_, ram) = Xfs::with_file("ram", PAGES)?;
    let kept = Path::new("/tmp/kept");
    fs::copy(&ram, kept)?;
    let mut qemu = Qemu::start(&ram, "on")?;
    let status = qemu.ask("info status", PAUSED)?;
    ensure!(status.starts_with(PAUSED), "QEMU: {status}");
    let mut log = kmsg::Log::new()?;
    let victim = Victim::hit(&ram, HIT)?;
    let sent = log.count("Sending SIGBUS to qemu-system")?;
    expect("BUS_MCEERR_AO sent", "1", sent.to_string())?;
    // Its handler is for KVM alone.
    expect("QEMU", "killed by signal 6", qemu.ended()?)?;

    let mut qemu = Qemu::start(&ram, "on")?;
    let words = qemu.says("qemu_prealloc_mem")?;
    expect("QEMU again: says", REFUSES, words)?;
    expect("QEMU again", "exit 1", qemu.ended()?)?;
    let mut qemu = Qemu::start(&ram, "off")?;
    qemu.ask("info status", PAUSED)?;
    qemu.ask(&format!("xp /1xb {:#x}", (HIT + 1) * PAGE_SIZE), "0x")?;
    let mut log = kmsg::Log::new()?;
    qemu.tell(&format!("xp /1xb {:#x}", victim.at()))?;
    let end = qemu.ended()?;
    let sent = log.count("due to hardware memory corruption")?;
    expect("BUS_MCEERR_AR sent", "1", sent.to_string())?;
    // A thread of the guest would be another matter: this is the monitor's.
    expect("QEMU, touches it", "killed by SIGBUS", end)?;
    drop(qemu);

    victim.restore_from(kept)?;
    victim.expect_restored()?;
    let mut qemu = Qemu::start(&ram, "on")?;
    qemu.ask("info status", PAUSED)?;
    let byte = format!("0x{:02x}", pattern(HIT));
    let seen = qemu.ask(&format!("xp /1xb {:#x}", victim.at()), &byte)?;
    expect("restored: guest's byte", &byte, seen)?;
    qemu.ask("quit", "(qemu)")?;
    expect("QEMU", "exit 0", qemu.ended()?)
}
