// SPDX-License-Identifier: GPL-2.0

//! Tests that run one after the other in a guest, and in further guests if one of them takes
//! the guest with it.

use std::collections::HashSet;

use anyhow::{bail, Result};

use super::{why, Progress};
use crate::ktap::Test;
use crate::lab::Side;
use crate::vm::Outcome;

pub trait Suite: Sync {
    /// Boots a guest that runs tests in this order, as many as it can. `sink` gets the results
    /// as they come: of these tests, and of parts of them.
    fn guest(
        &self,
        guest: &str,
        side: Side,
        tests: &[String],
        sink: &mut dyn FnMut(Test),
    ) -> Result<Outcome>;

    /// The test that was begun last.
    fn begun(&self, outcome: &Outcome) -> Result<Option<String>>;
}

/// Runs tests until each has a result. One that takes the guest with it has failed.
pub fn side(
    suite: &dyn Suite,
    side: Side,
    lane: &str,
    names: &[String],
    progress: &Progress,
) -> Result<Vec<Test>> {
    let mut tests: Vec<Test> = Vec::new();
    let mut boots = 0;
    loop {
        let done: HashSet<_> = tests.iter().map(|test| test.name.clone()).collect();
        let left = names.iter().filter(|n| !done.contains(*n)).cloned();
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            return Ok(tests);
        }
        boots += 1;
        let guest = format!("{}{lane}-{boots}", side.name());
        let mut add = |test: Test| {
            if names.contains(&test.name) {
                progress.tell(side, &test);
            }
            tests.push(test);
        };
        let outcome = suite.guest(&guest, side, &left, &mut add)?;
        let known = |name: &String| tests.iter().any(|test| test.name == *name);
        if let Some(name) = suite.begun(&outcome)?.filter(|name| !known(name)) {
            let test = Test::failed(&name, &why(&outcome));
            progress.tell(side, &test);
            tests.push(test);
        }
        if !tests.iter().any(|test| left.contains(&test.name)) {
            let said = outcome.output.last().map_or("nothing", |line| line);
            bail!(
                "{guest}: {} before the first test; it said: {said}",
                why(&outcome)
            );
        }
    }
}
