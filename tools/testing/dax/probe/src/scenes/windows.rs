// SPDX-License-Identifier: GPL-2.0

//! Whether all sides of a race get on for as long as it lasts.

use crate::scenes::prelude::*;

const WINDOWS: u32 = 5;

/// What a side counts, and in how many windows it got on.
struct Side<'a> {
    name: &'a str,
    counter: &'a AtomicU64,
    last: u64,
    moved: u32,
}

pub struct Windows<'a> {
    sides: Vec<Side<'a>>,
    number: u32,
    each: Duration,
    end: Instant,
}

impl<'a> Windows<'a> {
    /// Windows of some seconds, the first of which begins now.
    pub fn new(seconds: u64, sides: &[(&'a str, &'a AtomicU64)]) -> Self {
        let side = |&(name, counter): &(&'a str, &'a AtomicU64)| Side {
            name,
            counter,
            last: counter.load(SeqCst),
            moved: 0,
        };
        let each = Duration::from_secs(seconds) / WINDOWS;
        Self {
            sides: sides.iter().map(side).collect(),
            number: 0,
            each,
            end: Instant::now() + each,
        }
    }

    /// To be called again and again.
    pub fn look(&mut self) {
        if Instant::now() < self.end {
            return;
        }
        self.number += 1;
        self.end = Instant::now() + self.each;
        for side in &mut self.sides {
            let now = side.counter.load(SeqCst);
            side.moved += u32::from(now > side.last);
            side.last = now;
        }
    }

    /// A row for each side.
    pub fn expect(self) -> Result<()> {
        let told = |moved| format!("progress in {moved} of {} windows", self.number);
        for side in &self.sides {
            expect(side.name, &told(self.number), told(side.moved))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_stands_still_is_seen() {
        let (moves, stays) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut windows = Windows::new(0, &[("moves", &moves), ("stays", &stays)]);
        for _ in 0..3 {
            moves.fetch_add(1, SeqCst);
            windows.look();
        }
        assert_eq!(windows.number, 3);
        let moved: Vec<_> = windows.sides.iter().map(|side| side.moved).collect();
        assert_eq!(moved, [3, 0]);
    }
}
