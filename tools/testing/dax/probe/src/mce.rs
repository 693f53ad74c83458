// SPDX-License-Identifier: GPL-2.0

//! Machine checks: uncorrectable memory errors that QEMU reports to this guest as
//! hardware does. The memory itself stays good.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::kernel;
use crate::kmsg;
use crate::port::Port;
use crate::qmp::Monitor;
use crate::units::PAGE;

/// A bank that the kernel leaves alone.
const BANK: u32 = 9;
/// MISC: the address is physical, and good to a page.
const ONE_PAGE: u32 = 0x8c;
/// How long the kernel may take over an error.
fn patience() -> Duration {
    kernel::limit(20)
}
/// Status of the bank and of the machine check: action is required, and the program can go on.
const SRAR: (u64, u32) = (0xbd80_0000_0000_0134, 0xf);
/// The port at whose other end dax-lab is.
const HOST: &str = "dax-lab.host";
const SYSFS: &str = "/sys/devices/system/machinecheck/machinecheck0";

/// An error at physical address `addr` (in bytes) that no load has consumed: action
/// is optional (SRAO). The kernel handles it later; [`Log`] tells when.
pub fn srao(addr: u64) -> Result<()> {
    Monitor::open()?.human(&command(0, 0xbd00_0000_0000_00c0, 0xd, addr))
}

/// An error that a load on `cpu` consumes: action is required (SRAR). The guest
/// panics if that CPU is in the kernel just then: let a process spin there.
pub fn srar(cpu: u32, addr: u64) -> Result<()> {
    let (status, mcg_status) = SRAR;
    Monitor::open()?.human(&command(cpu, status, mcg_status, addr))
}

/// Loads of the kernel that are to consume an error.
pub struct Load {
    port: Port,
    addr: u64,
    log: Log,
}

impl Load {
    /// The next load by copy_mc_to_kernel() or copy_mc_to_user() from the page at physical address
    /// `addr` consumes an error there (SRAR). dax-lab stops the CPU at it.
    pub fn once(addr: u64) -> Result<Self> {
        Self::of("once", addr)
    }

    /// All do, until there was none for some seconds: what is written there is lost, too.
    pub fn always(addr: u64) -> Result<Self> {
        Self::of("always", addr)
    }

    fn of(which: &str, addr: u64) -> Result<Self> {
        const FUNCTION: &str = "copy_mc_enhanced_fast_string";
        let (status, mcg_status) = SRAR;
        let mut port = Port::open(HOST)?;
        let (function, last) = (kernel::symbol(FUNCTION)?, addr + PAGE - 1);
        port.send(&format!(
            "{which} {function:x} {addr:x} {last:x} {}",
            error(status, mcg_status, addr)
        ))?;
        let log = Log::new()?;
        let said = port.line(Instant::now() + patience())?;
        ensure!(said == "armed", "dax-lab does not wait for a load: {said}");
        Ok(Self { port, addr, log })
    }

    /// Waits until that has happened and the kernel is through with it: what memory_failure() made of
    /// the page, "not called", or "no load".
    pub fn handled(mut self) -> Result<String> {
        // dax-lab, too, waits for the load.
        let said = self.port.line(Instant::now() + 3 * patience())?;
        if said == "none" {
            return Ok("no load".into());
        }
        ensure!(said == "met", "dax-lab waits for a load: {said}");
        let outcome = self.log.consumed(self.addr)?;
        Ok(outcome.unwrap_or_else(|| "not called".into()))
    }
}

/// QEMU's `mce` command, for one CPU (LMCE): Linux panics if the others do not join
/// in otherwise, and QEMU's CPU is too old a model for a broadcast.
fn command(cpu: u32, status: u64, mcg_status: u32, addr: u64) -> String {
    format!("mce {cpu} {}", error(status, mcg_status, addr))
}

/// The words of it behind the CPU.
fn error(status: u64, mcg_status: u32, addr: u64) -> String {
    format!("{BANK} {status:#x} {mcg_status:#x} {addr:#x} {ONE_PAGE:#x}")
}

/// [`srao`], and waits until the kernel is through with it: what memory_failure()
/// made of the page.
pub fn deliver(addr: u64) -> Result<String> {
    deliver_to(None, addr)
}

/// The same with [`srar`], if a CPU is named.
pub fn deliver_to(cpu: Option<u32>, addr: u64) -> Result<String> {
    let mut log = Log::new()?;
    match cpu {
        None => srao(addr)?,
        Some(cpu) => srar(cpu, addr)?,
    }
    log.handled(addr)
}

/// [`srar`] for a CPU on which a process spins in user mode; what memory_failure() made of the
/// page. `None` if the CPU was in the kernel just then, for an interrupt: the kernel would panic
/// then, and is kept from it (CONFIG_DEBUG_FS). It does nothing about such an error.
pub fn consume(cpu: u32, addr: u64) -> Result<Option<String>> {
    const FAKE_PANIC: &str = "/sys/kernel/debug/mce/fake_panic";
    fs::write(FAKE_PANIC, "1").context(FAKE_PANIC)?;
    let mut log = Log::new()?;
    srar(cpu, addr)?;
    let outcome = log.consumed(addr)?;
    fs::write(FAKE_PANIC, "0").context(FAKE_PANIC)?;
    if outcome.is_none() {
        // The bank still has the error, for the next machine check to find. Changes of this
        // setting make the kernel empty all banks.
        for interval in ["301", "300"] {
            set("check_interval", interval)?;
        }
    }
    Ok(outcome)
}

