// SPDX-License-Identifier: GPL-2.0

//! Applications as Debian has them, on files whose memory fails: what each of them sees, who names
//! the file, and how its bytes come back. Documentation/filesystems/dax-recovery.rst tells it to
//! their users.

use crate::scenes::prelude::*;
use tool::{good, tool, Said};

pub mod backup;
pub mod clear_errors;
pub mod daxio;
pub mod fio;
pub mod guest_memory;
pub mod healer;
pub mod pmempool;
pub mod postgres;
pub mod rasdaemon;
pub mod sqlite;
pub mod stress;
mod tool;

/// Whether no mark is left once blocks of deleted files are free on disk. XFS inactivates inodes
/// in the background, so that one sync may come too early.
fn cleared(xfs: &Xfs, marks: impl Fn() -> Result<String>) -> Result<String> {
    until(|| {
        sync_and_settle(xfs)?;
        Ok(marks()? == "none")
    })?;
    marks()
}

/// A page of an application's file that fails by a machine check, and all that was in the file.
struct Victim {
    path: PathBuf,
    page: usize,
    bytes: Vec<u8>,
    bad: Bad,
}

impl Victim {
    /// Page `page` fails. No program has it cached: the file is a DAX file.
    fn hit(path: &Path, page: usize) -> Result<Self> {
        ensure!(
            crate::sys::is_dax(path)?,
            "{} is not a DAX file",
            path.display()
        );
        let bytes = fs::read(path)?;
        let mut log = kmsg::Log::new()?;
        let bad = Bad::hit(path, page)?;
        let victim = Self {
            path: path.into(),
            page,
            bytes,
            bad,
        };
        victim.expect_named(&mut log)?;
        Ok(victim)
    }

    /// The row of the kernel's log, which names the file.
    fn expect_named(&self, log: &mut kmsg::Log) -> Result<()> {
        let (inode, at) = (inode(&self.path)?, self.at());
        let words = format!("inode {inode} lost {PAGE} bytes at {at}");
        let found = until(|| {
            while let Some(line) = log.line()? {
                if line.contains(&words) {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        expect_so("kernel's log", found, "names the file", "does not")
    }

    /// The first byte that is lost.
    fn at(&self) -> u64 {
        self.page as u64 * PAGE
    }

    /// Writes the page again from a file that has it, as `dd` does.
    fn restore_from(&self, backup: &Path) -> Result<()> {
        let mut dd = tool("dd", "coreutils")?;
        dd.arg(format!("if={}", backup.display()));
        dd.arg(format!("of={}", self.path.display()));
        dd.arg(format!("skip={}", self.page));
        dd.arg(format!("seek={}", self.page));
        dd.args(["bs=4096", "count=1", "conv=notrunc,fsync"]);
        good(&mut dd).map(drop)
    }

    /// The rows of a file that is as it was.
    fn expect_restored(&self) -> Result<()> {
        let now = fs::read(&self.path)?;
        let pages = now.chunks(PAGE_SIZE).zip(self.bytes.chunks(PAGE_SIZE));
        let other = pages.into_iter().position(|(now, before)| now != before);
        let got = match other {
            Some(page) => format!("page {page} differs"),
            None if now.len() != self.bytes.len() => format!("{} bytes", now.len()),
            None => "as before".into(),
        };
        expect("restored: bytes", "as before", got)?;
        expect("restored: marks", "none", self.bad.marks()?)
    }

    /// The rows of a page that is as it was, whatever became of the others.
    fn expect_page_restored(&self) -> Result<()> {
        let lost = self.page * PAGE_SIZE..(self.page + 1) * PAGE_SIZE;
        let same = fs::read(&self.path)?[lost.clone()] == self.bytes[lost];
        expect_so("restored: page", same, "as before", "other")?;
        expect("restored: marks", "none", self.bad.marks()?)
    }
}
