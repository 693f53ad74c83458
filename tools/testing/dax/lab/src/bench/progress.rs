// SPDX-License-Identifier: GPL-2.0

//! How far the run is: a bar on a terminal, else a line for each of the longer steps.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::plan::{Plan, STATES};

const TICK: Duration = Duration::from_millis(200);
/// A log is not to be filled with rounds.
const LINE: Duration = Duration::from_secs(10);

pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    /// When a line was last printed.
    said: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new(plan: &Plan) -> Self {
        let healthy = if plan.healthy == 0 {
            0
        } else {
            STATES.len() * plan.healthy + 1
        };
        // And booting and unmounting.
        let steps = 2 + healthy + plan.owners.len() + plan.cells().len();
        let bar = ProgressBar::new(steps as u64);
        if let Ok(style) = ProgressStyle::with_template("{elapsed} [{bar:30}] {pos}/{len} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            start: Instant::now(),
            said: Cell::new(None),
        }
    }

    /// Begins a step, and so ends the one before.
    pub fn step(&self, what: &str) {
        self.bar.set_message(what.to_string());
        self.bar.inc(1);
        let due = self.said.get().is_none_or(|said| said.elapsed() > LINE);
        if self.bar.is_hidden() && due {
            self.said.set(Some(Instant::now()));
            let s = self.start.elapsed().as_secs();
            eprintln!("dax-lab: bench: {}:{:02} {what}", s / 60, s % 60);
        }
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
