// SPDX-License-Identifier: GPL-2.0

//! The answer, for a reader and as JSON. dax-owners.8 describes the latter.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::processes::Process;
use crate::range::Range;

#[derive(Serialize)]
pub struct Report {
    pub ranges: Vec<Asked>,
}

/// Bytes of a device.
#[derive(Serialize)]
pub struct Asked {
    pub device: String,
    #[serde(flatten)]
    pub bytes: Bytes,
    /// Physical, of the first.
    pub address: Option<u64>,
    pub filesystems: Vec<Answer>,
    /// What no mounted filesystem has.
    pub unclaimed: Vec<Bytes>,
    /// What is over the device, but was not looked through.
    pub not_followed: Vec<String>,
}

/// What a filesystem says of those that it has.
#[derive(Serialize)]
pub struct Answer {
    #[serde(rename = "type")]
    pub kind: String,
    pub mount: String,
    pub device: String,
    pub role: &'static str,
    #[serde(flatten)]
    pub bytes: Bytes,
    pub extents: Vec<Extent>,
}

#[derive(Serialize)]
pub struct Extent {
    #[serde(flatten)]
    pub bytes: Bytes,
    #[serde(flatten)]
    pub owner: Owner,
}

#[derive(Serialize)]
#[serde(tag = "owner", rename_all = "lowercase")]
pub enum Owner {
    Inode {
        inode: u64,
        holds: &'static str,
        file_offset: Option<u64>,
        unwritten: bool,
        shared: bool,
        paths: Vec<String>,
        processes: Vec<Process>,
    },
    Metadata {
        holds: &'static str,
    },
    Free,
    Unknown,
}

#[derive(Clone, Copy, Serialize)]
pub struct Bytes {
    pub offset: u64,
    pub length: u64,
}

impl From<Range> for Bytes {
    fn from(range: Range) -> Self {
        Self {
            offset: range.start,
            length: range.len(),
        }
    }
}

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plural = if self.length == 1 { "" } else { "s" };
        write!(f, "{} byte{plural} at {}", self.length, self.offset)
    }
}

/// A line for each fact.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.ranges.iter().try_for_each(|asked| asked.fmt(f))
    }
}

impl Display for Asked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.bytes)?;
        if let Some(address) = self.address {
            write!(f, ", physical address {address:#x}")?;
        }
        writeln!(f)?;
        self.filesystems
            .iter()
            .try_for_each(|answer| answer.fmt(f))?;
        for bytes in &self.unclaimed {
            writeln!(f, "  no mounted filesystem: {bytes}")?;
        }
        for what in &self.not_followed {
            writeln!(f, "  not looked through: {what}")?;
        }
        Ok(())
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, mount, device) = (&self.kind, &self.mount, &self.device);
        write!(f, "  {kind} on {mount}")?;
        if self.role != "data" {
            write!(f, ", {} device", self.role)?;
        }
        writeln!(f, ": {device}: {}", self.bytes)?;
        self.extents.iter().try_for_each(|extent| extent.fmt(f))
    }
}

impl Display for Extent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes;
        match &self.owner {
            Owner::Free => writeln!(f, "    free: {bytes}"),
            Owner::Unknown => writeln!(f, "    of no file that was found: {bytes}"),
            Owner::Metadata { holds } => writeln!(f, "    metadata, {holds}: {bytes}"),
            Owner::Inode {
                inode,
                holds,
                file_offset,
                unwritten,
                shared,
                paths,
                processes,
            } => {
                write!(f, "    inode {inode}, {holds}")?;
                if let Some(offset) = *file_offset {
                    let length = bytes.length;
                    write!(f, ", {}", Bytes { offset, length })?;
                }
                let unwritten = if *unwritten { ", unwritten" } else { "" };
                let shared = if *shared { ", shared" } else { "" };
                writeln!(f, "{unwritten}{shared}: {bytes} of the device")?;
                for path in paths {
                    writeln!(f, "      path: {path}")?;
                }
                if paths.is_empty() {
                    writeln!(
                        f,
                        "      no path: deleted, or not below the mount, or internal"
                    )?;
                }
                processes.iter().try_for_each(|process| process.fmt(f))
            }
        }
    }
}

impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (pid, comm, address) = (self.pid, &self.comm, self.address);
        writeln!(
            f,
            "      process {pid} ({comm}): {} bytes at {address:#x}",
            self.length
        )
    }
}
