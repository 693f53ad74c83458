// SPDX-License-Identifier: GPL-2.0

//! Errors in space that is just being handed out, written and freed.

use super::full::{self, Full};
use crate::ioctl::Fsmap;
use crate::scenes::prelude::*;

/// The longest time in seconds.
const LONG: u64 = 20;
const WRITERS: usize = 3;
/// Files that each of them keeps, and pages of the largest.
const FILES: u64 = 8;
const PAGES: u64 = 1024;

/// What is counted.
const MADE: usize = 0;
const LOST: usize = 1;
const FAILED: usize = 2;
const WRONG: usize = 3;
const STOP: usize = 4;
const ERRORS: usize = 5;
/// From here on, the inodes of files that can't be read.
const INODES: usize = 6;
const MOST: usize = 250;
type Counters = [AtomicU64; INODES + MOST];

scene!(FREE_RACE = 62 "free-race" play: "free blocks, while files are made and deleted";
    timed, crashes(STORE));
/// Simulated errors and machine checks in free space.
fn play(seconds: u64) -> Result<()> {
    under_load(seconds, true, |root, n| {
        let at = any_of(&ioctl::all_owned_by(root, FMR_OWN_FREE)?, root, n)?;
        if n % 3 == 2 {
            mce::deliver(Pmem(0).address(at)?)?;
        } else {
            simulate(Pmem(0).pfn(at)?)?;
        }
        Ok(1)
    })
}

scene!(SCRUB_RACE = 86 "scrub-race" injected:
    "blocks injected by ndctl, while files are made and deleted";
    nfit, timed, differs("all removed: marks", "bad sectors"));
/// Errors in free space and in files. ndctl takes a second for one, so it injects the last
/// of a batch; the scrub that it asks for finds the others.
fn injected(seconds: u64) -> Result<()> {
    const BATCH: u64 = 16;
    let device = Device::new(0)?;
    // A scrub tells once of two errors in a page.
    under_load(seconds, false, |root, n| {
        let extents = ioctl::all_data_or_free(root)?;
        for n in n + 1..n + BATCH {
            firmware::inject(firmware::Error {
                address: Pmem(0).address(any_of(&extents, root, n)?)?,
                length: PAGE,
            })?;
        }
        let at = any_of(&extents, root, n)?;
        device.inject(at / PAGE, 8, &["--saturate"])?;
        Ok(BATCH)
    })?;
    expect("firmware", "none", device.errors()?)
}

/// Injects errors while files are written, read and deleted. `inject` gets the root
/// directory and the number of errors so far, and returns how many it has injected. If they are
/// `single`, each is counted.
fn under_load(
    seconds: u64,
    single: bool,
    mut inject: impl FnMut(&File, u64) -> Result<u64>,
) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let root = xfs.root()?;
    let before = Bad::block(0)?;
    let counts = Counts::now();
    let counters: &Counters = counters()?;
    for n in 0..WRITERS {
        // Each directory goes to another AG.
        fs::create_dir(xfs.path(&n.to_string()))?;
    }
    let mut monitor = Monitor::new(&xfs)?;
    let mut losses = Vec::new();
    let quiet = QuietConsole::new()?;
    let workers = (0..WRITERS)
        .map(|n| Worker::start(|| Writer::new(&xfs, n as u64).run(counters)))
        .collect::<Result<Vec<_>>>()?;
    // All inodes that are needed are there by then: what is free now becomes data.
    let begun = until(|| Ok(counters[MADE].load(SeqCst) > 2 * FILES * WRITERS as u64))?;
    ensure!(begun, "the writers do not get on");

    let seconds = seconds.min(LONG);
    let end = Instant::now() + Duration::from_secs(seconds);
    let sides = [("files", &counters[MADE]), ("errors", &counters[ERRORS])];
    let mut windows = Windows::new(seconds, &sides);
    let mut errors = 0;
    while Instant::now() < end {
        errors += inject(&root, errors)?;
        counters[ERRORS].store(errors, SeqCst);
        losses.append(&mut monitor.losses_so_far()?);
        windows.look();
    }
    windows.expect()?;
    counters[STOP].store(1, SeqCst);
    for (n, worker) in workers.iter().enumerate() {
        expect(&format!("writer {n}"), "done", worker.end(patience()))?;
    }
    drop(quiet);
    sync_and_settle(&xfs)?;
    losses.append(&mut monitor.losses_so_far()?);
    drop(monitor);
    let count = |which: usize| counters[which].load(SeqCst);
    note(&format!("{errors} errors: {}", counts.since()))?;
    let (made, lost, failed) = (count(MADE), count(LOST), count(FAILED));
    note(&format!(
        "{made} files, {lost} lost data afterwards, {failed} could not be written"
    ))?;
    expect("files that hold other data", "0", count(WRONG).to_string())?;
    // A write of whole pages takes an error away.
    expect("files not written", "0", failed.to_string())?;
    let bad = &counters[INODES..][..MOST.min(lost as usize)];
    let told = |ino: &AtomicU64| losses.iter().any(|(of, _)| *of == ino.load(SeqCst));
    let untold = bad.iter().filter(|ino| !told(ino)).count();
    expect("files bad, and not told", "0", untold.to_string())?;
    if single {
        expect(
            "errors, counted",
            &errors.to_string(),
            counts.more("poisoned"),
        )?;
    }
    expect("stuck", "0", counts.more("stuck"))?;

    for n in 0..WRITERS {
        fs::remove_dir_all(xfs.path(&n.to_string()))?;
    }
    // Files go some time after they are removed.
    until(|| {
        sync_and_settle(&xfs)?;
        Ok(before.marks()? == "none")
    })?;
    expect("all removed: marks", "none", before.marks()?)?;
    let full = Full::new(&xfs, 0)?;
    expect("filled up", "0 errors", format!("{} errors", full.errors))?;
    expect("all files", INTACT, full.check())?;
    full.remove()?;
    sync_and_settle(&xfs)?;
    Ok(())
}

