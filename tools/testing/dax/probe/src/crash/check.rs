// SPDX-License-Identifier: GPL-2.0

//! What is left after a crash, and what must be.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};

use super::journal::{Journal, Step, WORKERS};
use super::model::{self, Content, Files, Page};
use super::{directory, patience, say, work, PAUSE};
use crate::calls;
use crate::ioctl;
use crate::kernel::until;
use crate::kmsg;
use crate::pmem::Pmem;
use crate::units::{PAGE, PAGE_SIZE, SECTOR};
use crate::worker::{count, settle};
use crate::xfs::{self, Xfs};

/// Whether the filesystem is as it must be. Says what is not.
pub fn run(run: u64, harm: bool) -> Result<bool> {
    say("mounting");
    // dax-lab may stop this guest here, for which it needs a moment.
    sleep(Duration::from_millis(100));
    let xfs = Xfs::existing()?;
    let overwritten = recover(&xfs)?;
    settle(patience(), PAUSE)?;
    let look = Look::new(&xfs, run, patience())?;
    for what in &look.found {
        say(&format!("bad: {what}"));
    }
    let mut good = look.found.is_empty();
    let log = match overwritten {
        0 => String::new(),
        n => format!(", {n} blocks overwritten for log recovery"),
    };
    say(&format!("checked {look}{log}"));
    if harm && good {
        return harmed(xfs, run, &look);
    }

    // The space of what was lost can be had again.
    for path in &look.lost {
        fs::remove_file(path)?;
    }
    let root = xfs.root()?;
    calls::sync_filesystem(&root)?;
    for what in free_and_marked(&root, patience())? {
        say(&format!("bad: when what was lost is removed: {what}"));
        good = false;
    }
    drop(root);
    let end = xfs.end();
    if end != "umount, xfs_repair clean" {
        say(&format!("bad: {end}"));
        good = false;
    }
    Ok(good)
}

/// Mounts, as README says under Limits: a bad block that log recovery can't read is metadata that
/// the log has, and is overwritten. Returns how many were.
fn recover(xfs: &Xfs) -> Result<usize> {
    let mut overwritten = 0;
    let mut log = kmsg::Log::new()?;
    while let Err(e) = xfs.mount() {
        let said = log.told(&["metadata I/O error"])?.join("; ");
        let daddr = said.split_once("daddr 0x").and_then(|(_, rest)| {
            let digits = rest.split(' ').next()?;
            u64::from_str_radix(digits, 16).ok()
        });
        let at = daddr.map(|daddr| daddr * SECTOR / PAGE * PAGE);
        let bad = Pmem(0).bad_pages()?;
        let Some(at) = at.filter(|at| said.contains("xlog_recover") && bad.contains(at)) else {
            return Err(e.context(said));
        };
        Pmem(0).overwrite(at)?;
        overwritten += 1;
    }
    Ok(overwritten)
}

/// Whether each way of doing harm is noticed.
fn harmed(xfs: Xfs, run: u64, look: &Look) -> Result<bool> {
    let root = xfs.root()?;
    // What is allocated comes from its start.
    let free = ioctl::owned_by(&root, ioctl::FMR_OWN_FREE)?;
    let free = free.physical + free.length - PAGE;
    let inodes = ioctl::owned_by(&root, ioctl::XFS_FMR_OWN_INODES)?.physical;
    drop(root);
    let mut expected = vec![
        "unknown: nobody's".into(),
        format!("the block at {free:#x} is free and marked"),
    ];
    fs::write(xfs.path(&directory(0)).join("unknown"), "x")?;
    Pmem(0).list_bad(free)?;
    let harms: [fn(&Path) -> Result<String>; 4] =
        [overwrite_with_zeros, overwrite, remove, make_longer];
    for (file, harm) in look.certain.iter().zip(harms) {
        expected.push(format!("{}: {}", file.display(), harm(file)?));
    }

    let found = Look::new(&xfs, run, Duration::from_secs(1))?.found;
    say(&format!("harm of {} kinds", expected.len() + 1));
    expected.retain(|what| !found.iter().any(|line| line.contains(what)));
    xfs::umount()?;
    Pmem(0).overwrite(free)?;
    Pmem(0).write(inodes, 0xa5)?;
    if xfs.check().is_ok() {
        expected.push("xfs_repair".into());
    }
    if look.certain.is_empty() {
        expected.push("there is no file".into());
    }
    for what in &expected {
        say(&format!("bad: not noticed: {what}"));
    }
    Ok(expected.is_empty())
}

/// These return what must be found then.
fn overwrite_with_zeros(file: &Path) -> Result<String> {
    calls::open(file, 0)?.write_all_at(&[0; PAGE_SIZE], 0)?;
    Ok("page 0 holds zeros".into())
}

fn overwrite(file: &Path) -> Result<String> {
    let stray = Content::Data { tag: 1, page: 0 };
    calls::open(file, 0)?.write_all_at(&stray.bytes(), 0)?;
    Ok(format!("page 0 holds {stray:x?}"))
}

fn remove(file: &Path) -> Result<String> {
    fs::remove_file(file)?;
    Ok("gone".into())
}

