// SPDX-License-Identifier: GPL-2.0

//! The scenes, played in a guest.

use std::path::Path;

use anyhow::Result;

use super::guest_verdict;
use crate::ktap::{self, Test};
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::{Outcome, Vm};

/// How long the races run.
pub const SECONDS: u64 = 60;

/// The guest's time limit: each scene has a deadline of its own, which is what
/// should strike first.
pub fn time_limit(seconds: u64) -> u64 {
    900 + seconds
}

/// A script that plays all scenes, or those in `only`, but not those in `except`.
pub fn script(only: &[String], except: &[String], seconds: u64) -> String {
    let mut words = vec!["dax-probe".into(), "scenes".into()];
    for (option, list) in [("--only", only), ("--except", except)] {
        if !list.is_empty() {
            words.extend([option.into(), list.join(",")]);
        }
    }
    words.extend(["--seconds".into(), seconds.to_string()]);
    crate::vm::script(&words)
}

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let vm = Vm::new(
        lab,
        "scenes",
        Path::new("build/kernels/patched"),
        time_limit(SECONDS),
    );
    let outcome = vm.run(&script(&[], &[], SECONDS), &mut |line| out.line(line))?;
    Ok(results(&outcome, "guest"))
}

/// The scenes' results and the guest's.
pub fn results(outcome: &Outcome, guest: &str) -> Vec<Test> {
    let mut tests = ktap::parse(outcome.output.iter().map(String::as_str));
    tests.push(guest_verdict(guest, outcome));
    tests
}
