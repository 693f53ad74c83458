// SPDX-License-Identifier: GPL-2.0

//! Poison that a load of the guest's kernel meets: a machine check just when copy_mc_to_kernel() or
//! copy_mc_to_user() gets to a page. The guest asks for it, over a port of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};

use crate::gdb::{self, Gdb};
use crate::pace;

/// Where the guest's port ends, in its directory.
const SOCKET: &str = "host.sock";
/// For QEMU to start.
const START: Duration = Duration::from_secs(30);
/// `rep movsb`, and how far behind the beginning of the function it is looked for.
const LOAD: [u8; 2] = [0xf3, 0xa4];
const REACH: usize = 32;
/// The direct map begins at a multiple of this, which is more than a guest has memory.
const DIRECT_MAP: u64 = 1 << 39;

/// For the load.
fn patience() -> Duration {
    pace::limit(20)
}

/// For another one, after which the kernel has marked the page.
fn rest() -> Duration {
    pace::limit(1)
}

/// What the guest asks for: `once FUNCTION FIRST LAST BANK…`, addresses in hexadecimal, or
/// `always`.
struct Order {
    /// Whether each load is met, until there is none for a while.
    always: bool,
    /// Address of the function.
    function: u64,
    /// Physical addresses, of the first and the last byte.
    first: u64,
    last: u64,
    /// The monitor's `mce`, from the bank on.
    error: String,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        let always = match words.next()? {
            "once" => false,
            "always" => true,
            _ => return None,
        };
        let mut address = || u64::from_str_radix(words.next()?, 16).ok();
        Some(Self {
            always,
            function: address()?,
            first: address()?,
            last: address()?,
            error: words.next()?.into(),
        })
    }

    fn covers(&self, address: u64) -> bool {
        (self.first..=self.last).contains(&(address % DIRECT_MAP))
    }
}

/// Serves a guest for as long as it runs.
pub fn serve(dir: &Path) {
    let dir = dir.to_path_buf();
    thread::spawn(move || {
        // The guest has ended, or QEMU did not start, which is told elsewhere.
        let _ = serve_port(&dir);
    });
}

fn serve_port(dir: &Path) -> Result<()> {
    let start = Instant::now();
    let mut port = loop {
        match UnixStream::connect(dir.join(SOCKET)) {
            Ok(port) => break port,
            Err(e) if start.elapsed() > START => return Err(e.into()),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    };
    let mut lines = BufReader::new(port.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        let met = match Order::parse(&line) {
            Some(order) => order.carry_out(dir, &mut port),
            None => Err(anyhow!("{line:?} is no order")),
        };
        match met {
            Ok(true) => writeln!(port, "met")?,
            Ok(false) => writeln!(port, "none")?,
            Err(e) => writeln!(port, "error {e:#}")?,
        }
    }
    Ok(())
}

impl Order {
    fn carry_out(&self, dir: &Path, port: &mut UnixStream) -> Result<bool> {
        let mut gdb = Gdb::connect(&dir.join(gdb::SOCKET))?;
        let code = gdb.read(self.function, REACH)?;
        let at = code.windows(LOAD.len()).position(|bytes| bytes == LOAD);
        let load = self.function + at.context("the function has no `rep movsb`")? as u64;
        writeln!(port, "armed")?;
        let met = self.wait_for(&mut gdb, load);
        gdb.detach()?;
        met
    }

    /// Whether the page is loaded from in time. Returns with the guest stopped, and without
    /// breakpoints.
    fn wait_for(&self, gdb: &mut Gdb, load: u64) -> Result<bool> {
        let mut met = false;
        let mut end = Instant::now() + patience();
        while let Some(cpu) = stop_at(gdb, load, end)? {
            if self.covers(gdb.rsi()?) {
                // It is taken before the load.
                gdb.monitor(&format!("mce {cpu} {}", self.error))?;
                met = true;
                if !self.always {
                    break;
                }
                end = Instant::now() + rest();
            } else {
                // A step would copy one byte.
                stop_at(gdb, load + LOAD.len() as u64, end)?;
            }
        }
        Ok(met)
    }
}

/// Has the guest go on until a CPU gets to this address; which one, if it does in time.
fn stop_at(gdb: &mut Gdb, address: u64, end: Instant) -> Result<Option<u32>> {
    gdb.break_at(address)?;
    gdb.go_on()?;
    let cpu = gdb.stopped_cpu(end.saturating_duration_since(Instant::now()))?;
    if cpu.is_none() {
        gdb.stop()?;
    }
    gdb.clear(address)?;
    Ok(cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let order = Order::parse("once ffffffff81000000 100001000 100001fff 9 0xbd 0xf").unwrap();
        assert_eq!(order.function, 0xffff_ffff_8100_0000);
        assert!(order.covers(0xff11_0001_0000_1000));
        assert!(order.covers(0xffff_8881_0000_1fff));
        assert!(!order.covers(0xffff_8881_0000_2000));
        assert_eq!(order.error, "9 0xbd 0xf");
        assert!(!order.always);
        assert!(Order::parse("always 1 2 3 4").unwrap().always);
        assert!(Order::parse("once 1 2").is_none());
        assert!(Order::parse("never 1 2 3 4").is_none());
    }
}
