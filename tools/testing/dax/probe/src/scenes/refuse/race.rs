// SPDX-License-Identifier: GPL-2.0

//! Copies that are under way when a page of theirs fails.

use crate::scenes::prelude::*;

/// The longest time in seconds.
const RACE: u64 = 10;
/// What calls; below, the counters of what it met.
const CALLERS: [&str; 3] = ["read", "FIDEDUPERANGE", "private, write fault"];
const REFUSED: usize = CALLERS.len();
const REPORTS: usize = 2 * CALLERS.len();
const STOP: usize = REPORTS + 1;
type Counters = [AtomicU64; STOP + 1];

scene!(REFUSE_RACE = 26 "refuse-race" race: "copies under way when a page of theirs fails";
    timed, crashes("BUG: unable to handle page fault"));
/// Copies that are under way when a page of theirs fails: they give the file's data, or say that
/// they can't.
fn race(seconds: u64) -> Result<()> {
    const PAGES: usize = 64;
    const LEN: u64 = PAGES as u64 * PAGE;
    let (xfs, path) = Xfs::with_file("file", PAGES)?;
    let twin = xfs.file("twin", PAGES)?;
    let (file, other) = (open(&path, 0)?, open(&twin, 0)?);
    let first = ioctl::physical(&file, 0)?;
    // The last byte keeps the two apart: they are compared to their ends, and not shared.
    ensure!(calls::pwrite(&other, LEN - 1, 1) == "1 bytes");
    let counters: &Counters = counters()?;
    let _quiet = QuietConsole::new()?;
    // A call returns whether it was refused.
    let until_stop = |n: usize, call: &dyn Fn() -> Result<bool>| {
        while counters[STOP].load(SeqCst) == 0 {
            counters[REFUSED + n].fetch_add(call()?.into(), SeqCst);
            counters[n].fetch_add(1, SeqCst);
        }
        Ok(())
    };
    let read = || {
        let mut data = vec![0; LEN as usize];
        let Ok(len) = outcome_or_eio(file.read_at(&mut data, 0))? else {
            return Ok(true);
        };
        let whole = len > 0 && len % PAGE_SIZE == 0;
        ensure!(whole && holds(&data[..len], 0), "{len} bytes, or others");
        Ok(len < data.len())
    };
    let compare = || match ioctl::dedupe(&file, 0, LEN, &other) {
        // Which has no number: they differ.
        Err(e) if e.raw_os_error().is_none() => Ok(false),
        said => match outcome_or_eio(said)? {
            Ok(bytes) => bail!("{bytes} bytes are the same"),
            Err(Eio) => Ok(true),
        },
    };
    let copy = || {
        let area = Area::private(&path, PAGES)?;
        let mut refusals = 0;
        for page in 0..PAGES {
            let stored = area.store(page);
            if stored == refused(page) {
                refusals += 1;
                continue;
            }
            ensure!(stored == "stored", "page {page}: {stored}");
            // SAFETY: a page of the mapping, of which this process has a copy by now.
            let data = unsafe { std::slice::from_raw_parts(area.addr(page), PAGE_SIZE) };
            ensure!(holds(data, page), "page {page}: a copy of other data");
        }
        Ok(refusals > 0)
    };
    let workers = [
        Worker::start(|| until_stop(0, &read))?,
        Worker::start(|| until_stop(1, &compare))?,
        Worker::start(|| until_stop(2, &copy))?,
    ];

    let seconds = seconds.min(RACE);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut sides: Vec<_> = CALLERS.into_iter().zip(counters).collect();
    sides.push(("machine checks", &counters[REPORTS]));
    let mut windows = Windows::new(seconds, &sides);
    let mut reports = 0;
    while Instant::now() < end {
        let page = reports * 7 % PAGES;
        strike(first + page as u64 * PAGE)?;
        fill(&file, page, page + 1)?;
        reports += 1;
        counters[REPORTS].store(reports as u64, SeqCst);
        windows.look();
    }
    windows.expect()?;
    counters[STOP].store(1, SeqCst);
    for (n, (name, worker)) in CALLERS.into_iter().zip(&workers).enumerate() {
        expect(name, "done", worker.end(patience()))?;
        let refused = counters[REFUSED + n].load(SeqCst);
        expect_so(
            &format!("{name}: refused"),
            refused > 0,
            "at times",
            "never",
        )?;
        note(&format!(
            "{name}: {} calls, {refused} of them refused",
            counters[n].load(SeqCst)
        ))?;
    }
    note(&format!("{reports} machine checks"))?;
    drop((file, other));
    expect("file", INTACT, xfs::intact(&path, PAGES))
}

struct Eio;

/// What a call gave, or that it was refused. It fails in no other way.
fn outcome_or_eio(said: io::Result<usize>) -> Result<Result<usize, Eio>> {
    match said {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(e) if e.raw_os_error() == Some(libc::EIO) => Ok(Err(Eio)),
        Err(e) => Err(e.into()),
    }
}

/// Whether these bytes are those of the file from page `first` on.
fn holds(data: &[u8], first: usize) -> bool {
    let mut pages = data.chunks(PAGE_SIZE).zip(first..);
    pages.all(|(bytes, page)| bytes.iter().all(|&byte| byte == pattern(page)))
}
