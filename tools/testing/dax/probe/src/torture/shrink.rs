// SPDX-License-Identifier: GPL-2.0

//! Makes a list of operations shorter, as long as it fails. The guest may die of one: each
//! is told before it is tried, so that dax-lab can go on from it in another guest.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::op::Op;
use super::play::attempts;
use super::say;
use crate::kernel;
use crate::pmem::Pmem;

/// Where to begin, or go on.
#[derive(Clone, Copy)]
pub struct From {
    /// So many operations are taken out at a time.
    pub chunk: usize,
    /// They are those before this one.
    pub last: usize,
}

/// Takes operations out, from the end on; then half as many at a time.
pub fn run(list: Vec<Op>, from: Option<From>, seconds: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let from = from.unwrap_or(From {
        chunk: list.len().div_ceil(2),
        last: list.len(),
    });
    let list = shorter(list, from, |list, chunk, first| {
        if Instant::now() > end {
            return Ok(None);
        }
        say(&format!("trying {chunk} {first}: {}", text(list)));
        // A kernel that does not forget errors needs another guest.
        let corrupted = kernel::hardware_corrupted()?;
        ensure!(
            corrupted == 0,
            "HardwareCorrupted {corrupted} kB before a list begins"
        );
        let mut begun = false;
        let differs = attempts(Some(list), 0, 0, &mut |_| {
            // Before that, the guest can only die of what the last list has left.
            if !std::mem::replace(&mut begun, true) {
                say("begun");
            }
        })?;
        match &differs {
            Some(what) => say(&format!("fails: {what}")),
            None => say("passes"),
        }
        Pmem(0).overwrite_bad()?;
        Ok(Some(differs.is_some()))
    })?;
    say(&format!("shortest: {}", text(&list)));
    Ok(())
}

fn text(list: &[Op]) -> String {
    let ops: Vec<_> = list.iter().map(ToString::to_string).collect();
    ops.join("; ")
}

/// A list that still fails, of which no operation can be taken out, unless the time is over:
/// then `fails` says nothing. It is given a list, how many operations are taken out at a time
/// and where.
fn shorter<T: Clone>(
    mut list: Vec<T>,
    from: From,
    mut fails: impl FnMut(&[T], usize, usize) -> Result<Option<bool>>,
) -> Result<Vec<T>> {
    let mut chunk = from.chunk.clamp(1, list.len().max(1));
    let mut last = from.last.min(list.len());
    // What came before another guest is not known.
    let mut changed = last < list.len();
    loop {
        while last > 0 {
            let first = last.saturating_sub(chunk);
            let rest = [&list[..first], &list[last..]].concat();
            match fails(&rest, chunk, first)? {
                None => return Ok(list),
                Some(true) => {
                    list = rest;
                    changed = true;
                }
                Some(false) => (),
            }
            last = first;
        }
        if chunk == 1 && !changed {
            return Ok(list);
        }
        chunk = (chunk / 2).max(1);
        (changed, last) = (false, list.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> From {
        From {
            chunk: 50,
            last: 100,
        }
    }

    #[test]
    fn what_is_needed_stays() {
        for need in [vec![], vec![7], vec![0, 99], vec![3, 4, 50, 51, 52]] {
            let fails = |list: &[usize], _, _| Ok(Some(need.iter().all(|n| list.contains(n))));
            for from in [all(), From { chunk: 8, last: 20 }] {
                assert_eq!(shorter((0..100).collect(), from, fails).unwrap(), need);
            }
        }
    }

    #[test]
    fn it_ends_when_the_time_is_over() {
        let mut left = 3;
        let list = shorter((0..100).collect::<Vec<_>>(), all(), |_, _, _| {
            left -= 1;
            Ok((left > 0).then_some(true))
        });
        assert_eq!(list.unwrap().len(), 0);
    }
}
