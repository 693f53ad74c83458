// SPDX-License-Identifier: GPL-2.0

//! A write() to a DAX file from memory whose page fault is answered late (userfaultfd). It
//! has the address of the page already when that fails: until it ends, the page stays in the
//! direct map.

use super::parked::{waits, Unanswered};
use super::*;
use crate::kernel::is_mapped;

scene!(PARKED_WRITER = 211 "parked-writer" play:
    "an error where a write waits in a page fault";
    differs("page, meanwhile", "not mapped"));
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
    let mapped = || match is_mapped(bad.pmem.address(bad.at)?)? {
        true => anyhow::Ok("mapped"),
        false => anyhow::Ok("not mapped"),
    };
    // Long enough for a driver that does not wait.
    sleep(10 * MOMENT);
    expect("page, meanwhile", "mapped", mapped()?)?;
    answer.store(1, SeqCst);
    expect("writer", "done", writer.end(patience()))?;
    until(|| Ok(mapped()? == "not mapped"))?;
    expect("page, after that", "not mapped", mapped()?)?;
    let file = open(&path, 0)?;
    expect("page, read", "EIO", read_page(&file, PAGE))?;
    bad::mend(&path, 1, 2)?;
    expect("written again: page", "mapped", mapped()?)?;
    expect("marks", "none", bad.marks()?)?;
    drop(file);
    expect("reader", INTACT, xfs::intact(&path, 4))
}
