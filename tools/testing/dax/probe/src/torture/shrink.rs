// SPDX-License-Identifier: GPL-2.0

//! Makes a list of operations shorter, as long as it fails. The guest may die of one: each
//! is told before it is tried, so that dax-lab can go on from it in another guest.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::op::Op;
use super::play::attempt;
use super::say;

/// Takes `chunk` operations out at a time, from the end on, then half as many.
pub fn run(list: Vec<Op>, chunk: Option<usize>, seconds: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let start = chunk.unwrap_or(list.len().div_ceil(2));
    let list = shorter(list, start, |list, chunk| {
        if Instant::now() > end {
            return Ok(None);
        }
        tell("trying", chunk, list);
        let differs = attempt(Some(list), 0, 0, &mut |_| ())?;
        if let Some(what) = &differs {
            say(&format!("fails: {what}"));
        }
        Ok(Some(differs.is_some()))
    })?;
    tell("shortest", 1, &list);
    Ok(())
}

fn tell(word: &str, chunk: usize, list: &[Op]) {
    let ops: Vec<_> = list.iter().map(ToString::to_string).collect();
    say(&format!("{word} {chunk}: {}", ops.join("; ")));
}

/// A list that still fails, of which no operation can be taken out, unless the time is over:
/// then `fails` says nothing.
fn shorter<T: Clone>(
    mut list: Vec<T>,
    start: usize,
    mut fails: impl FnMut(&[T], usize) -> Result<Option<bool>>,
) -> Result<Vec<T>> {
    let mut chunk = start.clamp(1, list.len().max(1));
    loop {
        let mut changed = false;
        let mut last = list.len();
        while last > 0 {
            let first = last.saturating_sub(chunk);
            let rest = [&list[..first], &list[last..]].concat();
            match fails(&rest, chunk)? {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays() {
        for need in [vec![], vec![7], vec![0, 99], vec![3, 4, 50, 51, 52]] {
            let fails = |list: &[usize], _| Ok(Some(need.iter().all(|n| list.contains(n))));
            assert_eq!(shorter((0..100).collect(), 50, fails).unwrap(), need);
        }
    }

    #[test]
    fn it_ends_when_the_time_is_over() {
        let mut left = 3;
        let list = shorter((0..100).collect::<Vec<_>>(), 50, |_, _| {
            left -= 1;
            Ok((left > 0).then_some(true))
        });
        assert_eq!(list.unwrap().len(), 0);
    }
}
