// SPDX-License-Identifier: GPL-2.0

//! What the kernel's log says from some moment on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

pub struct Log(File);

impl Log {
    /// Begins now.
    pub fn new() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The next record, if there is one.
    pub fn line(&mut self) -> Result<Option<String>> {
        let mut record = [0; 8192];
        loop {
            return match self.0.read(&mut record) {
                Ok(n) => Ok(Some(String::from_utf8_lossy(&record[..n]).into())),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
                // The oldest records have been overwritten: go on with the next.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => continue,
                Err(e) => Err(e).context("/dev/kmsg"),
            };
        }
    }

    /// How many records since the last look hold `text`.
    pub fn count(&mut self, text: &str) -> Result<usize> {
        let mut count = 0;
        while let Some(line) = self.line()? {
            count += usize::from(line.contains(text));
        }
        Ok(count)
    }
}
