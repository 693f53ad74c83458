// SPDX-License-Identifier: GPL-2.0

//! Jobs side by side. Output and results come in the order of the jobs, whatever the order
//! in which they end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Runs jobs 0 to `count - 1`, so many at a time, and begins with the first ones. What
/// each returned.
pub fn by_side<T: Send>(
    count: usize,
    at_a_time: usize,
    job: impl Fn(usize, &Out) -> T + Sync,
) -> Vec<T> {
    let printer = Printer::new(count);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= count {
                return results;
            }
            let out = printer.out(number);
            results.push((number, job(number, &out)));
            printer.end(number);
        }
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time.clamp(1, count.max(1)))
            .map(|_| scope.spawn(work))
            .collect();
        let done = workers.into_iter().map(|worker| match worker.join() {
            Ok(results) => results,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.flatten().collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Where a job's lines go: to stdout, once all jobs before it have ended.
pub struct Out<'a> {
    printer: Option<&'a Printer>,
    number: usize,
}

impl Out<'_> {
    /// Of a job that is alone.
    pub fn stdout() -> Self {
        let (printer, number) = (None, 0);
        Self { printer, number }
    }

    pub fn line(&self, line: &str) {
        match self.printer.map(Printer::state) {
            Some(mut state) if self.number != state.current => {
                state.kept[self.number].push(line.into());
            }
            // Under the lock, so that no line of the next job comes before it.
            _ => println!("{line}"),
        }
    }
}

struct Printer(Mutex<State>);

struct State {
    /// The first job that has not ended: its lines are printed as they come.
    current: usize,
    ended: Vec<bool>,
    /// Lines of the others.
    kept: Vec<Vec<String>>,
}

impl Printer {
    fn new(count: usize) -> Self {
        Self(Mutex::new(State {
            current: 0,
            ended: vec![false; count],
            kept: vec![Vec::new(); count],
        }))
    }

    fn out(&self, number: usize) -> Out<'_> {
        let printer = Some(self);
        Out { printer, number }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, number: usize) {
        let mut state = self.state();
        state.ended[number] = true;
        for line in state.advance() {
            println!("{line}");
        }
    }
}

impl State {
    /// Goes on to the first job that has not ended. The lines that are due with that.
    fn advance(&mut self) -> Vec<String> {
        let mut due = Vec::new();
        while self.ended.get(self.current) == Some(&true) {
            self.current += 1;
            if let Some(kept) = self.kept.get_mut(self.current) {
                due.append(kept);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn results_keep_their_order() {
        let slow_first = |number: usize, _: &Out| {
            thread::sleep(Duration::from_millis(20 * (5 - number as u64)));
            number
        };
        for at_a_time in [0, 1, 2, 9] {
            assert_eq!(by_side(5, at_a_time, slow_first), [0, 1, 2, 3, 4]);
        }
        assert!(by_side(0, 2, slow_first).is_empty());
    }

    #[test]
    fn so_many_at_a_time() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        by_side(8, 2, |_, _| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(10));
            now.fetch_sub(1, Ordering::SeqCst);
        });
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn lines_wait_for_their_turn() {
        let printer = Printer::new(3);
        printer.out(1).line("one");
        printer.out(2).line("two");
        let mut state = printer.state();
        assert_eq!(state.kept, [vec![], vec!["one"], vec!["two"]]);
        state.ended[1] = true;
        assert!(state.advance().is_empty());
        state.ended[0] = true;
        assert_eq!(state.advance(), ["one", "two"]);
        assert_eq!(state.current, 2);
        state.ended[2] = true;
        assert!(state.advance().is_empty());
        assert_eq!(state.current, 3);
    }
}
