// SPDX-License-Identifier: GPL-2.0

//! Test suites that others wrote, run on the stock kernel and on the patched one at the
//! same time: what fails on the patched kernel must fail on the stock one, too.

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{anyhow, Result};

use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::vm::{End, Outcome};

mod check;
pub mod ndctl;
mod report;
pub mod xfstests;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Stock,
    Patched,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Patched => "patched",
        }
    }

    /// With what these suites ask for beside lab.config.
    fn kernel(self) -> PathBuf {
        match self {
            Self::Stock => "build/kernels/stock-xfstests".into(),
            Self::Patched => "build/kernels/xfstests".into(),
        }
    }
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
    let (stock, patched) = at_once(|| run(Side::Stock), || run(Side::Patched))?;
    report::report(lab, suite, names, &stock, &patched)
}

fn at_once<T: Send>(
    a: impl FnOnce() -> Result<T> + Send,
    b: impl FnOnce() -> Result<T>,
) -> Result<(T, T)> {
    // The other one may take an hour until this comes to light.
    let tell = |e: &anyhow::Error| eprintln!("dax-lab: {e:#}");
    thread::scope(|scope| {
        let a = scope.spawn(|| a().inspect_err(tell));
        let b = b().inspect_err(tell);
        let a = a.join().map_err(|_| anyhow!("a thread panicked"))?;
        Ok((a?, b?))
    })
}

fn failed(name: &str, why: &str) -> Test {
    Test::new(name, Verdict::Failed, why)
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
