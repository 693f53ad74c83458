// SPDX-License-Identifier: GPL-2.0

//! Page faults, reads and writes of a DAX file whose memory is good, and reads of its device.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::str::FromStr;

use anyhow::{bail, Result};
use nix::sys::mman::MapFlags;

use super::now;
use crate::area::{Area, Fit, View, WRITE};
use crate::pmem::{Page, Pmem};
use crate::units::{PAGE, PAGE_SIZE};
use crate::xfs::Xfs;

const PAGES: usize = 2048;

#[derive(Clone, Copy)]
pub enum Kind {
    WriteFault,
    ReadFault,
    Pread,
    Pwrite,
    Bio,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "write-fault" => Self::WriteFault,
            "read-fault" => Self::ReadFault,
            "pread" => Self::Pread,
            "pwrite" => Self::Pwrite,
            "bio" => Self::Bio,
            _ => bail!("unknown kind: {text}"),
        })
    }
}

pub struct Healthy {
    file: File,
    /// Past the page cache.
    device: File,
    /// Where the file is mapped: never with huge pages.
    area: Area,
}

impl Healthy {
    pub fn new(xfs: &Xfs) -> Result<Self> {
        let path = xfs.file("healthy", PAGES)?;
        Ok(Self {
            file: OpenOptions::new().read(true).write(true).open(path)?,
            device: OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECT)
                .open(Pmem(0).path())?,
            area: Area::reserve(PAGES, Fit::Split)?,
        })
    }

    /// Nanoseconds for `rounds` times all pages.
    pub fn run(&self, kind: Kind, rounds: usize) -> Result<u64> {
        let start = now();
        for _ in 0..rounds {
            match kind {
                Kind::WriteFault => self.fault(true)?,
                Kind::ReadFault => self.fault(false)?,
                Kind::Pread => read(&self.file)?,
                Kind::Pwrite => self.pwrite()?,
                Kind::Bio => read(&self.device)?,
            }
        }
        Ok(now() - start)
    }

    /// Maps the file, touches each page, and unmaps it.
    fn fault(&self, write: bool) -> Result<()> {
        let view = View {
            file: &self.file,
            first: 0,
            pages: PAGES,
            prot: WRITE,
            flags: MapFlags::MAP_SHARED,
        };
        self.area.put(0, view)?;
        for page in 0..PAGES {
            let byte = self.area.addr(page);
            // SAFETY: inside the mapping, which holds nothing but the file.
            unsafe {
                if write {
                    byte.write_volatile(page as u8);
                } else {
                    byte.read_volatile();
                }
            }
        }
        // The place stays ours.
        self.area.clear()
    }

    fn pwrite(&self) -> Result<()> {
        let data = [0x5a; PAGE_SIZE];
        for page in 0..PAGES as u64 {
            self.file.write_all_at(&data, page * PAGE)?;
        }
        Ok(())
    }
}

fn read(file: &File) -> Result<()> {
    let mut page = Page([0; PAGE_SIZE]);
    for n in 0..PAGES as u64 {
        file.read_exact_at(&mut page.0, n * PAGE)?;
    }
    Ok(())
}
