// SPDX-License-Identifier: GPL-2.0

//! The pmem devices: where they lie, and how to poison a page of theirs.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::num::ParseIntError;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{ensure, Context, Result};

use crate::calls::said;
use crate::kernel::error_name;
use crate::units::{PAGE, PAGE_SIZE};

pub use crate::units::SECTOR;

pub const CORRUPT_PFN: &str = "/sys/kernel/debug/hwpoison/corrupt-pfn";
/// The number of ranges for which the driver's list has room.
pub const MAX_BADBLOCKS: usize = 512;
pub const DRIVER: &str = "/sys/bus/nd/drivers/nd_pmem";

/// The word on a guest's kernel command line with its name, from qemu.rs of the lab.
const GUEST: &str = "lab.name=";

/// Only in a guest of the lab are the pmem devices ours to format.
pub fn in_guest() -> Result<()> {
    let words = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    let named = words.split_whitespace().any(|word| word.starts_with(GUEST));
    ensure!(
        named,
        "this is no guest of the lab, and the scenes would format /dev/pmem0: make shell starts one"
    );
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pmem(pub u32);

impl Pmem {
    pub fn path(self) -> String {
        format!("/dev/pmem{}", self.0)
    }

    pub fn size(self) -> Result<u64> {
        let path = format!("/sys/block/pmem{}/size", self.0);
        let sectors: u64 = fs::read_to_string(&path).context(path)?.trim().parse()?;
        Ok(sectors * SECTOR)
    }

    /// Name on the nd bus of what the driver is bound to: a namespace, or the pfn
    /// device that claims one whose first blocks hold a pfn superblock (fsdax).
    pub fn namespace(self) -> Result<String> {
        let link = format!("/sys/block/pmem{}/device", self.0);
        let target = fs::read_link(&link).context(link)?;
        let name = target.file_name().context("no namespace")?;
        Ok(name.to_string_lossy().into())
    }

    /// The physical address of byte `offset` of the device. A pfn device tells where
    /// data starts, behind the superblock.
    pub fn address(self, offset: u64) -> Result<u64> {
        let path = format!("/sys/block/pmem{}/device/resource", self.0);
        let text = fs::read_to_string(&path).context(path)?;
        let base = parse_address(text.trim())?;
        ensure!(base != 0 && base != u64::MAX, "no physical address: {text}");
        Ok(base + offset)
    }

    /// The page frame of byte `offset` of the device.
    pub fn pfn(self, offset: u64) -> Result<u64> {
        Ok(self.address(offset)? / PAGE)
    }

    /// The bad blocks that the driver knows of: "none", or ranges of sectors, each
    /// FIRST+LENGTH.
    pub fn badblocks(self) -> Result<String> {
        bad_list(&format!("/sys/block/pmem{}/badblocks", self.0))
    }

    /// The bytes at which the bad sectors begin.
    pub fn bad_sectors(self) -> Result<BTreeSet<u64>> {
        let list = self.badblocks()?;
        let mut sectors = BTreeSet::new();
        for range in list.split(' ').filter(|range| *range != "none") {
            let (first, len) = range.split_once('+').context("no range")?;
            let (first, len): (u64, u64) = (first.parse()?, len.parse()?);
            sectors.extend((first..first + len).map(|n| n * SECTOR));
        }
        Ok(sectors)
    }

    /// The bytes at which the pages begin that have bad sectors.
    pub fn bad_pages(self) -> Result<BTreeSet<u64>> {
        let sectors = self.bad_sectors()?.into_iter();
        Ok(sectors.map(|at| at / PAGE * PAGE).collect())
    }

    /// Has the driver list the page at byte `at` as bad, without a machine check.
    pub fn list_bad(self, at: u64) -> Result<()> {
        self.list(at, PAGE)
    }

    /// Has it list `len` bytes from byte `at` on.
    pub fn list(self, at: u64, len: u64) -> Result<()> {
        let path = format!("/sys/block/pmem{}/badblocks", self.0);
        let range = format!("{} {}\n", at / SECTOR, len / SECTOR);
        fs::write(&path, &range).with_context(|| format!("{range:?} > {path}"))
    }

    /// The block device, past the page cache.
    pub fn open(self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_DIRECT);
        options.open(self.path()).with_context(|| self.path())
    }

    /// The same, while nothing in the kernel has it open for itself.
    pub fn open_alone(self) -> Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_EXCL);
        options.open(self.path()).with_context(|| self.path())
    }

    /// Writes zeros to the page at byte `at`, and with that takes an error away.
    pub fn overwrite(self, at: u64) -> Result<()> {
        self.write(at, 0)
    }

    /// Writes `byte` all over the page at byte `at`.
    pub fn write(self, at: u64, byte: u8) -> Result<()> {
        Ok(self.open()?.write_all_at(&Page([byte; PAGE_SIZE]).0, at)?)
    }

    /// Writes zeros to the sector at byte `at`, and to no more.
    pub fn write_sector(self, at: u64) -> Result<()> {
        let page = Page([0; PAGE_SIZE]);
        Ok(self.open()?.write_all_at(&page.0[..SECTOR as usize], at)?)
    }

    /// What the page at byte `at` holds: "zeros", "other data", or the error's name.
    pub fn read(self, at: u64) -> Result<String> {
        let mut page = Page([0xff; PAGE_SIZE]);
        let read = self.open()?.read_exact_at(&mut page.0, at);
        Ok(match read {
            Ok(()) if page.0 == [0; PAGE_SIZE] => "zeros".into(),
            Ok(()) => "other data".into(),
            Err(e) => error_name(&e),
        })
    }

    /// [`overwrite`](Self::overwrite)s all pages in which the driver knows of bad
    /// sectors.
    pub fn overwrite_bad(self) -> Result<()> {
        // sysfs shows no more than a page of them at a time.
        for _ in 0..MAX_BADBLOCKS {
            let pages = self.bad_pages()?;
            if pages.is_empty() {
                break;
            }
            for at in pages {
                self.overwrite(at)?;
            }
        }
        Ok(())
    }

    /// [`overwrite`](Self::overwrite)s all pages that can't be read, whether or not the driver
    /// lists them.
    pub fn overwrite_unreadable(self) -> Result<()> {
        const AT_ONCE: usize = 256;

        let device = self.open()?;
        let mut pages = Page::zeroes(AT_ONCE);
        let bytes = Page::bytes_mut(&mut pages);
        let mut at = 0;
        loop {
            let (size, pages) = match device.read_at(bytes, at) {
                Ok(0) => return Ok(()),
                Ok(read) => (read, 0),
                Err(_) => (bytes.len(), AT_ONCE),
            };
            for page in 0..pages as u64 {
                let at = at + page * PAGE;
                if self.read(at)? == "EIO" {
                    self.overwrite(at)?;
                }
            }
            at += size as u64;
        }
    }
}

