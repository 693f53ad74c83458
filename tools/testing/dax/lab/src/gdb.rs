// SPDX-License-Identifier: GPL-2.0

//! QEMU's stub for a debugger (the GDB remote serial protocol): enough to stop a guest
//! where it gets to an instruction.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

/// Where it listens, in the guest's directory.
pub const SOCKET: &str = "gdb.sock";
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Gdb {
    stream: UnixStream,
    rest: Vec<u8>,
}

impl Gdb {
    /// The guest stands still from now on.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        let mut gdb = Self {
            stream,
            rest: Vec::new(),
        };
        gdb.ask("?")?;
        Ok(gdb)
    }

    /// Has the guest stop when it gets to this address.
    pub fn break_at(&mut self, addr: u64) -> Result<()> {
        self.set(&format!("Z1,{addr:x},1"))
    }

    pub fn clear(&mut self, addr: u64) -> Result<()> {
        self.set(&format!("z1,{addr:x},1"))
    }

    /// Memory of the guest's kernel.
    pub fn read(&mut self, addr: u64, len: usize) -> Result<Vec<u8>> {
        let said = self.ask(&format!("m{addr:x},{len:x}"))?;
        bytes(&said).with_context(|| format!("QEMU's debugger on memory at {addr:#x}: {said:?}"))
    }

    /// %rsi of the CPU that stopped.
    pub fn rsi(&mut self) -> Result<u64> {
        // After %rax, %rbx, %rcx and %rdx.
        let said = self.ask("g")?;
        let rsi = said.get(4 * 16..5 * 16).and_then(bytes);
        let rsi = rsi.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        rsi.with_context(|| format!("QEMU's debugger on registers: {said:?}"))
    }

    /// A command of QEMU's monitor that prints nothing.
    pub fn monitor(&mut self, command: &str) -> Result<()> {
        let mut words = String::from("qRcmd,");
        for byte in command.bytes() {
            words += &format!("{byte:02x}");
        }
        self.set(&words)
    }

    /// Leaves; the guest goes on.
    pub fn detach(mut self) -> Result<()> {
        self.set("D")
    }

    /// Has a function return 0 at once, from now on: xor %eax,%eax; ret.
    pub fn gut(&mut self, addr: u64) -> Result<()> {
        self.set(&format!("M{addr:x},3:31c0c3"))
    }

    fn set(&mut self, command: &str) -> Result<()> {
        let said = self.ask(command)?;
        ensure!(said == "OK", "QEMU's debugger on {command}: {said:?}");
        Ok(())
    }

    /// Has the guest go on.
    pub fn go_on(&mut self) -> Result<()> {
        self.send("c")
    }

    /// Has the CPU that stopped go on by one instruction.
    pub fn step(&mut self) -> Result<()> {
        let said = self.ask("s")?;
        ensure!(said.starts_with('T'), "QEMU's debugger on s: {said:?}");
        Ok(())
    }

    /// Whether the guest has stopped, or does within this time.
    pub fn has_stopped(&mut self, time: Duration) -> Result<bool> {
        Ok(self.packet(time)?.is_some())
    }

    /// The number of the CPU that has stopped, or does within this time.
    pub fn stopped_cpu(&mut self, time: Duration) -> Result<Option<u32>> {
        let Some(said) = self.packet(time)? else {
            return Ok(None);
        };
        let cpu = thread(&said).with_context(|| format!("QEMU's debugger stops: {said:?}"))?;
        Ok(Some(cpu))
    }

    /// Stops the guest.
    pub fn stop(&mut self) -> Result<()> {
        self.stream.write_all(b"\x03")?;
        ensure!(
            self.has_stopped(PATIENCE)?,
            "QEMU's debugger does not stop the guest"
        );
        Ok(())
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        self.send(command)?;
        self.packet(PATIENCE)?
            .context("QEMU's debugger does not answer")
    }

    fn send(&mut self, command: &str) -> Result<()> {
        Ok(self.stream.write_all(&packet(command))?)
    }

    /// The next packet, if one comes within this time.
    fn packet(&mut self, time: Duration) -> Result<Option<String>> {
        // Zero is for ever.
        self.stream
            .set_read_timeout(Some(time.max(Duration::from_millis(1))))?;
        loop {
            if let Some((text, len)) = unpack(&self.rest) {
                self.rest.drain(..len);
                self.stream.write_all(b"+")?;
                return Ok(Some(text));
            }
            let mut chunk = [0; 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("QEMU's debugger is gone"),
                Ok(n) => self.rest.extend(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e).context("QEMU's debugger"),
            }
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2);
    let byte = |n| u8::from_str_radix(hex.get(n..n + 2)?, 16).ok();
    pairs.map(byte).collect()
}

/// The CPU of a stop reply: QEMU counts threads from 1.
fn thread(stop: &str) -> Option<u32> {
    let (_, id) = stop.split_once("thread:")?;
    let id = id.split(';').next()?;
    let id = id.rsplit('.').next()?;
    u32::from_str_radix(id, 16).ok()?.checked_sub(1)
}

fn packet(text: &str) -> Vec<u8> {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    format!("${text}#{sum:02x}").into()
}

/// The first whole packet, and where it ends. What stands before it are "+".
fn unpack(bytes: &[u8]) -> Option<(String, usize)> {
    let start = bytes.iter().position(|&b| b == b'$')? + 1;
    let len = bytes[start..].iter().position(|&b| b == b'#')?;
    let end = start + len + 3;
    let text = String::from_utf8_lossy(&bytes[start..start + len]).into();
    (bytes.len() >= end).then_some((text, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        assert_eq!(packet("Z1,ff,1"), b"$Z1,ff,1#e0");
        assert_eq!(unpack(b"+$OK#9a+$"), Some(("OK".into(), 7)));
        assert_eq!(unpack(b"+$OK#9"), None);
        assert_eq!(unpack(b"+"), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(bytes("00f3a4"), Some(vec![0, 0xf3, 0xa4]));
        assert_eq!(bytes("0"), None);
        assert_eq!(thread("T05thread:02;"), Some(1));
        assert_eq!(thread("T05thread:p01.01;"), Some(0));
        assert_eq!(thread("W00"), None);
    }
}