/// A block of these extents, among those that are handed out next: where the writers' files
/// are, behind the AG's metadata.
fn any_of(extents: &[Fsmap], root: &File, n: u64) -> Result<u64> {
    let ag = u64::from(ioctl::geometry(root)?.agblocks) * PAGE;
    let near = |extent: &Fsmap| {
        let start = extent.physical / ag * ag;
        let first = extent.physical.max(start + (4 << 20));
        let last = (extent.physical + extent.length).min(start + (64 << 20));
        (first < last).then_some((first, (last - first) / PAGE))
    };
    let near: Vec<_> = extents.iter().filter_map(near).collect();
    let (first, pages) = near
        .get(n as usize * 7 % near.len().max(1))
        .context("there is no such block")?;
    Ok(first + n * 31 % (*pages).min(2 * PAGES) * PAGE)
}

struct Writer {
    dir: PathBuf,
    number: u64,
    /// Files that were made.
    made: u64,
}

impl Writer {
    fn new(xfs: &Xfs, number: u64) -> Self {
        let dir = xfs.path(&number.to_string());
        let made = 0;
        Self { dir, number, made }
    }

    /// The path of a file, the name that its pages have, and how many there are.
    fn file(&self, n: u64) -> (PathBuf, u64, usize) {
        let name = 1 + n * WRITERS as u64 + self.number;
        let pages = 1 + (name * 389) % PAGES;
        (self.dir.join(n.to_string()), name, pages as usize)
    }

    fn run(mut self, counters: &Counters) -> Result<()> {
        let count = |which: usize| {
            counters[which].fetch_add(1, SeqCst);
        };
        while counters[STOP].load(SeqCst) == 0 {
            let (path, name, pages) = self.file(self.made);
            let (there, done) = full::write(&File::create(&path)?, name, 0, pages);
            if done.is_err() || there != pages {
                count(FAILED);
                fs::remove_file(&path)?;
                fs::write(&path, [])?;
            }
            count(MADE);
            self.made += 1;
            if let Some(oldest) = self.made.checked_sub(FILES) {
                self.check(oldest, counters)?;
            }
        }
        let rest = self.made.saturating_sub(FILES - 1)..self.made;
        rest.into_iter().try_for_each(|n| self.check(n, counters))
    }

    /// Looks at a file and deletes it.
    fn check(&self, n: u64, counters: &Counters) -> Result<()> {
        let (path, name, pages) = self.file(n);
        if fs::metadata(&path)?.len() > 0 {
            match full::check(&path, name, pages).as_str() {
                INTACT => (),
                // It stays, or nobody could be told of it.
                "EIO" => {
                    let which = counters[LOST].fetch_add(1, SeqCst) as usize;
                    if let Some(slot) = counters[INODES..].get(which) {
                        slot.store(inode(&path)?, SeqCst);
                    }
                    return Ok(());
                }
                _ => {
                    counters[WRONG].fetch_add(1, SeqCst);
                }
            }
        }
        Ok(fs::remove_file(path)?)
    }
}
