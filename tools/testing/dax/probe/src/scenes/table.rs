// SPDX-License-Identifier: GPL-2.0

//! The driver's list of bad blocks, which has room for 512 ranges: what is read of it,
//! what leaves it, and who is told that it has changed.

use super::bad::mend;
use crate::scenes::prelude::*;

/// What sysfs gives at a time.
const MOST: usize = PAGE_SIZE - 1;
/// In milliseconds.
const AT_ONCE: i32 = 2000;

scene!(LIST_SHOWN = 165 "list-shown" shown: "the list of bad blocks, full, read from sysfs";
    differs("read", "other text"));
/// More ranges than fit in what sysfs gives: it ends with a whole one.
fn shown(_: u64) -> Result<()> {
    /// Far enough that each takes ten bytes or more.
    const AT: u64 = 900 << 20;
    let device = Pmem(0);
    device.overwrite_bad()?;
    let ranges: Vec<_> = (0..MAX_BADBLOCKS as u64)
        .map(|n| AT + 2 * n * PAGE)
        .collect();
    for &at in &ranges {
        device.list_bad(at)?;
    }
    let path = "/sys/block/pmem0/badblocks";
    for reader in ["read", "read again"] {
        let text = fs::read_to_string(path).context(path)?;
        let count = text.lines().count();
        let lines: Vec<_> = (ranges.iter())
            .take(count)
            .map(|at| format!("{} {}\n", at / SECTOR, PAGE / SECTOR))
            .collect();
        let good = text == lines.concat() && text.len() <= MOST;
        expect_so(reader, good, "whole ranges", "other text")?;
        let longest = lines.last().map_or(0, String::len);
        let room = MOST.saturating_sub(text.len()) < longest;
        expect_so("as many as fit", room, "yes", "no")?;
        note(&format!("{count} ranges in {} bytes", text.len()))?;
    }
    for &at in &ranges {
        device.overwrite(at)?;
    }
    expect("bad sectors", "none", device.badblocks()?)
}

scene!(LIST_SPLIT = 166 "list-split" split:
    "the list of bad blocks, full, and a page in the middle of a range written";
    both, differs("pread", "EIO, EIO, EIO"), harmless);
/// 512 ranges of three pages, and the middle one of one is written: there is no room for
/// what is left on either side. A write that says that it went well can be read back.
fn split(_: u64) -> Result<()> {
    const EACH: usize = 4;
    const PAGES: usize = EACH * MAX_BADBLOCKS;
    let (_, path) = Xfs::with_file("file", PAGES)?;
    let file = open(&path, 0)?;
    let first = ioctl::physical(&file, 0)?;
    let last = (PAGES as u64 - 1) * PAGE;
    ensure!(
        ioctl::physical(&file, last)? == first + last,
        "the file is in pieces"
    );
    for n in 0..MAX_BADBLOCKS as u64 {
        Pmem(0).list(first + n * EACH as u64 * PAGE, 3 * PAGE)?;
    }
    let read = |page: usize| read_page(&file, page as u64 * PAGE);
    let around = |page: usize| [page - 1, page, page + 1].map(read).join(", ");

    // Through the file, and through its device.
    let middle = 5 * EACH + 1;
    expect("before", "EIO, EIO, EIO", around(middle))?;
    let written = outcome(fill(&file, middle, middle + 1).map(|()| 0).map_err(to_io));
    expect("pwrite, middle page", "0", written)?;
    expect("pread", "EIO, ok, EIO", around(middle))?;
    let middle = 9 * EACH + 1;
    let written = Pmem(0).overwrite(first + middle as u64 * PAGE);
    let written = outcome(written.map(|()| 0).map_err(to_io));
    expect("device, middle page", "0", written)?;
    expect("pread", "EIO, ok, EIO", around(middle))?;
    // At an end there is always room.
    let front = 13 * EACH;
    fill(&file, front, front + 1)?;
    expect("pwrite, first page", "ok, EIO, EIO", around(front + 1))?;

    let bad = (0..PAGES).filter(|&page| read(page) == "EIO").count();
    let all = format!("{} EIO", 3 * MAX_BADBLOCKS - 3);
    expect("all, pread", &all, format!("{bad} EIO"))?;
    fill(&file, 0, PAGES)?;
    expect("all written", INTACT, xfs::intact(&path, PAGES))
}

fn to_io(error: anyhow::Error) -> io::Error {
    error.downcast().unwrap_or_else(io::Error::other)
}

scene!(LIST_POLL = 167 "list-poll" poll: "who polls the list of bad blocks is woken";
    both, differs("machine check", "sleeps"));
/// poll() wakes when a machine check adds to the list, and when a write takes from it.
fn poll(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&path, 1)?;
    let list = Watched::new("/sys/block/pmem0/badblocks")?;

    expect("nothing new", "sleeps", list.changes(100)?)?;
    let report = bad.report()?;
    ensure!(report == "Recovered", "machine check: {report}");
    expect("machine check", "wakes", list.changes(AT_ONCE)?)?;
    expect("nothing new", "sleeps", list.changes(100)?)?;
    mend(&path, 1, 2)?;
    expect("written", "wakes", list.changes(AT_ONCE)?)
}

/// A file of sysfs that has been read.
struct Watched(File);

impl Watched {
    fn new(path: &str) -> Result<Self> {
        let watched = Self(File::open(path).context(path.to_string())?);
        watched.read()?;
        Ok(watched)
    }

    fn read(&self) -> io::Result<usize> {
        self.0.read_at(&mut [0; PAGE_SIZE], 0)
    }

    /// Whether it has changed since it was read last, or does so within some
    /// milliseconds. Reads it.
    fn changes(&self, time: i32) -> Result<&'static str> {
        let mut fd = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLPRI,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        let ready = unsafe { libc::poll(&mut fd, 1, time) };
        ensure!(ready >= 0, "poll: {}", io::Error::last_os_error());
        self.read()?;
        Ok(if ready > 0 { "wakes" } else { "sleeps" })
    }
}