/// A list of bad sectors in sysfs: "none", or ranges, each FIRST+LENGTH.
pub fn bad_list(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| path.to_string())?;
    let ranges: Vec<_> = text.lines().map(|line| line.replace(' ', "+")).collect();
    if ranges.is_empty() {
        return Ok("none".into());
    }
    Ok(ranges.join(" "))
}

/// Aligned as O_DIRECT asks for.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Page(pub [u8; PAGE_SIZE]);

impl Page {
    pub fn zeroes(count: usize) -> Vec<Self> {
        vec![Self([0; PAGE_SIZE]); count]
    }

    pub fn bytes_mut(pages: &mut [Self]) -> &mut [u8] {
        let len = size_of_val(pages);
        // SAFETY: pages follow one another, and have nothing but bytes.
        unsafe { std::slice::from_raw_parts_mut(pages.as_mut_ptr().cast(), len) }
    }
}

/// Decimal, or hexadecimal with 0x.
pub fn parse_address(text: &str) -> Result<u64, ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

/// Reports an error to the kernel that no load has consumed (hwpoison-inject); the
/// name of the error it returns.
pub fn corrupt(pfn: u64) -> Result<String> {
    ensure!(
        Path::new(CORRUPT_PFN).exists(),
        "no {CORRUPT_PFN} (CONFIG_HWPOISON_INJECT)"
    );
    let mut file = fs::OpenOptions::new().write(true).open(CORRUPT_PFN)?;
    Ok(said(file.write_all(pfn.to_string().as_bytes())))
}
