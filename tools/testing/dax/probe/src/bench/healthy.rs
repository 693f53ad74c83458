// SPDX-License-Identifier: GPL-2.0

//! Page faults, reads and writes of a DAX file whose memory is good, and reads of its device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::str::FromStr;

use anyhow::{bail, ensure, Result};

use super::now;
use crate::fault::PAGE_SIZE;
use crate::map;
use crate::pmem::Pmem;
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
    base: *mut libc::c_void,
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
            base: map::place(PAGES * PAGE_SIZE, false, true)?,
        })
    }

    /// Nanoseconds for `rounds` times all pages.
    pub fn run(&self, kind: Kind, rounds: usize) -> Result<u64> {
        let start = now();
        for _ in 0..rounds {
            match kind {
                Kind::WriteFault => self.fault(true)?,
                Kind::ReadFault => self.fault(false)?,
                Kind::Pread => self.pread()?,
                Kind::Pwrite => self.pwrite()?,
                Kind::Bio => self.bio()?,
            }
        }
        Ok(now() - start)
    }

    /// Maps the file, touches each page, and unmaps it.
    fn fault(&self, write: bool) -> Result<()> {
        self.place(self.file.as_raw_fd(), libc::MAP_SHARED)?;
        let base: *mut u8 = self.base.cast();
        for page in 0..PAGES {
            // SAFETY: inside the mapping, which holds nothing but the file.
            unsafe {
                let byte = base.add(page * PAGE_SIZE);
                if write {
                    byte.write_volatile(page as u8);
                } else {
                    byte.read_volatile();
                }
            }
        }
        // The place stays ours.
        self.place(-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
    }

    fn place(&self, fd: i32, flags: i32) -> Result<()> {
        // SAFETY: takes the place of the reservation or of the last mapping there.
        let at = unsafe {
            libc::mmap(
                self.base,
                PAGES * PAGE_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_FIXED,
                fd,
                0,
            )
        };
        ensure!(at == self.base, "mmap: {}", io::Error::last_os_error());
        Ok(())
    }

    fn pread(&self) -> Result<()> {
        read(&self.file)
    }

    fn bio(&self) -> Result<()> {
        read(&self.device)
    }

    fn pwrite(&self) -> Result<()> {
        let data = [0x5a; PAGE_SIZE];
        for page in 0..PAGES {
            self.file.write_all_at(&data, (page * PAGE_SIZE) as u64)?;
        }
        Ok(())
    }
}

/// What O_DIRECT can read to.
#[repr(align(4096))]
struct Page([u8; PAGE_SIZE]);

fn read(file: &File) -> Result<()> {
    let mut page = Page([0; PAGE_SIZE]);
    for n in 0..PAGES {
        file.read_exact_at(&mut page.0, (n * PAGE_SIZE) as u64)?;
    }
    Ok(())
}
