// SPDX-License-Identifier: GPL-2.0

//! A write() to a DAX file, and an error in the page that it is to fill: from memory whose page
//! fault is answered late (userfaultfd), and when it has the page's address already.

use super::parked::{waits, Unanswered};
use super::*;
use crate::kernel::is_mapped;

/// Where a write copies, inside of dax_read_lock().
const COPY: &str = "dax_copy_from_iter";

fn mapped(bad: &Bad) -> Result<&'static str> {
    Ok(match is_mapped(bad.pmem.address(bad.at)?)? {
        true => "mapped",
        false => "not mapped",
    })
}

scene!(PARKED_WRITER = 211 "parked-writer" play:
    "an error where a write waits in a page fault"; crashes(STORE), differs("page, read", ""));
/// It has no address yet: the page leaves the direct map, and the write brings it back.
fn play(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", 4)?;
    // The writer has the file locked, also for who asks where its blocks are.
    let bad = Bad::unreported(&path, 1)?;
    let [ready, answer] = counters::<2>()?;
    let writer = Worker::start(|| {
        let file = open(&path, 0)?;
        let memory = Unanswered::new()?;
        let zeroes = memory.answer();
        std::thread::spawn(move || {
            while answer.load(SeqCst) == 0 {
                sleep(Duration::from_millis(1));
            }
            zeroes()
        });
        ready.store(1, SeqCst);
        let written = file.write_at(memory.bytes(), PAGE)?;
        ensure!(written == PAGE_SIZE, "{written} bytes written");
        Ok(())
    })?;
    expect("writer", "waits in its page fault", waits(&writer)?)?;

    expect("machine check", "Recovered", bad.report()?)?;
    until(|| Ok(mapped(&bad)? == "not mapped"))?;
    expect("page, meanwhile", "not mapped", mapped(&bad)?)?;
    answer.store(1, SeqCst);
    expect("writer", "done", writer.end(patience()))?;
    expect("page, after that", "mapped", mapped(&bad)?)?;
    let file = open(&path, 0)?;
    expect("page, read", "ok", read_page(&file, PAGE))?;
    bad::mend(&path, 1, 2)?;
    expect("marks", "none", bad.marks()?)?;
    drop(file);
    expect("reader", INTACT, xfs::intact(&path, 4))
}

scene!(WINDOW_COPIED = 245 "window-copied" copied: "an error where a write copies"; debug, long);
/// Until it ends, the page stays in the direct map.
fn copied(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&path, 1)?;
    let window = Window::at(COPY)?;
    let writer = Worker::start(|| fill(&open(&path, 0)?, 1, 2))?;
    window.wait()?;

    expect("machine check", "Recovered", bad.report()?)?;
    // Long enough for a driver that does not wait.
    sleep(10 * MOMENT);
    expect("page, meanwhile", "mapped", mapped(&bad)?)?;
    window.go()?;
    expect("writer", "done", writer.end(patience()))?;
    until(|| Ok(mapped(&bad)? == "not mapped"))?;
    expect("page, after that", "not mapped", mapped(&bad)?)?;
    let file = open(&path, 0)?;
    expect("page, read", "EIO", read_page(&file, PAGE))?;
    bad::mend(&path, 1, 2)?;
    expect("written again: page", "mapped", mapped(&bad)?)?;
    expect("marks", "none", bad.marks()?)?;
    drop(file);
    expect("reader", INTACT, xfs::intact(&path, 4))
}
