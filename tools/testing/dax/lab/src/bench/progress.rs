// SPDX-License-Identifier: GPL-2.0

//! How far the run is: a line for each of the longer steps.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A log is not to be filled with rounds.
const LINE: Duration = Duration::from_secs(10);

pub struct Progress {
    start: Instant,
    steps: usize,
    done: Cell<usize>,
    /// When a line was last printed.
    said: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self {
            start: Instant::now(),
            steps,
            done: Cell::new(0),
            said: Cell::new(None),
        }
    }

    /// Begins a step, and so ends the one before.
    pub fn step(&self, what: &str) {
        let done = self.done.get();
        self.done.set(done + 1);
        if self.said.get().is_none_or(|said| said.elapsed() > LINE) {
            self.said.set(Some(Instant::now()));
            let s = self.start.elapsed().as_secs();
            let (min, sec, steps) = (s / 60, s % 60, self.steps);
            eprintln!("dax-lab: bench: {min}:{sec:02}, {done} of {steps}: {what}");
        }
    }
}
