// SPDX-License-Identifier: GPL-2.0

//! The pmem devices: where they lie, and how to poison a page of theirs.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use crate::fault::PAGE_SIZE;
use crate::kernel::errno_name;

const CORRUPT_PFN: &str = "/sys/kernel/debug/hwpoison/corrupt-pfn";
pub const DRIVER: &str = "/sys/bus/nd/drivers/nd_pmem";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pmem(pub u32);

impl Pmem {
    pub fn path(self) -> String {
        format!("/dev/pmem{}", self.0)
    }

    /// Name of the namespace on the nd bus.
    pub fn namespace(self) -> Result<String> {
        let link = format!("/sys/block/pmem{}/device", self.0);
        let target = fs::read_link(&link).context(link)?;
        let name = target.file_name().context("no namespace")?;
        Ok(name.to_string_lossy().into())
    }

    /// The page frame of byte `offset` of the device. Holds for a namespace
    /// without a pfn superblock, where data starts at the first byte.
    pub fn pfn(self, offset: u64) -> Result<u64> {
        let path = format!("/sys/block/pmem{}/device/resource", self.0);
        let text = fs::read_to_string(&path).context(path)?;
        let base = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16)?;
        ensure!(base != 0 && base != u64::MAX, "no physical address: {text}");
        Ok((base + offset) / PAGE_SIZE as u64)
    }
}

/// Reports an error to the kernel that nobody has consumed (hwpoison-inject); the
/// name of the error it returns.
pub fn corrupt(pfn: u64) -> Result<String> {
    ensure!(
        Path::new(CORRUPT_PFN).exists(),
        "no {CORRUPT_PFN} (CONFIG_HWPOISON_INJECT)"
    );
    let mut file = fs::OpenOptions::new().write(true).open(CORRUPT_PFN)?;
    let errno = match file.write_all(pfn.to_string().as_bytes()) {
        Ok(()) => 0,
        Err(e) => e.raw_os_error().unwrap_or(-1),
    };
    Ok(errno_name(errno))
}
