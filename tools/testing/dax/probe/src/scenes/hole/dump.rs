// SPDX-License-Identifier: GPL-2.0

//! Processes that map a page that failed dump core; and a page fails while they do.

use super::*;

const PAGES: usize = 2048;
const ROUNDS: usize = 8;
/// On a tmpfs.
const CORE: &str = "/dev/shm/core";
/// As [`Worker::end`] tells of SIGABRT and a core.
const DUMPED: &str = "failed (status 0x86)";

scene!(CORE_DUMP = 163 "core-dump" play: "core dumps of pages that fail";
    differs("another process", "reads"));
fn play(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", PAGES)?;
    let _pattern = Setting::new("/proc/sys/kernel/core_pattern", CORE)?;
    let mut other = Map::new(&path, 4).start()?;
    let [ready] = counters::<1>()?;

    // One that failed before.
    let bad = Bad::hit(&path, 1)?;
    let process = dumper(&path, ready)?;
    expect("bad page: dumps core", DUMPED, process.end(patience()))?;
    expect("good pages in it", "2047", good_pages()?.to_string())?;
    expect("another process", &refused(1), other.touch(1))?;
    expect("its next page", "reads", other.touch(2))?;
    bad::mend(&path, 1, 2)?;
    expect("written: marks", "none", bad.marks()?)?;
    let process = dumper(&path, ready)?;
    expect("good pages: dumps core", DUMPED, process.end(patience()))?;
    expect("all in it", "2048", good_pages()?.to_string())?;

    // Some that fail meanwhile.
    let quiet = QuietConsole::new()?;
    let mut dumped = 0;
    let mut fewest = PAGES;
    for round in 0..ROUNDS {
        let process = dumper(&path, ready)?;
        let pages = [300, 700, 1100, 1500].map(|page| page + round);
        for page in pages {
            Bad::hit(&path, page)?;
        }
        let end = process.end(patience());
        ensure!(end == DUMPED, "round {round}: {end}");
        dumped += 1;
        fewest = fewest.min(good_pages()?);
        for page in pages {
            bad::mend(&path, page, page + 1)?;
        }
    }
    drop(quiet);
    let all = format!("{ROUNDS} of {ROUNDS}");
    expect("meanwhile: dumps", &all, format!("{dumped} of {ROUNDS}"))?;
    note(&format!("{fewest} good pages at least"))?;
    let most = fewest + 4 >= PAGES;
    expect_so("good pages", most, "all", "too few")?;
    fs::remove_file(CORE)?;
    drop(other);
    expect("file", INTACT, xfs::intact(&path, PAGES))
}

/// A process that maps the file and dumps it, and no more than it; it begins to.
fn dumper(path: &std::path::Path, ready: &'static std::sync::atomic::AtomicU64) -> Result<Worker> {
    let _ = fs::remove_file(CORE);
    ready.store(0, SeqCst);
    let process = Worker::start(|| {
        // Shared DAX mappings.
        fs::write("/proc/self/coredump_filter", "0x100")?;
        let limit = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: a valid limit.
        ensure!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) } == 0);
        let area = Area::shared(path, PAGES)?;
        area.load_all_but(&[1]);
        ready.store(1, SeqCst);
        std::process::abort()
    })?;
    ensure!(reaches(ready, 1), "the process does not map the file");
    Ok(process)
}

/// How many pages of the core are pages of the file.
fn good_pages() -> Result<usize> {
    let core = fs::read(CORE)?;
    let good = |page: &&[u8]| {
        page.len() == PAGE_SIZE && (0..4).any(|n| page.iter().all(|&byte| byte == pattern(n)))
    };
    Ok(core.chunks(PAGE_SIZE).filter(good).count())
}
