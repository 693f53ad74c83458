// SPDX-License-Identifier: GPL-2.0

//! Copy-on-write faults against injection on the blocks that they copy from.
//!
//! A CoW fault holds a DAX entry lock and wants the AGF. A holder that waits for
//! DAX entry locks under the AGF deadlocks with it (D1).

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::fault::{self, PAGE_SIZE};
use crate::ioctl;
use crate::kernel::{self, QuietConsole};
use crate::report::{expect, note};
use crate::scenes::GROUP;
use crate::shared::{counters, Worker};
use crate::xfs::{Options, Xfs};

const PAGES: usize = 64;
const CLONERS: usize = 4;
const WINDOW: u64 = 5;

// Counters: stores of each cloner, injections, one that says stop.
const INJECTOR: usize = CLONERS;
const STOP: usize = CLONERS + 1;
type Counters = [AtomicU64; CLONERS + 2];

scene! { COW_RACE = 11 "cow-race" play: "copy-on-write against injection (D1)";
timed, hangs(GROUP) }
fn play(seconds: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let source = xfs.file("source", PAGES)?;
    let counters = counters()?;
    let _quiet = QuietConsole::new()?;
    fault::install()?;
    let mut workers = Vec::new();
    for n in 0..CLONERS {
        let (source, clone) = (&source, xfs.path(&format!("clone{n}")));
        workers.push(Worker::start(|| {
            clone_and_write(source, &clone, n, counters)
        })?);
    }
    workers.push(Worker::start(|| inject(&source, counters))?);

    let windows = (seconds / WINDOW).max(1);
    let progress = watch(counters, windows);
    counters[STOP].store(1, SeqCst);
    let all = format!("progress in {windows} of {windows} windows");
    let told = |side| format!("progress in {side} of {windows} windows");
    expect("4 cloners", &all, told(progress.cloners))?;
    expect("injector", &all, told(progress.injector))?;
    let stuck = kernel::sleepers().len();
    expect("in D state at the end", "0", stuck.to_string())?;
    let stores: u64 = counters[..CLONERS].iter().map(|c| c.load(SeqCst)).sum();
    let clones = stores / PAGES as u64;
    let injections = counters[INJECTOR].load(SeqCst);
    note(&format!("{clones} clones, {injections} injections"))?;
    ensure!(stuck == 0, "the filesystem is stuck");

    let ends: Vec<_> = workers
        .iter()
        .map(|w| w.end(Duration::from_secs(20)))
        .collect();
    let good = ends.iter().filter(|end| *end == "done").count();
    expect("ended well", "5", good.to_string())?;
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

/// Windows in which each side got on.
struct Progress {
    cloners: u64,
    injector: u64,
}

fn watch(counters: &Counters, windows: u64) -> Progress {
    let sum = |range: &[AtomicU64]| range.iter().map(|c| c.load(SeqCst)).sum::<u64>();
    let read = || (sum(&counters[..CLONERS]), sum(&counters[INJECTOR..STOP]));
    let (mut cloners, mut injector) = (0, 0);
    let mut last = read();
    for _ in 0..windows {
        sleep(Duration::from_secs(WINDOW));
        let now = read();
        cloners += u64::from(now.0 > last.0);
        injector += u64::from(now.1 > last.1);
        if now == last {
            // Neither side moves: it is a deadlock, and waiting shows no more.
            break;
        }
        last = now;
    }
    Progress { cloners, injector }
}

fn clone_and_write(source: &Path, clone: &Path, n: usize, counters: &Counters) -> Result<()> {
    let from = File::open(source)?;
    while counters[STOP].load(SeqCst) == 0 {
        let to = open(clone, true)?;
        ioctl::clone_file(&from, &to).context("FICLONE")?;
        let map = Map::new(&to)?;
        for page in 0..PAGES {
            // SAFETY: inside the mapping. A store that a signal cut short is as good
            // as one that went through: what matters here is that faults go on.
            unsafe { fault::store(map.page(page), n as u8) };
            counters[n].fetch_add(1, SeqCst);
        }
        fault::take();
    }
    Ok(())
}

fn inject(source: &Path, counters: &Counters) -> Result<()> {
    let map = Map::new(&open(source, false)?)?;
    while counters[STOP].load(SeqCst) == 0 {
        for page in 0..PAGES {
            let addr = map.page(page);
            // SAFETY: inside the mapping; simulated poison leaves the memory good.
            let ret = unsafe { libc::madvise(addr.cast(), PAGE_SIZE, libc::MADV_HWPOISON) };
            ensure!(ret == 0, "madvise: {}", std::io::Error::last_os_error());
            counters[INJECTOR].fetch_add(1, SeqCst);
        }
        ensure!(fault::seen() > 0, "no injection was answered with a signal");
        fault::take();
    }
    Ok(())
}

fn open(path: &Path, fresh: bool) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(fresh)
        .truncate(fresh)
        .open(path)
        .with_context(|| path.display().to_string())
}

struct Map(*mut u8);

impl Map {
    fn new(file: &File) -> Result<Self> {
        use std::os::fd::AsRawFd;

        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGES * PAGE_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            bail!("mmap: {}", std::io::Error::last_os_error());
        }
        Ok(Self(base.cast()))
    }

    fn page(&self, page: usize) -> *mut u8 {
        self.0.wrapping_add(page * PAGE_SIZE)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping that new() made, of which no pointer is kept.
        unsafe { libc::munmap(self.0.cast(), PAGES * PAGE_SIZE) };
    }
}
