// SPDX-License-Identifier: GPL-2.0

//! QEMU's stub for a debugger (the GDB remote serial protocol): enough to stop a guest
//! where it gets to an instruction.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

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
}