/// What the kernel's log says from here on about machine checks.
pub struct Log(kmsg::Log);

impl Log {
    pub fn new() -> Result<Self> {
        // Printing is the last that the kernel does with an error.
        set("print_all", "1")?;
        Ok(Self(kmsg::Log::new()?))
    }

    /// Reads until the kernel is through with the error at `addr`, or has printed it and said no
    /// more for `enough`: what memory_failure() made of the page, and whether it was printed.
    fn follow(&mut self, addr: u64, enough: Duration) -> Result<(Option<String>, bool)> {
        let (pfn, start) = (addr / PAGE, Instant::now());
        let (mut outcome, mut printed) = (None, None::<Instant>);
        while start.elapsed() < patience() {
            if let Some(line) = self.0.line()? {
                outcome = recovery(&line, pfn).map(String::from).or(outcome);
                if is_printed(&line, pfn) {
                    printed = Some(Instant::now());
                }
                continue;
            }
            if printed.is_some_and(|since| outcome.is_some() || since.elapsed() > enough) {
                break;
            }
            sleep(Duration::from_millis(5));
        }
        Ok((outcome, printed.is_some()))
    }

    /// For an error that nothing may be done about: some seconds after it is seen.
    fn consumed(&mut self, addr: u64) -> Result<Option<String>> {
        match self.follow(addr, Duration::from_secs(5))? {
            (outcome, true) => Ok(outcome),
            _ => bail!("machine check at {addr:#x}: the kernel says nothing"),
        }
    }

    /// Waits until the kernel is through with the error at `addr`: memory_failure()
    /// has run, and for an SRAO the page has left the direct map and the driver has
    /// its badblock. Returns what memory_failure() made of the page, such as
    /// "Recovered". The process that met an SRAR does this itself, later.
    pub fn handled(&mut self, addr: u64) -> Result<String> {
        let what = match self.follow(addr, patience())? {
            (Some(action), true) => return Ok(action),
            (None, false) => "the kernel says nothing",
            (None, true) => "seen, but no recovery action",
            (Some(_), false) => "memory_failure() ran, but the rest is not done",
        };
        bail!(
            "machine check at {addr:#x}: {what} in {} s",
            patience().as_secs()
        )
    }
}

fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("{SYSFS}/{name}");
    fs::write(&path, value).with_context(|| format!("{path} (CONFIG_X86_MCE)"))
}

/// What memory_failure() made of page frame `pfn`, if the line tells.
fn recovery(line: &str, pfn: u64) -> Option<&str> {
    let start = format!("Memory failure: {pfn:#x}: recovery action for ");
    let (_, action) = line.split_once(&start)?;
    Some(action.lines().next()?.rsplit_once(": ")?.1)
}

/// Whether the line is the machine check's own, with its address, which the kernel
/// rounds to a page. Where another CPU has printed in between, the address begins a
/// record.
fn is_printed(line: &str, pfn: u64) -> bool {
    let mut words = line.split([' ', ';', '\n']);
    let address = format!("{:x}", pfn * PAGE);
    words.any(|word| word == "ADDR") && words.next() == Some(address.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [&str; 4] = [
        "3,600,9000000,-;Memory failure: 0x100201: Sending SIGBUS to dax-probe:80 due to hardware memory corruption\n",
        "3,601,9000000,-;Memory failure: 0x100201: recovery action for dax page: Recovered\n",
        "0,602,9000000,-;mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 9: bd000000000000c0\n",
        "0,603,9000000,-;mce: [Hardware Error]: TSC 2a ADDR 100201000 MISC 8c \n SUBSYSTEM=machinecheck\n",
    ];

    #[test]
    fn the_log_is_understood() {
        let actions: Vec<_> = LOG
            .iter()
            .filter_map(|line| recovery(line, 0x10_0201))
            .collect();
        assert_eq!(actions, ["Recovered"]);
        assert!(LOG.iter().all(|line| recovery(line, 0x20_1000).is_none()));
        let printed = LOG.map(|line| is_printed(line, 0x10_0201));
        assert_eq!(printed, [false, false, false, true]);
        assert!(!LOG.iter().any(|line| is_printed(line, 0x10_0202)));
        assert!(is_printed(
            "0,604,9000000,c;ADDR 100201000 MISC 8c \n",
            0x10_0201
        ));
    }

    #[test]
    fn the_command_is_as_tried() {
        assert_eq!(
            command(0, 0xbd00_0000_0000_00c0, 0xd, 0x1_0020_1000),
            "mce 0 9 0xbd000000000000c0 0xd 0x100201000 0x8c"
        );
    }
}
