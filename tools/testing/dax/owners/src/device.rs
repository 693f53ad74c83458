// SPDX-License-Identifier: GPL-2.0

//! Block devices, as sysfs describes them.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{bail, ensure, Context, Result};

use crate::range::{bytes, Range, SECTOR};

/// Major and minor number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Number {
    pub major: u32,
    pub minor: u32,
}

impl Number {
    /// Of a dev_t as the C library has it.
    pub fn of(dev: u64) -> Self {
        Self {
            major: libc::major(dev),
            minor: libc::minor(dev),
        }
    }

    /// As the kernel passes it in 32 bits (new_encode_dev()).
    pub fn encoded(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }

    /// From two numbers of a radix with a colon between them.
    pub fn parse(text: &str, radix: u32) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        Some(Self {
            major: u32::from_str_radix(major, radix).ok()?,
            minor: u32::from_str_radix(minor, radix).ok()?,
        })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub number: Number,
    /// Its folder in sysfs.
    dir: PathBuf,
}

impl Device {
    /// By its path, or by the name that the kernel's log has for it.
    pub fn named(text: &str) -> Result<Self> {
        let path = Path::new("/dev").join(text);
        let metadata = fs::metadata(&path).with_context(|| path.display().to_string())?;
        let is_block = metadata.file_type().is_block_device();
        ensure!(is_block, "{} is no block device", path.display());
        Self::of(Number::of(metadata.rdev()))
    }

    pub fn of(number: Number) -> Result<Self> {
        let link = format!("/sys/dev/block/{number}");
        let dir = fs::canonicalize(&link).with_context(|| link)?;
        Ok(Self { number, dir })
    }

    fn at(dir: &Path) -> Result<Self> {
        let text = fs::read_to_string(dir.join("dev"))?;
        let number = Number::parse(text.trim(), 10);
        Self::of(number.with_context(|| format!("{}: {text}", dir.display()))?)
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().into())
    }

    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into()
    }

    /// What a user calls it.
    pub fn path(&self) -> String {
        match self.read("dm/name") {
            Ok(name) => format!("/dev/mapper/{name}"),
            Err(_) => format!("/dev/{}", self.name().replace('!', "/")),
        }
    }

    pub fn is_mapped(&self) -> bool {
        self.dir.join("dm").exists()
    }

    pub fn size(&self) -> Result<u64> {
        Ok(u64::from_str(&self.read("size")?)? * SECTOR)
    }

    /// The device of which it is a partition, and where there it begins.
    pub fn whole(&self) -> Result<(Self, u64)> {
        if !self.dir.join("partition").exists() {
            return Ok((self.clone(), 0));
        }
        let start = u64::from_str(&self.read("start")?)? * SECTOR;
        let parent = self.dir.parent().context("a partition of nothing")?;
        Ok((Self::at(parent)?, start))
    }

    /// Its partitions, and which bytes they have.
    pub fn partitions(&self) -> Result<Vec<(Self, Range)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let dir = entry?.path();
            if !dir.join("partition").exists() {
                continue;
            }
            let part = Self::at(&dir)?;
            let (_, start) = part.whole()?;
            let range = Range::sized(start, part.size()?);
            all.push((part, range));
        }
        all.sort_by_key(|(_, range)| *range);
        Ok(all)
    }

    /// The devices that are made of it.
    pub fn holders(&self) -> Result<Vec<Self>> {
        let dir = self.dir.join("holders");
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(dir)?.map(|entry| Self::at(&entry?.path()));
        entries.collect()
    }

    /// The bytes that its driver knows to be bad.
    pub fn badblocks(&self) -> Result<Vec<Range>> {
        let (whole, _) = self.whole()?;
        ensure!(
            whole == *self,
            "{} is a partition: only {} has a list of bad blocks",
            self.path(),
            whole.path()
        );
        badblocks(&self.read("badblocks")?)
    }

    /// The physical address of its first byte, if it is pmem and its data lie there as they are.
    pub fn address(&self) -> Option<u64> {
        let (whole, start) = self.whole().ok()?;
        if !whole.name().starts_with("pmem") {
            return None;
        }
        // Of a pfn device it is where the data begin.
        let base = bytes(&whole.read("device/resource").ok()?).ok()?;
        (base != 0 && base != u64::MAX).then_some(base + start)
    }

    /// All pmem devices.
    pub fn pmem() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir("/sys/block").context("/sys/block")? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("pmem") {
                all.push(Self::at(&entry.path())?);
            }
        }
        all.sort_by_key(Self::name);
        Ok(all)
    }

    /// An error for bytes that it does not have.
    pub fn ensure_has(&self, range: Range) -> Result<()> {
        let (path, size) = (self.path(), self.size()?);
        if range.end > size {
            bail!(
                "byte {} is beyond the end of {path}, which has {size}",
                range.end - 1
            );
        }
        Ok(())
    }
}

/// Lines of a first sector and a number of sectors.
fn badblocks(text: &str) -> Result<Vec<Range>> {
    let line = |line: &str| -> Option<Range> {
        let (first, count) = line.trim().split_once(' ')?;
        let first = u64::from_str(first).ok()?.checked_mul(SECTOR)?;
        let length = u64::from_str(count).ok()?.checked_mul(SECTOR)?;
        Some(Range::new(first, first.checked_add(length)?))
    };
    let parsed = |text: &str| line(text).with_context(|| format!("badblocks: {text}"));
    text.lines().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers() {
        let number = Number::parse("259:300", 10).unwrap();
        assert_eq!(number.encoded(), 0x2c | (259 << 8) | (1 << 20));
        assert_eq!(Number::parse("103:12c", 16), Some(number));
        assert_eq!(Number::parse("259", 10), None);
        assert_eq!(number.to_string(), "259:300");
    }

    #[test]
    fn bad_lists() {
        assert_eq!(badblocks("").unwrap(), []);
        for bad in ["8", "a 8", "8 8 8", "18446744073709551615 1"] {
            assert!(badblocks(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn lists(sectors in prop::collection::vec((0..1u64 << 40, 1..99u64), 0..9)) {
            let lines = sectors.iter().map(|(first, count)| format!("{first} {count}\n"));
            let bytes = |(first, count): &(u64, u64)| Range::sized(first * 512, count * 512);
            let ranges: Vec<_> = sectors.iter().map(bytes).collect();
            prop_assert_eq!(badblocks(&lines.collect::<String>()).unwrap(), ranges);
        }
    }
}
