// SPDX-License-Identifier: GPL-2.0

//! A page that fails while a second file comes to share it, where the generic handler acts: the
//! page forgets the file that has been locked.

use crate::scenes::prelude::*;

const ROUNDS: u64 = 20;
/// Places of a process where the page is mapped: they are looked for with its entry locked.
const MANY: usize = 5000;
const FEW: usize = 200;
const LONG: Duration = Duration::from_secs(2);

// Counters.
const READY: usize = 0;
const GO: usize = 1;
const STOP: usize = 2;

scene!(LOCK_SHARED = 128 "lock-shared" play:
    "a page that fails while a second file comes to share it, on dm-log-writes";
    ends("the mappers are not ready"), crashes("dax_unlock_folio"), differs("marks", ""));
fn play(_: u64) -> Result<()> {
    let mapped = LogWrites::new(Pmem(0), Pmem(1))?;
    let xfs = Xfs::new(&Options::on(mapped.path()))?;
    let _quiet = QuietConsole::new()?;
    let (mut recovered, mut others, mut longest) = (0, 0, Duration::ZERO);
    for round in 0..ROUNDS {
        let file = xfs.file(&format!("file-{round}"), 4)?;
        let clone = xfs.clone_of(&file, &format!("clone-{round}"))?;
        let pfn = Pmem(0).pfn(ioctl::physical(&fs::File::open(&file)?, PAGE_SIZE as u64)?)?;
        let counters = counters::<3>()?;
        let many = Worker::start(|| map_often(&file, counters))?;
        let other = Worker::start(|| touch_later(&clone, round, counters))?;
        let end = Instant::now() + patience();
        while counters[READY].load(SeqCst) != 2 {
            if Instant::now() > end {
                for worker in [&many, &other] {
                    let stack = fs::read_to_string(format!("/proc/{}/stack", worker.pid()));
                    let stack = stack.unwrap_or_default();
                    note(&format!("a mapper: {}", stack.replace('\n', " ")))?;
                }
                bail!("the mappers are not ready in round {round}");
            }
            sleep(Duration::from_millis(1));
        }
        counters[GO].store(1, SeqCst);
        let start = Instant::now();
        match pmem::corrupt(pfn)?.as_str() {
            "0" => recovered += 1,
            // It was shared before it was locked, and the handler has no other way to its files.
            "EBUSY" => (),
            _ => others += 1,
        }
        longest = longest.max(start.elapsed());
        counters[STOP].store(1, SeqCst);
        for (name, worker) in [("many", many), ("other", other)] {
            let end = worker.end(patience());
            ensure!(end == "done", "{name}: {end}");
        }
        for path in [file, clone] {
            fs::remove_file(path)?;
        }
    }
    note(&format!("recovered: {recovered}, longest: {longest:?}"))?;
    ensure!(recovered > 0, "it was shared too early");
    expect("hwpoison-inject, else", "0", others.to_string())?;
    let path = xfs.file("after", 4)?;
    expect("another file", INTACT, xfs::intact(&path, 4))
}

fn map_often(file: &Path, counters: &[AtomicU64; 3]) -> Result<()> {
    let (start, mut areas) = (Instant::now(), Vec::new());
    // On a kernel that checks itself it takes long to make one.
    while areas.len() < FEW || (areas.len() < MANY && start.elapsed() < LONG) {
        let area = Area::shared(file, 2)?;
        ensure!(area.load(1) == "reads", "not mapped");
        areas.push(area);
    }
    counters[READY].fetch_add(1, SeqCst);
    while counters[STOP].load(SeqCst) == 0 {
        sleep(Duration::from_millis(1));
    }
    fault::take();
    Ok(())
}

/// Touches the page of the clone while that of the file fails, at another moment each time.
fn touch_later(clone: &Path, round: u64, counters: &[AtomicU64; 3]) -> Result<()> {
    let area = Area::shared(clone, 2)?;
    counters[READY].fetch_add(1, SeqCst);
    while counters[GO].load(SeqCst) == 0 {
        std::hint::spin_loop();
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros((round + 1) * 300) {
        std::hint::spin_loop();
    }
    ensure!(area.load(1) == "reads", "can't be read");
    Ok(())
}
