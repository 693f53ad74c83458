// SPDX-License-Identifier: GPL-2.0

//! Figures of several runs, added up.

use std::fmt;

/// What was done, by name, in the order in which it was told.
#[derive(Default)]
pub struct Figures(Vec<(String, u64)>);

impl Figures {
    /// Of numbers with names, between commas.
    pub fn parse(text: &str) -> Self {
        let figure = |word: &str| {
            let (number, name) = word.split_once(' ')?;
            Some((name.to_string(), number.parse().ok()?))
        };
        Self(text.split(", ").filter_map(figure).collect())
    }

    pub fn add(&mut self, other: &Self) {
        for (name, number) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += number,
                None => self.0.push((name.clone(), *number)),
            }
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = (self.0.iter())
            .map(|(name, number)| format!("{number} {name}"))
            .collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_added_up() {
        let mut sum = Figures::default();
        for text in ["3 steps, 2 mounts", "", "4 steps, 1 errors, 5 mounts"] {
            sum.add(&Figures::parse(text));
        }
        assert_eq!(sum.to_string(), "7 steps, 7 mounts, 1 errors");
    }
}
