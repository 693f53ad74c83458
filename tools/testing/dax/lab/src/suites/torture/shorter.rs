// SPDX-License-Identifier: GPL-2.0

//! How a list of operations gets shorter, by what guests say that try it.

use super::SAYS;
use crate::vm::{End, Outcome};

/// A list of operations that fails, on its way to a shorter one.
pub struct Shorter {
    pub ops: Vec<String>,
    /// How many are taken out at a time, and before which one.
    pub from: Option<(usize, usize)>,
    pub why: String,
    pub done: bool,
}

/// A list that was tried.
struct Try {
    chunk: usize,
    /// Where they were taken out.
    first: usize,
    ops: Vec<String>,
    /// Whether its first operation was told.
    begun: bool,
}

impl Shorter {
    /// Takes over what a guest has found. If it died, it did so of the last list that it
    /// tried, or, before that began, of what the one before has left.
    pub fn follow(&mut self, outcome: &Outcome) {
        let mut trying: Option<Try> = None;
        for text in outcome
            .output
            .iter()
            .filter_map(|line| line.strip_prefix(SAYS))
        {
            if let Some(next) = text.strip_prefix("trying ").and_then(Try::parse) {
                self.from = Some((next.chunk, next.first + next.chunk));
                trying = Some(next);
            } else if text == "begun" {
                trying.iter_mut().for_each(|trying| trying.begun = true);
            } else if let Some(why) = text.strip_prefix("fails: ") {
                if let Some(trying) = trying.take() {
                    self.take(trying, why);
                }
            } else if text == "passes" {
                if let Some(trying) = trying.take() {
                    self.from = Some((trying.chunk, trying.first));
                }
            } else if text.starts_with("shortest: ") {
                self.done = true;
            }
        }
        let died = !self.done && outcome.end != End::Exit(0);
        if let Some(trying) = trying.filter(|trying| died && trying.begun) {
            self.take(trying, &outcome.complaints().join(" / "));
        }
    }

    fn take(&mut self, trying: Try, why: &str) {
        self.from = Some((trying.chunk, trying.first));
        (self.ops, self.why) = (trying.ops, why.into());
    }
}

impl Try {
    /// `CHUNK FIRST: OP; OP; ...`
    fn parse(text: &str) -> Option<Self> {
        let (head, ops) = text.split_once(':')?;
        let (chunk, first) = head.split_once(' ')?;
        let ops = ops.split(';').map(str::trim).filter(|op| !op.is_empty());
        Some(Self {
            chunk: chunk.parse().ok()?,
            first: first.parse().ok()?,
            ops: ops.map(String::from).collect(),
            begun: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gets_shorter() {
        let mut list = Shorter {
            ops: ["a", "b", "c", "d"].map(String::from).to_vec(),
            from: None,
            why: String::new(),
            done: false,
        };
        let lines = [
            "torture: trying 2 2: a; b",
            "torture: begun",
            "torture: passes",
            "torture: trying 2 0: c; d",
            "torture: begun",
            "torture: fails: y",
            "torture: trying 1 1: c",
        ];
        // That it dies before it begins says nothing of the last list.
        list.follow(&Outcome::of(End::Died, &lines));
        assert_eq!(
            (list.ops.len(), list.from, list.done),
            (2, Some((1, 2)), false)
        );
        let lines = ["torture: trying 1 1: c", "torture: begun"];
        list.follow(&Outcome::of(End::Died, &lines));
        assert_eq!(
            (list.ops.len(), list.from, list.done),
            (1, Some((1, 1)), false)
        );
        let lines = [
            "torture: trying 1 0: ",
            "torture: begun",
            "torture: shortest: c",
        ];
        list.follow(&Outcome::of(End::Exit(0), &lines));
        assert_eq!((list.ops.len(), list.done), (1, true));
    }
}
