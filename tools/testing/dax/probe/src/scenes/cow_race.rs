// SPDX-License-Identifier: GPL-2.0

//! Copy-on-write faults against injection on the blocks that they copy from.
//!
//! A CoW fault holds a DAX entry lock and wants the AGF. A holder that waits for
//! DAX entry locks under the AGF deadlocks with it.

use crate::scenes::prelude::*;

const PAGES: usize = 64;
const CLONERS: usize = 4;
const WINDOW: u64 = 5;

// Counters: stores of each cloner, injections, one that says stop.
const INJECTOR: usize = CLONERS;
const STOP: usize = CLONERS + 1;
type Counters = [AtomicU64; CLONERS + 2];

scene!(COW_RACE = 11 "cow-race" play: "copy-on-write against injection"; timed, hangs(GROUP));
fn play(seconds: u64) -> Result<()> {
    let (xfs, source) = Xfs::with_file("source", PAGES)?;
    let counters = counters()?;
    let _quiet = QuietConsole::new()?;
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
    expect("ended well", "5", good.to_string())
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
        ioctl::clone_file(&from, &File::create(clone)?).context("FICLONE")?;
        let area = Area::shared(clone, PAGES)?;
        for page in 0..PAGES {
            // SAFETY: inside the mapping. A store that a signal cut short is as good
            // as one that went through: what matters here is that faults go on.
            unsafe { fault::store(area.addr(page), n as u8) };
            counters[n].fetch_add(1, SeqCst);
        }
        fault::take();
    }
    Ok(())
}

fn inject(source: &Path, counters: &Counters) -> Result<()> {
    let area = Area::shared(source, PAGES)?;
    while counters[STOP].load(SeqCst) == 0 {
        for page in 0..PAGES {
            let outcome = area.advise(page, libc::MADV_HWPOISON);
            ensure!(outcome == "0", "madvise: {outcome}");
            counters[INJECTOR].fetch_add(1, SeqCst);
        }
        ensure!(fault::seen() > 0, "no injection was answered with a signal");
        fault::take();
    }
    Ok(())
}
