// SPDX-License-Identifier: GPL-2.0

//! Medians, and what can be said of them.

/// A figure of both kernels.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Pair<T> {
    pub stock: T,
    pub patched: T,
}

impl<T> Pair<T> {
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Pair<U> {
        Pair {
            stock: f(&self.stock),
            patched: f(&self.patched),
        }
    }

    pub fn try_map<U, E>(&self, mut f: impl FnMut(&T) -> Result<U, E>) -> Result<Pair<U>, E> {
        Ok(Pair {
            stock: f(&self.stock)?,
            patched: f(&self.patched)?,
        })
    }
}

/// The middle of some numbers, or of the middle two; there must be one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let sorted = sorted(values);
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(values);
        Self {
            median: median(sorted.iter().copied()),
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        }
    }
}

/// The median with an interval that holds the true one in 95 of 100 cases, whatever
/// the distribution. Fewer than six values have none: theirs is all that there is.
pub fn interval(values: impl IntoIterator<Item = f64>) -> Summary {
    let sorted = sorted(values);
    let n = sorted.len();
    let cut = cut(n);
    Summary {
        median: median(sorted.iter().copied()),
        min: sorted[cut],
        max: sorted[n - 1 - cut],
    }
}

/// How many values may be left out at either end: of `n` fair coins, so many or
/// fewer show heads in at most 2.5 of 100 cases, less one.
fn cut(n: usize) -> usize {
    let mut exactly = 0.5f64.powi(n as i32);
    let (mut at_most, mut heads) = (exactly, 0);
    while at_most <= 0.025 {
        heads += 1;
        exactly *= (n + 1 - heads) as f64 / heads as f64;
        at_most += exactly;
    }
    heads.saturating_sub(1)
}

/// How often faster the patched kernel was, round by round.
pub fn speedups(rounds: &[Pair<f64>]) -> impl Iterator<Item = f64> + '_ {
    rounds.iter().map(|round| round.stock / round.patched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        let summary = Summary::of([5.0, 1.0, 9.0]);
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 5.0, 9.0));
    }

    /// Ranks as in tables of the sign test, counted from 1.
    #[test]
    fn intervals() {
        for (n, first) in [
            (5, 1),
            (6, 1),
            (9, 2),
            (12, 3),
            (31, 10),
            (61, 23),
            (101, 41),
        ] {
            let numbers = (1..=n).map(f64::from);
            let interval = interval(numbers);
            assert_eq!(interval.min, f64::from(first), "{n}");
            assert_eq!(interval.max, f64::from(n + 1 - first), "{n}");
        }
    }

    #[test]
    fn a_ratio_above_one_is_faster() {
        let rounds = [Pair {
            stock: 30.0,
            patched: 10.0,
        }];
        assert_eq!(speedups(&rounds).collect::<Vec<_>>(), [3.0]);
    }
}
