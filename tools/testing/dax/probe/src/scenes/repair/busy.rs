// SPDX-License-Identifier: GPL-2.0

//! A block that fails before the log knows that it is free: that is made so before the block is
//! cleared. After a crash it could be its file's again, which would find zeroes.

use crate::scenes::prelude::*;

const ROUNDS: usize = 4;

scene!(FREED_BUSY = 213 "freed-busy" play:
    "a block is free in the log before it is cleared";
    ends("xfs_dax_repair/enable: No such file"), harmless);
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let trace = Trace::new("xfs/xfs_dax_repair")?;
    let mut in_order = 0;
    for round in 0..ROUNDS {
        let file = xfs.file(&format!("file-{round}"), 4)?;
        let bad = Bad::unreported(&file, 1)?;
        trace.clear()?;
        open(&file, 0)?.set_len(0)?;
        bad.report()?;
        worker::settle()?;
        let block = format!(" offset 0x{:x} ", bad.at);
        let events = trace.events()?;
        let steps = events.iter().filter(|event| event.contains(&block));
        let steps: Vec<_> = steps.filter_map(|event| event.rsplit(' ').next()).collect();
        let at = |step: &str| steps.iter().position(|s| *s == step);
        let good = at("retry").is_some_and(|retry| at("proven").is_some_and(|at| retry < at));
        in_order += usize::from(good);
        crate::report::note(&steps.join(", "))?;
    }
    let words = |count: usize| format!("{count} of {ROUNDS}");
    expect("log first", &words(ROUNDS), words(in_order))?;
    drop(trace);
    let after = xfs.file("after", 4)?;
    expect("another file", INTACT, xfs::intact(&after, 4))
}
