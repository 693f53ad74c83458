// SPDX-License-Identifier: GPL-2.0

//! Test suites that others wrote, run on the stock kernel and on the patched one at the
//! same time: what fails on the patched kernel must fail on the stock one, too.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{anyhow, Result};

use crate::ktap::Test;
use crate::lab::{Lab, Side};
use crate::side::by_side;
use crate::vm::{End, Outcome};

mod check;
pub mod commands;
mod guests;
pub mod ltp;
pub mod mce_test;
pub mod ndctl;
pub mod pmdk;
mod report;
pub mod selftests;
mod transcript;
pub mod xfstests;

/// The kernel with what these suites ask for beside lab.config.
fn kernel(side: Side) -> PathBuf {
    let name = match side {
        Side::Stock => "stock-xfstests",
        Side::Patched => "xfstests",
    };
    PathBuf::from("build/kernels").join(name)
}

/// Tells of each result as it comes.
struct Progress {
    total: usize,
    /// Results so far, of the stock kernel and of the patched one.
    done: Mutex<[usize; 2]>,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self {
            total,
            done: Mutex::new([0; 2]),
        }
    }

    fn tell(&self, side: Side, test: &Test) {
        let Ok(mut done) = self.done.lock() else {
            return;
        };
        let done = &mut done[side as usize];
        *done += 1;
        println!(
            "{done:4}/{} {:8} {:20} {} {}",
            self.total,
            side.name(),
            test.name,
            report::word(test.verdict),
            test.remark
        );
    }
}

/// Runs `run` for both kernels, in guests side by side; results in the order of `names`.
fn both(
    lab: &Lab,
    suite: &str,
    names: &[String],
    run: &(dyn Fn(Side) -> Result<Vec<Test>> + Sync),
) -> Result<u8> {
    let [stock, patched] = at_once(|n| run([Side::Stock, Side::Patched][n]))?;
    report::report(lab, suite, names, &stock, &patched)
}

/// Runs numbers 0 and 1.
fn at_once<T: Send>(run: impl Fn(usize) -> Result<T> + Sync) -> Result<[T; 2]> {
    // The other one may take an hour until this comes to light.
    let tell = |e: &anyhow::Error| eprintln!("dax-lab: {e:#}");
    let both = by_side(2, 2, |n, _| run(n).inspect_err(tell));
    let both: Vec<T> = both.into_iter().collect::<Result<_>>()?;
    both.try_into().map_err(|_| anyhow!("not two results"))
}

/// How a guest ended that had more to do.
fn why(outcome: &Outcome) -> String {
    match (outcome.end, outcome.findings.first()) {
        (End::Timeout(time), _) => format!("hung: no result for {}", crate::seconds(time)),
        (End::Died, Some(words)) => format!("the guest died: {words}"),
        (End::Died, None) => "the guest died".into(),
        (End::Exit(status), _) => format!("ended with status {status}"),
    }
}
