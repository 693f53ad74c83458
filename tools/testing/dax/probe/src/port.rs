// SPDX-License-Identifier: GPL-2.0

//! A port of this guest at whose other end dax-lab has put something, line by line.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};

use crate::talk::is_ready;

const PORTS: &str = "/sys/class/virtio-ports";

pub struct Port {
    name: &'static str,
    file: File,
    /// Read, but no whole line yet.
    rest: Vec<u8>,
}

impl Port {
    /// Opens the port that dax-lab has given this name; one process at a time may have it.
    pub fn open(name: &'static str) -> Result<Self> {
        let path = find(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .with_context(|| format!("port {name}, {}", path.display()))?;
        Ok(Self {
            name,
            file,
            rest: Vec::new(),
        })
    }

    pub fn send(&mut self, line: &str) -> Result<()> {
        let sent = self.file.write_all(format!("{line}\n").as_bytes());
        sent.with_context(|| format!("port {}", self.name))
    }

    pub fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(
                is_ready(&self.file, left),
                "port {}: no answer in time",
                self.name
            );
            let mut chunk = [0; 4096];
            match self.file.read(&mut chunk) {
                Ok(0) => bail!("nobody is at the other end of port {}", self.name),
                Ok(n) => self.rest.extend(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => (),
                Err(e) => return Err(e).with_context(|| format!("port {}", self.name)),
            }
        }
    }
}

/// The port's device.
fn find(wanted: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(PORTS).into_iter().flatten().flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == wanted {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    bail!("no port named {wanted}: only guests that dax-lab started have one")
}