fn make_longer(file: &Path) -> Result<String> {
    let end = fs::metadata(file)?.len();
    calls::open(file, 0)?.write_all_at(&[1; PAGE_SIZE], end)?;
    // Its length, or what is there if it may be as long.
    Ok(String::new())
}

/// What was seen of all files.
#[derive(Default)]
struct Look {
    /// What must not be.
    found: Vec<String>,
    /// Files with pages that can't be read.
    lost: Vec<PathBuf>,
    /// Files whose first page can only be one thing.
    certain: Vec<PathBuf>,
    steps: usize,
    files: usize,
    pages: usize,
    refused: usize,
    /// Of all writes.
    tags: Vec<u64>,
}

impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (steps, files, pages) = (self.steps, self.files, self.pages);
        let refused = self.refused;
        write!(
            f,
            "{steps} steps, {files} files, {pages} pages, {refused} of them EIO"
        )
    }
}

impl Look {
    fn new(xfs: &Xfs, run: u64, patience: Duration) -> Result<Self> {
        let mut look = Self::default();
        let marked = Pmem(0).bad_pages()?;
        let journals = (0..WORKERS).map(|worker| Journal::all(run, worker));
        let journals = journals.collect::<Result<Vec<_>>>()?;
        for step in journals.iter().flatten() {
            if let Step::Write(_, tag) = step {
                look.tags.push(*tag);
            }
        }
        for (worker, journal) in (0..).zip(journals) {
            look.steps += journal.len();
            let dir = xfs.path(&directory(worker));
            look.directory(&dir, Files::after(&journal), &marked)?;
        }
        if look.steps == 0 {
            look.found.push("the journal is empty".into());
        }
        look.found.extend(free_and_marked(&xfs.root()?, patience)?);
        Ok(look)
    }

    fn directory(&mut self, dir: &Path, files: Files, marked: &BTreeSet<u64>) -> Result<()> {
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            present.insert(entry?.file_name());
        }
        for (number, file) in &files.0 {
            let path = dir.join(work::name(*number));
            let is_there = path.file_name().is_some_and(|name| present.remove(name));
            match is_there {
                true if !file.may_exist() => self.bad(&path, "is there again"),
                true => self.file(&path, file, marked)?,
                false if file.must_exist() => self.bad(&path, "gone"),
                false => (),
            }
        }
        for name in present {
            self.bad(&dir.join(name), "nobody's");
        }
        Ok(())
    }

    fn bad(&mut self, path: &Path, what: &str) {
        self.found.push(format!("{}: {what}", path.display()));
    }

    fn file(&mut self, path: &Path, model: &model::File, marked: &BTreeSet<u64>) -> Result<()> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let there = len.div_ceil(PAGE) as usize;
        let (pages, rest) = model.pages.split_at(there.min(model.pages.len()));
        if len % PAGE != 0
            || there > model.pages.len()
            || !pages.iter().all(Page::may_be_present)
            || !rest.iter().all(Page::may_be_absent)
        {
            self.bad(path, &format!("{there} pages, {len} bytes"));
        }
        if model.must_exist() && pages.first().is_some_and(Page::is_certain) {
            self.certain.push(path.into());
        }
        self.files += 1;
        self.pages += pages.len();
        let mut lost = false;
        for (n, page) in pages.iter().enumerate() {
            let at = n as u64 * PAGE;
            let mut bytes = [0; PAGE_SIZE];
            match file.read_exact_at(&mut bytes, at) {
                Ok(()) => {
                    if let Some(what) = page.judge(&bytes) {
                        let place = place(&file, at);
                        let sources = model::sources(&bytes, &self.tags);
                        self.bad(path, &format!("page {n} {what}, {place}: {sources}"));
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::EIO) => {
                    lost = true;
                    self.refused += 1;
                    let is_marked = |at| marked.contains(&at);
                    if !ioctl::physical(&file, at).is_ok_and(is_marked) {
                        let what = format!("EIO, {}, which is not marked", place(&file, at));
                        self.bad(path, &format!("page {n}: {what}"));
                    }
                }
                Err(e) => self.bad(path, &format!("page {n}: {e}")),
            }
        }
        if lost {
            self.lost.push(path.into());
        }
        Ok(())
    }
}

fn place(file: &File, at: u64) -> String {
    match ioctl::physical(file, at) {
        Ok(at) => format!("block at {at:#x}"),
        Err(e) => e.to_string(),
    }
}

/// Blocks that are free, marked, and stay so though no process was told.
fn free_and_marked(root: &File, patience: Duration) -> Result<Vec<String>> {
    let mut blocks = Vec::new();
    let clean = until(patience, PAUSE, || {
        blocks.clear();
        for at in Pmem(0).bad_pages()? {
            if ioctl::is_free(root, at)? {
                blocks.push(at);
            }
        }
        // The worker says what it can't clear.
        Ok(count("pending")? == 0 && blocks.len() as u64 <= count("stuck")?)
    })?;
    if clean {
        return Ok(Vec::new());
    }
    let line = |at: u64| format!("the block at {at:#x} is free and marked");
    Ok(blocks.into_iter().map(line).collect())
}
