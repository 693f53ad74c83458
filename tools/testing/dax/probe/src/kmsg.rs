// SPDX-License-Identifier: GPL-2.0

//! What the kernel's log says from some moment on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};

use crate::trouble;

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

    /// The records since the last look that tell of a fault of the kernel's own.
    pub fn trouble(&mut self) -> Result<Vec<String>> {
        self.told(&[])
    }

    /// These, and those that have any of some more words.
    pub fn told(&mut self, more: &[&str]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        while let Some(line) = self.line()? {
            if trouble::WORDS
                .iter()
                .chain(more)
                .any(|word| line.contains(word))
            {
                // Behind its level, number and time; before what it is about.
                let text = line.split_once(';').map_or(line.as_str(), |(_, text)| text);
                found.extend(text.lines().next().map(String::from));
            }
        }
        Ok(found)
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
